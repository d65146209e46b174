//! The parts of the summary that are lists: what holds threads up, top stacks, what to trust, and
//! where the files are.

use super::{HEADING, Page, QUIET, WARNING, path, table};
use crate::model::{Capture, End, FrameKind, HookState, Site, Stack, State};
use crate::report::folder::{Written, format_utc};
use crate::report::shares::IdlePlaces;
use crate::report::text::{bytes, clean, count, duration, percent, seconds, share};
use crate::report::{label, top};
use std::cmp::Reverse;
use std::time::Duration;

/// Blocked threads that are shown with their stack.
const HELD_UP: usize = 3;

/// Stacks listed on and off the CPU.
const TOP: usize = 5;

/// Frames of a stack in one line.
const FRAMES: usize = 6;

pub(super) fn header(page: &mut Page, capture: &Capture) {
    let end = match capture.end {
        End::Elapsed => "",
        End::Interrupted => ", interrupted",
        End::TargetsExited => ", until no target was left",
    };
    page.plain("");
    page.paragraph(
        QUIET,
        &format!(
            "{} from {} UTC{end}; kernel {}; {} Hz; stacks of waits from {}",
            seconds(capture.duration),
            format_utc(capture.started_unix_s, "%Y-%m-%d %H:%M:%S"),
            clean(&capture.kernel),
            capture.freq_hz,
            duration(capture.min_block),
        ),
    );
}

/// The threads that have been blocked longest at the end, not counting normal idle.
pub(super) fn held_up(page: &mut Page, capture: &Capture) {
    let blocked = capture.threads.iter().enumerate();
    let mut blocked: Vec<_> = blocked
        .filter(|(_, thread)| thread.now.state == State::Blocked)
        .collect();
    if blocked.is_empty() {
        return;
    }
    blocked.sort_by_key(|(_, thread)| (Reverse(thread.now.since), thread.tid));
    let places = IdlePlaces::new(capture);
    blocked.retain(|(index, _)| !places.now_is_idle(*index));
    if blocked.is_empty() {
        page.heading("Blocked longest now: nothing but normal idle waits");
        return;
    }
    page.heading("Blocked longest now, idle waits apart");
    for (_, thread) in blocked.into_iter().take(HELD_UP) {
        let (name, now) = (
            label::thread_name(thread),
            table::now(&thread.now, usize::MAX),
        );
        page.plain(&format!("  {}: {now}", clean(&name)));
        let stack = thread.now.stack.and_then(|index| capture.stacks.get(index));
        page.line(
            QUIET,
            &format!("      {}", stack.map_or_else(no_stack, off_cpu_line)),
        );
    }
}

pub(super) fn top_on_cpu(page: &mut Page, capture: &Capture) {
    let samples = top::samples(capture);
    if samples == 0 {
        page.heading("On CPU: no samples");
        return;
    }
    page.heading(&format!("On CPU, {} samples", count(samples)));
    for entry in top::on_cpu(capture, TOP) {
        let stack = capture
            .stacks
            .get(entry.stack)
            .filter(|stack| !stack.frames.is_empty());
        let frames = stack.map_or_else(no_stack, |stack| line(stack, false));
        page.plain(&format!(
            "  {:>7}  {frames}",
            percent(entry.samples as f64, samples as f64)
        ));
    }
}

pub(super) fn top_off_cpu(page: &mut Page, capture: &Capture) {
    let all = top::off_cpu(capture, usize::MAX, false);
    let whole = all
        .iter()
        .fold(Duration::ZERO, |sum, entry| sum.saturating_add(entry.total));
    if whole.is_zero() {
        page.heading("Off CPU: nothing but idle and run queue");
        return;
    }
    page.heading(&format!(
        "Off CPU, {} of thread time, idle waits apart",
        duration(whole)
    ));
    for entry in all.iter().take(TOP) {
        let frames = match entry.site {
            Site::Short => label::SHORT_WAITS.to_owned(),
            Site::Lost => label::STACK_LOST.to_owned(),
            Site::Stack(index) => capture
                .stacks
                .get(index)
                .map_or_else(no_stack, off_cpu_line),
        };
        let (time, times) = (duration(entry.total), count(entry.count));
        let reason = label::reason(entry.reason, entry.syscall);
        page.plain(&format!(
            "  {:>7}  {time:>11}  {times:>7}×  {reason}  {frames}",
            share(entry.total, whole)
        ));
    }
}

/// What to trust: signals that are not fully on, losses, and what the capture itself cost.
pub(super) fn trust(page: &mut Page, capture: &Capture) {
    page.plain("");
    for signal in &capture.signals {
        let (state, why) = match &signal.state {
            HookState::On => continue,
            HookState::Degraded(why) => ("degraded", why),
            HookState::Off(why) => ("off", why),
        };
        page.paragraph(
            WARNING,
            &format!("{} is {state}: {}", signal.name, clean(why)),
        );
    }
    let lost: Vec<_> = capture.losses.non_zero().collect();
    if lost.is_empty() {
        page.plain("Nothing lost.");
    } else {
        let words: Vec<_> = lost
            .iter()
            .map(|(name, lost)| format!("{name} {}", count(*lost)))
            .collect();
        page.paragraph(WARNING, &format!("Lost: {}", words.join(", ")));
    }
    let cost = &capture.overhead;
    page.plain(&format!(
        "Cost: kernel side {:.2} % of a CPU, agent {:.2} % of a CPU, {} resident, {} of maps",
        cost.bpf_cpu_pct,
        cost.agent_cpu_pct,
        bytes(cost.agent_rss_bytes),
        bytes(cost.bpf_map_bytes),
    ));
}

/// Where the report is, whole paths for the next command.
pub(super) fn files(page: &mut Page, written: &Written) {
    page.plain("");
    for refused in &written.refused {
        let (folder, why) = (path(refused.folder.display()), clean(&refused.why));
        page.uncut(WARNING, &format!("Could not write {folder}: {why}"));
    }
    page.uncut(
        HEADING,
        &format!("Report: {}", path(written.folder.display())),
    );
    let names = written.files.iter().filter_map(|file| file.file_name());
    let names: Vec<_> = names.map(|name| path(name.display())).collect();
    page.uncut(QUIET, &format!("  {}", names.join("  ")));
}

fn off_cpu_line(stack: &Stack) -> String {
    if stack.frames.is_empty() {
        no_stack()
    } else {
        line(stack, true)
    }
}

/// A stack in one line from the leaf: `fsync <- flush (aof.c:88) <- main`. Of a wait the kernel
/// frames are left out, for they say `schedule` in a hundred ways; unless there is nothing else.
fn line(stack: &Stack, user_only: bool) -> String {
    let user = stack
        .frames
        .iter()
        .any(|frame| frame.kind != FrameKind::Kernel);
    let shown: Vec<_> = stack
        .frames
        .iter()
        .rev()
        .filter(|frame| !(user_only && user && frame.kind == FrameKind::Kernel))
        .collect();
    let mut words: Vec<_> = shown
        .iter()
        .take(FRAMES)
        .map(|frame| label::frame_short(frame))
        .collect();
    if shown.len() > FRAMES || stack.truncated {
        words.push("…".to_owned());
    }
    words.join(" <- ")
}

fn no_stack() -> String {
    "no stack".to_owned()
}
