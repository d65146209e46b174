//! The processes that grew, in two lines each: by how much, of what kind, and by whose hand most of it.
//! Growth is no finding: programs warm up, fill caches, and give back later.

use super::{Page, QUIET, sections::stack_line};
use crate::text::{bytes, clean, fit, percent, seconds, signed_bytes};
use crate::top;
use remora_model::{Capture, Memory, Stack};
use std::cmp::Reverse;

/// Growth below that is not worth a line, in bytes.
const WORTH_SAYING: i64 = 1 << 20;

/// Processes that are named.
const NAMED: usize = 5;

/// Stacks that are shown of each.
const STACKS: usize = 2;

/// Columns before a stack.
const BEFORE: usize = 24;

pub(super) fn grown(page: &mut Page, capture: &Capture) {
    let mut grown: Vec<&Memory> = capture
        .memory
        .iter()
        .filter(|memory| memory.growth_bytes() >= WORTH_SAYING)
        .collect();
    if grown.is_empty() {
        return;
    }
    grown.sort_by_key(|memory| (Reverse(memory.growth_bytes()), memory.pid));
    page.heading(&format!("Memory, growth in {}", seconds(capture.duration)));
    for memory in grown.iter().take(NAMED) {
        process(page, capture, memory);
    }
    let more = grown.len().saturating_sub(NAMED);
    if more > 0 {
        page.plain(&format!("  and {more} more"));
    }
}

fn process(page: &mut Page, capture: &Capture, memory: &Memory) {
    let owner = capture.processes.iter().find(|one| one.pid == memory.pid);
    let comm = owner.map_or("process", |owner| owner.comm.as_str());
    let mut line = format!(
        "  {} ({}): {} to {}, most of it {}",
        clean(comm),
        memory.pid,
        signed_bytes(memory.growth_bytes()),
        bytes(memory.end.total_bytes()),
        largest_kind(memory),
    );
    if memory.returned_bytes >= WORTH_SAYING as u64 {
        let returned = bytes(memory.returned_bytes);
        line.push_str(&format!("; about {returned} more came and went"));
    }
    page.plain(&line);
    let room = page.options.width.saturating_sub(BEFORE);
    let show = |stack: Option<&Stack>| {
        let touched = stack.map(Stack::before_fault);
        fit(&stack_line(touched.as_ref(), true), room).into_owned()
    };
    let whole = memory.grown_bytes() as f64;
    for entry in top::growth(capture, memory, STACKS, show) {
        let share = percent(entry.bytes as f64, whole);
        let size = bytes(entry.bytes);
        page.line(
            QUIET,
            &format!("    {share:>7}  {size:>9}  {}", entry.shown),
        );
    }
}

/// The kind that grew most.
fn largest_kind(memory: &Memory) -> &'static str {
    let (start, end) = (memory.start, memory.end);
    let kinds = [
        (end.anon_bytes.saturating_sub(start.anon_bytes), "anonymous"),
        (end.file_bytes.saturating_sub(start.file_bytes), "of files"),
        (end.shmem_bytes.saturating_sub(start.shmem_bytes), "shared"),
    ];
    let largest = kinds.into_iter().rev().max_by_key(|(bytes, _)| *bytes);
    largest.map_or("anonymous", |(_, name)| name)
}
