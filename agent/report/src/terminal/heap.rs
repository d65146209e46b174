//! What a watched allocator gave out and did not get back.

use super::{Page, QUIET, WARNING, sections::stack_line};
use crate::text::{bytes, clean, count, duration, fit, percent};
use crate::top;
use remora_model::{Capture, HeapWatch, Stack, WatchEnd};

/// Stacks that are shown.
const STACKS: usize = 5;

/// Columns before a stack.
const BEFORE: usize = 46;

pub(super) fn outstanding(page: &mut Page, capture: &Capture) {
    let Some(watch) = &capture.heap_watch else {
        return;
    };
    page.heading(&format!(
        "Heap, allocated and not freed in {}",
        duration(watch.watched)
    ));
    match &watch.end {
        WatchEnd::NotAttached(why) => {
            return page.paragraph(WARNING, &format!("  not tracked: {}", clean(why)));
        }
        WatchEnd::Budget { slow_down } => page.paragraph(
            WARNING,
            &format!(
                "  heap tracking stopped after {}: measured slow-down {:.0} %, limit {:.0} % (--heap-budget)",
                duration(watch.watched),
                slow_down * 100.0,
                watch.budget * 100.0
            ),
        ),
        WatchEnd::Unmeasured => page.paragraph(
            WARNING,
            &format!(
                "  heap tracking stopped after {}: its overhead could not be read any more",
                duration(watch.watched)
            ),
        ),
        WatchEnd::Capture | WatchEnd::Time => {}
    }
    what(page, watch);
    let room = page.options.width.saturating_sub(BEFORE);
    let whole = watch.outstanding_bytes() as f64;
    let shown = top::heap(capture, STACKS, |stack| {
        fit(&stack_line(stack.map(callers).as_ref(), true), room).into_owned()
    });
    for (stack, site) in shown {
        page.line(
            QUIET,
            &format!(
                "    {:>7}  {:>9}  {:>5}×  {:>7} {:>7}  {stack}",
                percent(site.bytes as f64, whole),
                bytes(site.bytes),
                count(site.blocks),
                duration(site.oldest),
                duration(site.median),
            ),
        );
    }
}

/// A stack without the watched function itself, which is the leaf of each.
fn callers(stack: &Stack) -> Stack {
    let mut callers = stack.clone();
    if callers.frames.len() > 1 {
        callers.frames.pop();
    }
    callers
}

/// What was watched, and what it cost.
fn what(page: &mut Page, watch: &HeapWatch) {
    let slow_down = watch.cost.slow_down().map_or_else(
        || "no CPU time used".to_owned(),
        |share| format!("slow-down {:.1} % as measured", share * 100.0),
    );
    page.paragraph(
        super::Style::new(),
        &format!(
            "  about {} in {} samples of {} calls; {} functions were patched, {slow_down}",
            bytes(watch.outstanding_bytes()),
            count(watch.sites.iter().map(|site| site.samples).sum()),
            count(watch.allocations.saturating_add(watch.frees)),
            count(watch.functions() as u64),
        ),
    );
    let unseen = |file: &&remora_model::WatchedFile| file.operator_new;
    let files = watch.processes.iter().flat_map(|process| &process.files);
    for file in files.filter(unseen).take(1) {
        let path = clean(&file.path);
        page.paragraph(
            WARNING,
            &format!("  operator new of {path} is not watched: blocks of C++ are missing"),
        );
    }
    if !watch.sites.is_empty() {
        page.line(
            QUIET,
            "      share       size  blocks  oldest  median  allocated by",
        );
    }
}
