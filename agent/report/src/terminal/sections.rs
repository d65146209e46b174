//! The parts of the summary that are lists: blocked threads, top stacks, data quality, and where the files
//! are.

use super::{HEADING, Page, QUIET, WARNING, path, table, verdict::Lines};
use crate::shares::Shares;
use crate::text::{bytes, clean, count, counted, duration, fit, percent, seconds, share};
use crate::top::{self, Place};
use crate::{Written, name::format_utc};
use crate::{label, totals};
use anstyle::Style;
use remora_model::{
    Capture, End, Fidelity, FrameKind, HookState, SignalId, Site, Stack, State, TaskState,
};
use remora_model::{IdlePlaces, Judgement, Report, Subject};
use std::cmp::Reverse;
use std::collections::HashSet;

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
    let mut lines = Lines::default();
    lines.row(
        page,
        QUIET,
        "capture",
        &format!(
            "{} from {} UTC{end}; kernel {}; {} Hz; wait stacks from {}",
            seconds(capture.duration),
            format_utc(capture.started_unix_s, "%Y-%m-%d %H:%M:%S"),
            clean(&capture.kernel),
            capture.freq_hz,
            duration(capture.min_block),
        ),
    );
}

/// The threads that have been blocked longest at the end, without normal idle and those that a finding names.
pub(super) fn held_up(page: &mut Page, report: &Report) {
    let capture = &report.capture;
    let findings = report.judgement.iter().flat_map(Judgement::findings);
    let named: HashSet<Subject> = findings.flat_map(|it| it.about.iter().copied()).collect();
    let blocked = capture.threads.iter().enumerate();
    let mut blocked: Vec<_> = blocked
        .filter(|(_, thread)| thread.now.state == State::Blocked)
        .filter(|(_, thread)| !named.contains(&Subject::Thread(thread.tid)))
        .collect();
    blocked.sort_by_key(|(_, thread)| (Reverse(thread.now.since), thread.tid));
    let places = IdlePlaces::new(capture);
    blocked.retain(|(index, _)| !places.now_is_idle(*index));
    if blocked.is_empty() {
        return;
    }
    page.heading("Blocked longest at the end, excluding idle");
    for (_, thread) in blocked.into_iter().take(HELD_UP) {
        let (name, now) = (
            label::thread_name(thread),
            table::now(&thread.now, usize::MAX),
        );
        page.plain(&format!("  {}: {now}", clean(&name)));
        let stack = thread.now.stack.and_then(|index| capture.stacks.get(index));
        page.hanging(QUIET, "      ", &stack_line(stack, true));
    }
}

/// Columns of a line that stand before its frames: the share, and of a wait its time and number.
const BEFORE_SAMPLES: usize = 11;
const BEFORE_WAITS: usize = 34;

pub(super) fn top_on_cpu(page: &mut Page, capture: &Capture) {
    let (samples, used) = (top::samples(capture), duration(totals::on_cpu(capture)));
    if samples == 0 {
        return;
    }
    page.heading(&format!("On CPU: {used}, {}", counted(samples, "sample")));
    let room = page.options.width.saturating_sub(BEFORE_SAMPLES);
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
    let blocked = totals::blocked(capture, false);
    if blocked.is_zero() {
        return;
    }
    page.heading(&format!(
        "Off CPU, excluding idle: {}",
        totals::off_cpu_words(capture, false)
    ));
    let room = page.options.width.saturating_sub(BEFORE_WAITS);
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
        let text = format!(
            "{pid}: {} on {}: {}; stacks in tasks.txt",
            counted(tasks.tasks.len() as u64, "task"),
            counted(tasks.loops.len() as u64, "loop"),
            states.join(", "),
        );
        page.hanging(Style::new(), "  ", &text);
    }
}

/// How good the data are: signals that are not fully on, losses, and the overhead.
pub(super) fn quality(page: &mut Page, capture: &Capture, shares: &[Shares]) {
    page.heading("Data quality");
    let mut lines = Lines::default();
    for signal in &capture.signals {
        let is_nothing = match signal.id {
            // Nothing is less precise where there is nothing.
            SignalId::EventLoops => capture.loops.is_empty(),
            SignalId::Heap => capture.heap_watch.is_none(),
            _ => false,
        };
        if is_nothing {
            continue;
        }
        let (state, why) = match &signal.state {
            HookState::On => continue,
            HookState::Degraded(why) => ("degraded", why),
            HookState::Off(why) => ("off", why),
        };
        lines.row(page, WARNING, state, &format!("{}: {why}", signal.id.key()));
    }
    fidelity(page, &mut lines, capture);
    let lost: Vec<_> = capture.losses.non_zero().map(label::loss).collect();
    match lost.is_empty() {
        true => lines.row(page, Style::new(), "lost", "no data lost"),
        false => lines.row(page, WARNING, "lost", &lost.join(", ")),
    }
    unaccounted(page, &mut lines, capture, shares);
    let cost = &capture.overhead;
    let text = format!(
        "BPF programs {:.2} % of one CPU, agent {:.2} % of one CPU, {} resident, {} of maps",
        cost.bpf_cpu_pct,
        cost.agent_cpu_pct,
        bytes(cost.agent_rss_bytes),
        bytes(cost.bpf_map_bytes),
    );
    lines.row(page, Style::new(), "overhead", &text);
}

/// Share of whole stacks below which the line is a warning, in percent.
const WHOLE: f64 = 99.0;

/// Which share of the stacks is whole, and what became of the rest.
fn fidelity(page: &mut Page, lines: &mut Lines, capture: &Capture) {
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
    let mut line = format!("{shown:.1} % complete");
    if !causes.is_empty() {
        line.push_str(&format!(
            " of {}; {}",
            count(fidelity.taken),
            causes.join(", ")
        ));
    }
    let style = if pct < WHOLE { WARNING } else { Style::new() };
    lines.row(page, style, "stacks", &line);
}

/// Names the threads whose states do not add up to the time that they were watched.
fn unaccounted(page: &mut Page, lines: &mut Lines, capture: &Capture, shares: &[Shares]) {
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
    let text = format!("unaccounted time: {words}");
    lines.row(page, WARNING, "threads", &text);
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
    let mut shown: Vec<_> = stack
        .frames
        .iter()
        .rev()
        .filter(|frame| !(user_only && user && frame.kind == FrameKind::Kernel))
        .collect();
    if user_only {
        // What only leads into the system call says nothing of the program.
        let wrappers = shown.iter().take_while(|frame| label::is_wrapper(frame));
        let wrappers = wrappers.count();
        if wrappers < shown.len() {
            shown.drain(..wrappers);
        }
    }
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
