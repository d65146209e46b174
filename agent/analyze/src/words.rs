//! The words of findings: how a stack, a thread, a socket is said in one line.

use remora_model::display::{
    label,
    text::{clean, duration, fit},
};
use remora_model::places;
use remora_model::{Frame, FrameKind, Socket, Stack, Task, Thread};
use std::time::Duration;

/// Frames of a stack that stand in one line.
const FRAMES: usize = 3;

/// Functions that start threads and programs: nobody's own code.
const PLUMBING: [&str; 14] = [
    "start_thread",
    "clone",
    "_start",
    "__libc_start",
    "__libc_start_call_main",
    "std::",
    "<std::",
    "core::",
    "<core::",
    "alloc::",
    "<alloc::",
    "__rust_begin_short_backtrace",
    "execute_native_thread_routine",
    "<module>",
];

/// Files of Python's library that call the program's own functions.
const LIBRARY: [&str; 8] = [
    "/threading.py",
    "/asyncio/",
    "/selectors.py",
    "/concurrent/futures/",
    "/multiprocessing/",
    "/runpy.py",
    "/ssl.py",
    "/contextlib.py",
];

/// The innermost functions of a stack, leaf first: `pump (feed.py:41) <- main (feed.py:88)`. Python functions
/// alone where there are any; without the kernel's. `None` when nothing of it has a name.
pub fn code(stack: &Stack) -> Option<String> {
    let frames = own_frames(stack);
    let words = frames.iter().take(FRAMES);
    let words: Vec<_> = words.map(|frame| label::frame_short(frame)).collect();
    (!words.is_empty()).then(|| words.join(" <- "))
}

/// The innermost function of the program's own: `pump (feed.py:41)`; one without a name is no place to point to.
pub fn place(stack: &Stack) -> Option<String> {
    own_frames(stack)
        .first()
        .filter(|frame| frame.named)
        .map(|frame| label::frame_short(frame))
}

/// Frames of the program's own code, leaf first; all that there are where it has none.
fn own_frames(stack: &Stack) -> Vec<&Frame> {
    let has_python = stack
        .frames
        .iter()
        .any(|frame| frame.kind == FrameKind::Python);
    let user = stack.frames.iter().rev().filter(|frame| match has_python {
        true => frame.kind == FrameKind::Python,
        false => frame.kind != FrameKind::Kernel,
    });
    let mut user: Vec<_> = user.collect();
    let outermost = user.len().saturating_sub(1);
    let wrappers = user[..outermost]
        .iter()
        .take_while(|frame| label::is_wrapper(frame));
    user.drain(..wrappers.count());
    let own = user.iter().copied().filter(|frame| !is_plumbing(frame));
    let own: Vec<_> = own.collect();
    if own.is_empty() { user } else { own }
}

/// Code that only leads to the program's own.
fn is_plumbing(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    match frame.kind {
        FrameKind::Python => LIBRARY.iter().any(|part| file.contains(part)) || is_known(frame),
        _ => PLUMBING.iter().any(|prefix| frame.name.starts_with(prefix)) || is_known(frame),
    }
}

/// A library's function that waits, and says so.
fn is_known(frame: &Frame) -> bool {
    use places::Meaning::{Home, Job, Start};
    let meaning = places::meaning(frame);
    meaning.is_some_and(|it| !matches!(it, Home | Job | Start))
}

/// The innermost functions of a task that are not asyncio's own, leaf first; asyncio's where there are no others.
pub fn task_code(task: &Task) -> Option<String> {
    let words = task_frames(task);
    let words: Vec<String> = words.into_iter().take(FRAMES).collect();
    (!words.is_empty()).then(|| words.join(" <- "))
}

/// The innermost of them.
pub fn task_place(task: &Task) -> Option<String> {
    task_frames(task).into_iter().next()
}

fn task_frames(task: &Task) -> Vec<String> {
    let is_own = |file: &str| !file.contains("/asyncio/");
    let has_own = task.frames.iter().any(|frame| is_own(&frame.file));
    let frames = task.frames.iter().rev();
    frames
        .filter(|frame| !has_own || is_own(&frame.file))
        .map(|frame| {
            let file = label::base_name(&frame.file);
            let words = match frame.line {
                Some(line) => format!("{} ({file}:{line})", frame.function),
                None => format!("{} ({file})", frame.function),
            };
            clean(&words).into_owned()
        })
        .collect()
}

/// `at pump (feed.py:41)`, with a blank in front; nothing where no code is known.
pub fn at(place: Option<&str>) -> String {
    place.map_or_else(String::new, |place| format!(" at {place}"))
}

/// Characters of a headline.
const HEADLINE: usize = 100;

/// Who does what: a headline of a finding, in at most 100 characters.
#[derive(Clone, Debug, Default)]
pub struct Headline<'a> {
    /// Who: a thread, a loop, a process.
    pub who: &'a str,
    /// The process of it, left out where there is no room; empty where `who` is the process.
    pub of: &'a str,
    /// What it does, and for how long.
    pub what: &'a str,
    /// More of it, left out where there is no room.
    pub detail: &'a str,
}

impl Headline<'_> {
    /// The longest form that fits: first the process is left out, then the folders of paths, then the detail.
    pub fn fitted(&self) -> String {
        let of = match self.of {
            "" => String::new(),
            of => format!(" of {of}"),
        };
        let detail = match self.detail {
            "" => String::new(),
            detail => format!(": {detail}"),
        };
        let (who, what) = (self.who, self.what);
        let short = without_folders(&format!("{who} {what}{detail}"));
        let forms = [
            format!("{who}{of} {what}{detail}"),
            format!("{who} {what}{detail}"),
            short,
            format!("{who}{of} {what}"),
            format!("{who} {what}"),
        ];
        let fits = |form: &&String| form.chars().count() <= HEADLINE;
        let last = without_folders(&forms[4]);
        let chosen = forms.iter().find(fits).unwrap_or(&last);
        fit(&clean(chosen), HEADLINE).into_owned()
    }
}

/// Paths in a text without their folders.
fn without_folders(text: &str) -> String {
    let words = text.split(' ').map(|word| match word.starts_with('/') {
        true => label::base_name(word),
        false => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `worker-4712`, safe to print.
pub fn thread(thread: &Thread) -> String {
    clean(&label::thread_name(thread)).into_owned()
}

/// `fd 9 tcp 10.0.0.1:80, peer feedd (4711)`.
pub fn socket(socket: &Socket) -> String {
    let peer = match (&socket.peer_process, &socket.peer) {
        (Some(peer), _) => format!(", peer {} ({})", peer.comm, peer.pid),
        (None, Some(peer)) => format!(", peer {peer}"),
        (None, None) => String::new(),
    };
    clean(&format!("{}{peer}", channel(socket))).into_owned()
}

/// `fd 9 tcp 10.0.0.1:80`.
pub fn channel(socket: &Socket) -> String {
    let mut words = format!("fd {} {}", socket.fd, socket.protocol_name());
    if let Some(local) = &socket.local {
        words.push_str(&format!(" {local}"));
    }
    clean(&words).into_owned()
}

/// `32.0 s`, `≥ 32.0 s`.
pub fn since(time: Duration, at_least: bool) -> String {
    let prefix = if at_least { "≥ " } else { "" };
    format!("{prefix}{}", duration(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::fixture::stack;

    #[test]
    fn a_stack_shows_the_programs_own_functions() {
        let native = stack(&[
            "clone3@/sysdeps/clone3.S:81",
            "start_thread@/nptl/pthread_create.c:442",
            "outer@/x/a.c:9",
            "b@/x/a.c:5",
            "c@/x/a.c:3",
            "d@/x/a.c:1",
            "__GI___lll_lock_wait",
            "k:futex_wait",
        ]);
        let words = code(&native).expect("code");
        assert_eq!(words, "d (a.c:1) <- c (a.c:3) <- b (a.c:5)");
        let python = stack(&[
            "p:Thread._bootstrap@/usr/lib/python3.11/threading.py:995",
            "p:run@/srv/feed.py:7",
            "p:BaseEventLoop._run_once@/usr/lib/python3.11/asyncio/base_events.py:1922",
            "p:pump@/srv/feed.py:41",
        ]);
        let words = code(&python).expect("code");
        assert_eq!(words, "pump (feed.py:41) <- run (feed.py:7)");
        let nothing_else = stack(&["clone3", "start_thread"]);
        assert!(code(&nothing_else).is_some());
    }

    #[test]
    fn a_headline_leaves_out_the_process_then_folders_then_the_detail() {
        let long = "a".repeat(60);
        let path = format!("/var/lib/{}/queue.fifo", "b".repeat(60));
        let of = |detail: &str| {
            Headline {
                who: "fifteen-letters-4194304",
                of: "fifteen-letters (4194304)",
                what: "blocked for ≥ 7.7 s in open()",
                detail,
            }
            .fitted()
        };
        let (who, what) = ("fifteen-letters-4194304", "blocked for ≥ 7.7 s in open()");
        assert_eq!(of(""), format!("{who} of fifteen-letters (4194304) {what}"));
        assert_eq!(
            of("FIFO f has no reader"),
            format!("{who} {what}: FIFO f has no reader")
        );
        assert_eq!(of(&path), format!("{who} {what}: queue.fifo"));
        assert_eq!(
            of(&long),
            format!("{who} of fifteen-letters (4194304) {what}")
        );
        assert!(of(&long).chars().count() <= HEADLINE);
    }
}
