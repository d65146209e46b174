//! What things are called in every part of a report, so that a name seen in a flamegraph is found
//! again in the table and in the JSON.

use super::short_name;
use super::text::{clean, counted, seconds};
use crate::UNMAPPED;
use crate::{Capture, Frame, LossId, Reason, State, Syscall, Thread, Verdict};
use std::borrow::Cow;
use std::collections::HashMap;

/// Waits under the threshold, which have no stack by design.
pub const SHORT_WAITS: &str = "[short waits]";
/// Waits whose stack was lost.
pub const STACK_LOST: &str = "[stack lost]";
/// Memory that no sampled fault explains.
pub const NO_FAULT: &str = "[no sampled fault]";
/// The root of a stack that the frame limit cut.
pub const TRUNCATED: &str = "[root cut off]";
/// Frames that stand for what is not known of a stack, and must not be taken for code.
pub const MARKERS: [&str; 5] = [SHORT_WAITS, STACK_LOST, TRUNCATED, UNMAPPED, NO_FAULT];
/// Time ready but waiting for a CPU.
pub const RUN_QUEUE: &str = "run queue";

/// A reason in words; a plain system call by its name.
pub fn reason(reason: Reason, syscall: Option<Syscall>) -> Cow<'static, str> {
    match (reason, syscall) {
        (Reason::Syscall, Some(name)) => Cow::Owned(format!("syscall {}", name.name())),
        _ => Cow::Borrowed(reason.label()),
    }
}

/// A thread state's name in `report.json`.
pub const fn state(state: State) -> &'static str {
    match state {
        State::Unknown => "unknown",
        State::Running => "running",
        State::Runnable => "runnable",
        State::Blocked => "blocked",
        State::Exited => "exited",
    }
}

/// Functions of C libraries that only lead into the system call, and so say nothing of the program.
const WRAPPERS: [&str; 14] = [
    "__futex_abstimed_wait_common",
    "__GI___",
    "__libc_",
    "__lll_lock_wait",
    "__syscall_cancel",
    "__internal_syscall_cancel",
    "futex_wait",
    "lll_mutex_lock",
    "___pthread",
    "__pthread_",
    "__gthread",
    "std::",
    "<std::",
    "syscall",
];

/// A system call's wrapper, or a template of the C++ library around it: nobody's own code.
pub fn is_wrapper(frame: &Frame) -> bool {
    let of_library = |file: &str| file.contains("/include/c++/");
    frame.file.as_deref().is_some_and(of_library)
        || WRAPPERS.iter().any(|prefix| frame.name.starts_with(prefix))
}

/// A frame with where it is from: `name (file:line)`, else `name [module]`.
pub fn frame_in_full(frame: &Frame) -> String {
    if let Some(file) = &frame.file {
        return format!("{} ({file}{})", frame.name, line_suffix(frame));
    }
    match frame.module.as_deref() {
        // Without a symbol the name says module and offset already.
        None => frame.name.to_string(),
        Some(_) if !frame.named => frame.name.to_string(),
        Some(module) if module.starts_with('[') => format!("{} {module}", frame.name),
        Some(module) => format!("{} [{}]", frame.name, base_name(module)),
    }
}

/// A frame for one short line: `name (file:line)` without folders, else the name alone; the name
/// [in short](short_name).
pub fn frame_short(frame: &Frame) -> String {
    let name = short_name::short(&frame.name, frame.kind);
    let name = clean(&name);
    match &frame.file {
        Some(file) => format!("{name} ({}{})", clean(base_name(file)), line_suffix(frame)),
        None => name.to_string(),
    }
}

fn line_suffix(frame: &Frame) -> String {
    frame
        .line
        .map(|line| format!(":{line}"))
        .unwrap_or_default()
}

/// The file's name without its folders.
pub fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// That nothing was found: `HEALTHY  no problem found in feedd (4711) in 3.0 s`.
pub fn no_problem(capture: &Capture, verdict: Verdict) -> String {
    let targets = targets(capture);
    match verdict {
        Verdict::Idle => format!("IDLE  no problem found; {targets} used < 1 % of one CPU"),
        _ => format!(
            "HEALTHY  no problem found in {targets} in {}",
            seconds(capture.duration)
        ),
    }
}

/// `25 frame names (unsymbolised_frames)`.
pub fn loss((loss, lost): (LossId, u64)) -> String {
    format!("{} ({})", counted(lost, loss.what()), loss.key())
}

/// The targets as one short phrase: `redis-server (4711)`, `nginx (101) and 3 more`.
pub fn targets(capture: &Capture) -> String {
    let mut targets = capture.processes.iter().filter(|it| it.is_target());
    let Some(first) = targets.next() else {
        return "no process".to_owned();
    };
    let name = format!("{} ({})", clean(&first.comm), first.pid);
    match targets.count() {
        0 => name,
        more => format!("{name} and {more} more"),
    }
}

/// Which frames say whose time it is: none for a single thread, the thread where one process has
/// several, the process too where there are several.
pub struct Owners<'a> {
    processes: HashMap<u32, (String, usize)>,
    capture: &'a Capture,
}

impl<'a> Owners<'a> {
    /// Counts the threads of each process.
    pub fn new(capture: &'a Capture) -> Self {
        let mut processes = HashMap::new();
        for process in &capture.processes {
            let name = format!("{} ({})", process.comm, process.pid);
            processes.insert(process.pid, (name, 0));
        }
        for thread in &capture.threads {
            let named = || (format!("process ({})", thread.pid), 0);
            processes.entry(thread.pid).or_insert_with(named).1 += 1;
        }
        Self { processes, capture }
    }

    /// The frames for a process as a whole.
    pub fn process_frames(&self, pid: u32) -> Vec<String> {
        let process = self.processes.get(&pid).map(|(name, _)| name.clone());
        process
            .filter(|_| self.processes.len() > 1)
            .into_iter()
            .collect()
    }

    /// The frames for a thread, outermost first; none when its index leads nowhere.
    pub fn frames(&self, thread: usize) -> Vec<String> {
        let Some(thread) = self.capture.threads.get(thread) else {
            return Vec::new();
        };
        let process = self.processes.get(&thread.pid);
        let mut frames = Vec::new();
        if self.processes.len() > 1 {
            frames.extend(process.map(|(name, _)| name.clone()));
        }
        if process.is_some_and(|(_, threads)| *threads > 1) {
            frames.push(thread_name(thread));
        }
        frames
    }
}

/// A thread's name and id: `worker-4712`; of a sum of threads how many.
pub fn thread_name(thread: &Thread) -> String {
    match thread.summed {
        0 => format!("{}-{}", thread.comm, thread.tid),
        threads => format!("{} ({threads} that ended)", thread.comm),
    }
}
