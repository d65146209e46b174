//! The parts of the summary that are lists: what holds threads up, top stacks, what to trust, and
//! where the files are.

use super::{HEADING, Page, QUIET, WARNING, path, table};
use crate::model::IdlePlaces;
use crate::model::{Capture, End, Fidelity, FrameKind, HookState, Site, Stack, State, TaskState};
use crate::report::folder::{Written, format_utc};
use crate::report::shares::Shares;
use crate::report::text::{bytes, clean, count, duration, fit, percent, seconds, share};
use crate::report::top::{self, Place};
use crate::report::{label, totals};
use anstyle::Style;
use std::cmp::Reverse;

/// Blocked threads that are shown with their stack.
const HELD_UP: usize = 3;

/// Stacks listed on and off the CPU.
const TOP: usize = 5;

/// Share of a thread's watched time that may be unaccounted for without a word.
const UNACCOUNTED: f64 = 0.01;

/// Threads with more than that which are named.
const UNACCOUNTED_NAMED: usize = 3;

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
        page.line(QUIET, &format!("      {}", stack_line(stack, true)));
    }
}

/// Columns of a line that stand before its frames: the share, and of a wait its time and number.
const BEFORE_SAMPLES: usize = 11;
const BEFORE_WAITS: usize = 34;

pub(super) fn top_on_cpu(page: &mut Page, capture: &Capture) {
    let (samples, used) = (top::samples(capture), duration(totals::on_cpu(capture)));
    if samples == 0 {
        page.heading(&format!("On CPU, {used}: no samples"));
        return;
    }
    page.heading(&format!("On CPU, {used} in {} samples", count(samples)));
    let room = page.look.width.saturating_sub(BEFORE_SAMPLES);
    let show = |stack: Option<&Stack>| fit(&stack_line(stack, false), room).into_owned();
    for entry in top::on_cpu(capture, TOP, show) {
        page.plain(&format!(
            "  {:>7}  {}",
            percent(entry.samples as f64, samples as f64),
            entry.shown
        ));
    }
}

pub(super) fn top_off_cpu(page: &mut Page, capture: &Capture) {
    page.heading(&format!(
        "Off CPU, {}, idle waits apart",
        totals::off_cpu_words(capture, false)
    ));
    let blocked = totals::blocked(capture, false);
    let room = page.look.width.saturating_sub(BEFORE_WAITS);
    let show = |place: &Place| {
        let line = match place.site {
            Site::Short => label::SHORT_WAITS.to_owned(),
            Site::Lost => label::STACK_LOST.to_owned(),
            Site::Stack(index) => stack_line(capture.stacks.get(index), true),
        };
        let reason = label::reason(place.reason, place.syscall);
        fit(&format!("{reason}  {line}"), room).into_owned()
    };
    for entry in top::off_cpu(capture, TOP, false, show) {
        let (time, times) = (duration(entry.total), count(entry.count));
        page.plain(&format!(
            "  {:>7}  {time:>11}  {times:>7}×  {}",
            share(entry.total, blocked),
            entry.shown
        ));
    }
}

/// The asyncio tasks in a line for each process; the report has them all.
pub(super) fn asyncio(page: &mut Page, capture: &Capture) {
    if capture.tasks.is_empty() {
        return;
    }
    page.heading("asyncio tasks");
    for (pid, tasks) in &capture.tasks {
        let in_state = |state| tasks.tasks.iter().filter(|t| t.state == state).count();
        let states = [TaskState::Running, TaskState::Ready, TaskState::Waiting]
            .map(|state| format!("{} {}", in_state(state), state.name()));
        let plural = if tasks.loops.len() == 1 { "" } else { "s" };
        page.plain(&format!(
            "  {pid}  {} on {} loop{plural}: {}; each with its stack in tasks.txt",
            tasks.tasks.len(),
            tasks.loops.len(),
            states.join(", "),
        ));
    }
}

/// What to trust: signals that are not fully on, losses, and what the capture itself cost.
pub(super) fn trust(page: &mut Page, capture: &Capture, shares: &[Shares]) {
    page.plain("");
    for signal in &capture.signals {
        if signal.name == "event_loops" && capture.loops.is_empty() {
            // Nothing is less precise where there is nothing.
            continue;
        }
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
    fidelity(page, capture);
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
    unaccounted(page, capture, shares);
    let cost = &capture.overhead;
    page.plain(&format!(
        "Cost: kernel side {:.2} % of a CPU, agent {:.2} % of a CPU, {} resident, {} of maps",
        cost.bpf_cpu_pct,
        cost.agent_cpu_pct,
        bytes(cost.agent_rss_bytes),
        bytes(cost.bpf_map_bytes),
    ));
}

/// Share of whole stacks below which the line is a warning, in percent.
const WHOLE: f64 = 99.0;

/// Which share of the stacks is whole, and what became of the rest.
fn fidelity(page: &mut Page, capture: &Capture) {
    let fidelity = Fidelity::of(capture);
    let Some(pct) = fidelity.complete_pct() else {
        return;
    };
    let mut causes: Vec<_> = fidelity.incomplete.iter().collect();
    causes.sort_by_key(|(cause, count)| (Reverse(**count), **cause));
    let causes: Vec<_> = causes
        .iter()
        .map(|(cause, stacks)| format!("{cause} {}", count(**stacks)))
        .collect();
    // Rounded down: not all is whole before the last stack is.
    let shown = (pct * 10.0).floor() / 10.0;
    let mut line = format!("Stacks: {shown:.1} % complete");
    if !causes.is_empty() {
        line.push_str(&format!(
            " of {}; {}",
            count(fidelity.taken),
            causes.join(", ")
        ));
    }
    let style = if pct < WHOLE { WARNING } else { Style::new() };
    page.paragraph(style, &line);
}

/// Names the threads whose states do not add up to the time that they were watched.
fn unaccounted(page: &mut Page, capture: &Capture, shares: &[Shares]) {
    let threads = capture.threads.iter().zip(shares);
    let missing = threads.map(|(thread, shares)| {
        let missing = shares.unaccounted().as_secs_f64() / shares.observed.as_secs_f64();
        (missing, thread, shares)
    });
    let mut missing: Vec<_> = missing
        .filter(|(missing, ..)| *missing > UNACCOUNTED)
        .collect();
    if missing.is_empty() {
        return;
    }
    missing.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.tid.cmp(&b.1.tid)));
    let named = missing.iter().take(UNACCOUNTED_NAMED);
    let mut words: Vec<_> = named
        .map(|(_, thread, shares)| {
            let name = label::thread_name(thread);
            format!(
                "{} of {}",
                share(shares.unaccounted(), shares.observed),
                clean(&name)
            )
        })
        .collect();
    let more = missing.len().saturating_sub(UNACCOUNTED_NAMED);
    if more > 0 {
        words.push(format!("over 1 % of {more} more"));
    }
    let words = words.join(", ");
    page.paragraph(
        WARNING,
        &format!("Time that no state accounts for: {words}"),
    );
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

/// A stack in one line from the leaf: `fsync <- flush (aof.c:88) <- main`. Of a wait the kernel
/// frames are left out, for they say `schedule` in a hundred ways; unless there is nothing else.
pub(super) fn stack_line(stack: Option<&Stack>, user_only: bool) -> String {
    let Some(stack) = stack.filter(|stack| !stack.frames.is_empty()) else {
        return "no stack".to_owned();
    };
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
