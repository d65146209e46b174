//! The words of findings: how a stack, a thread, a socket is said in one line.

use super::Scene;
use remora_model::display::{
    label,
    text::{clean, duration, fit},
};
use remora_model::places;
use remora_model::{Frame, FrameKind, Socket, Stack, Task, Thread};
use std::time::Duration;

/// Frames of a stack that stand in one line.
const FRAMES: usize = 3;

/// Of the program's own functions behind those of libraries.
const PROGRAM: usize = 2;

/// Folders of code that others wrote, by a part of their paths.
const OTHERS: [&str; 10] = [
    "/site-packages/",
    "/dist-packages/",
    "/lib/python3",
    "/lib64/python3",
    "/.cargo/registry/",
    "/rustc/",
    "/rustlib/",
    "/go/src/runtime/",
    "/pkg/mod/",
    "/node_modules/",
];

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
/// alone where there are any; without the kernel's. Where these are all of libraries it goes on to the program's own
/// first functions: who calls is to blame. `None` when nothing of it has a name.
pub(crate) fn code(stack: &Stack) -> Option<String> {
    let frames = own_frames(stack);
    let words = frames
        .iter()
        .map(|frame| (label::frame_short(frame), is_program(frame)));
    line(words)
}

/// The first of these, and the program's own behind them where none of the first is.
fn line(frames: impl Iterator<Item = (String, bool)>) -> Option<String> {
    let frames: Vec<(String, bool)> = frames.collect();
    let (first, rest) = frames.split_at(frames.len().min(FRAMES));
    let mut words: Vec<&str> = first.iter().map(|it| it.0.as_str()).collect();
    let at = rest.iter().position(|it| it.1);
    if let Some(at) = at.filter(|_| first.iter().all(|it| !it.1)) {
        if at > 0 {
            words.push("…");
        }
        let own = rest.iter().skip(at).take_while(|it| it.1);
        words.extend(own.take(PROGRAM).map(|it| it.0.as_str()));
    }
    (!words.is_empty()).then(|| words.join(" <- "))
}

/// The innermost function of the program's own, else of a library: `pump (feed.py:41)`; one without a
/// name is no place to point to.
pub(crate) fn place(stack: &Stack) -> Option<String> {
    let frames = own_frames(stack);
    let own = frames.iter().find(|frame| is_program(frame));
    own.or(frames.first())
        .filter(|frame| frame.named)
        .map(|frame| label::frame_short(frame))
}

/// Code of the program itself, as far as its file says: not of a shared library, a language's own, a package.
pub(crate) fn is_program(frame: &Frame) -> bool {
    let module = frame.module.as_deref().unwrap_or_default();
    let file = frame.file.as_deref().unwrap_or_default();
    let in_library = match frame.kind {
        FrameKind::Python => file.starts_with('<'),
        _ => {
            let name = module.rsplit('/').next().unwrap_or_default();
            name.contains(".so.") || name.ends_with(".so")
        }
    };
    frame.named && !in_library && !OTHERS.iter().any(|part| file.contains(part))
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
pub(crate) fn task_code(task: &Task) -> Option<String> {
    line(task_frames(task).into_iter())
}

/// The innermost of them.
pub(crate) fn task_place(task: &Task) -> Option<String> {
    let frames = task_frames(task);
    let own = frames.iter().find(|it| it.1).or(frames.first());
    own.map(|it| it.0.clone())
}

fn task_frames(task: &Task) -> Vec<(String, bool)> {
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
            let own = !OTHERS.iter().any(|part| frame.file.contains(part));
            (clean(&words).into_owned(), own)
        })
        .collect()
}

/// `at pump (feed.py:41)`, with a blank in front; nothing where no code is known.
pub(crate) fn at(place: Option<&str>) -> String {
    place.map_or_else(String::new, |place| format!(" at {place}"))
}

/// Characters of a name that Python gave a thread.
const OWN_NAME: usize = 24;

/// Characters of a headline.
const HEADLINE: usize = 100;

/// Who does what: a headline of a finding, in at most 100 characters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headline<'a> {
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
    pub(crate) fn fitted(&self) -> String {
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
        // The first part of a detail says what is wrong, the rest who has to do with it.
        let part = detail.split_once(", ").map_or(detail.as_str(), |it| it.0);
        let forms = [
            format!("{who}{of} {what}{detail}"),
            format!("{who} {what}{detail}"),
            short,
            format!("{who}{of} {what}{part}"),
            format!("{who} {what}{part}"),
            without_folders(&format!("{who} {what}{part}")),
            format!("{who}{of} {what}"),
            format!("{who} {what}"),
        ];
        let fits = |form: &&String| form.chars().count() <= HEADLINE;
        let last = without_folders(&forms[7]);
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

/// `worker-4712`, with the name that Python or Java gave it: `python3-4712 (pump)`; safe to print.
pub(crate) fn thread(thread: &Thread) -> String {
    let name = clean(&label::thread_name(thread)).into_owned();
    match thread.python_name.as_ref().or(thread.java_name.as_ref()) {
        Some(own) => format!("{name} ({})", fit(&clean(own), OWN_NAME)),
        None => name,
    }
}

/// A socket with both its ends and who is there: `fd 9 tcp 127.0.0.1:57356 → 127.0.0.1:6379 feedd (4711)`. The arrow
/// leads from the one that connected: of an accepted one it points to the port that it came in by.
pub(crate) fn socket(scene: &Scene<'_>, socket: &Socket) -> String {
    let mut words = channel(scene, socket);
    if let Some(peer) = &socket.peer_process {
        let before = if socket.peer.is_some() { "" } else { ", peer" };
        words.push_str(&clean(&format!("{before} {} ({})", peer.comm, peer.pid)));
    }
    words
}

/// The same without who is at the other end.
pub(crate) fn channel(scene: &Scene<'_>, socket: &Socket) -> String {
    let mut words = format!("fd {} {}", socket.fd, socket.protocol_name());
    let arrow = match scene.is_accepted(socket) {
        true => "←",
        false => "→",
    };
    match (&socket.local, &socket.peer) {
        (Some(local), None) => words.push_str(&format!(" {local}")),
        (Some(local), Some(peer)) => words.push_str(&format!(" {local} {arrow} {peer}")),
        (None, Some(peer)) => words.push_str(&format!(" {arrow} {peer}")),
        (None, None) => {}
    }
    clean(&words).into_owned()
}

/// `32.0 s`, `≥ 32.0 s`.
pub(crate) fn since(time: Duration, at_least: bool) -> String {
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
    fn code_goes_on_to_the_programs_own_functions() {
        let mut deep = stack(&[
            "main@/srv/app/main.c:9",
            "serve@/srv/app/serve.c:88",
            "lib_f",
            "lib_e",
            "lib_d",
            "lib_c",
            "lib_b",
            "lib_a",
        ]);
        for frame in &mut deep.frames[2..] {
            frame.module = Some("/usr/lib/libother.so.5".into());
        }
        assert_eq!(
            code(&deep).expect("code"),
            "lib_a <- lib_b <- lib_c <- … <- serve (serve.c:88) <- main (main.c:9)"
        );
        assert_eq!(place(&deep).expect("a place"), "serve (serve.c:88)");
        let python = stack(&[
            "p:handle@/srv/feed.py:7",
            "p:d@/usr/lib/python3/dist-packages/x/a.py:4",
            "p:c@/srv/venv/lib/python3.11/site-packages/x/a.py:3",
            "p:b@/usr/lib/python3.11/json/a.py:2",
        ]);
        assert_eq!(
            code(&python).expect("code"),
            "b (a.py:2) <- c (a.py:3) <- d (a.py:4) <- handle (feed.py:7)"
        );
        // Nothing but libraries: as it is.
        let mut alone = stack(&["e", "d", "c", "b", "a"]);
        for frame in &mut alone.frames {
            frame.module = Some("/usr/lib/libother.so".into());
        }
        assert_eq!(code(&alone).expect("code"), "a <- b <- c");
    }

    #[test]
    fn a_thread_has_the_name_that_python_gave_it() {
        let mut own = remora_model::fixture::Builder::new(7, "python3").0.threads[0].clone();
        assert_eq!(thread(&own), "python3-7");
        own.python_name = Some("pump\u{1b}[31m".into());
        assert_eq!(thread(&own), "python3-7 (pump\\u{1b}[31m)");
    }

    #[test]
    fn a_connection_is_shown_with_both_ends_and_who_is_there() {
        use remora_model::fixture::{Builder, socket as new};
        use remora_model::{Address, PeerProcess, SocketState};
        let address = |text: &str| Some(Address::Inet(text.parse().expect("an address")));
        let mut made = new(1, 9);
        (made.local, made.peer) = (address("127.0.0.1:57356"), address("127.0.0.1:6379"));
        let mut server = new(1, 3);
        (server.local, server.state) = (address("127.0.0.1:6379"), SocketState::Listen);
        let mut came = new(1, 4);
        (came.local, came.peer) = (address("127.0.0.1:6379"), address("127.0.0.1:57356"));
        let mut builder = Builder::new(1, "redis-server");
        builder.0.sockets = vec![server.clone()];
        let thresholds = crate::Thresholds::default();
        let scene = Scene::new(&builder.0, &thresholds);
        let line = "fd 9 tcp 127.0.0.1:57356 → 127.0.0.1:6379";
        assert_eq!(socket(&scene, &made), line);
        made.peer_process = Some(PeerProcess {
            pid: 812,
            comm: "redis-server".into(),
            fd: 4,
            inode: 7,
            holders: 1,
            held_by: vec![812],
            accepted: true,
            inferred: false,
            unread: 0,
            reads: None,
        });
        assert_eq!(socket(&scene, &made), format!("{line} redis-server (812)"));
        let line = "fd 4 tcp 127.0.0.1:6379 ← 127.0.0.1:57356";
        assert_eq!(socket(&scene, &came), line);
        assert_eq!(channel(&scene, &server), "fd 3 tcp 127.0.0.1:6379");
        (made.local, made.peer) = (None, None);
        assert_eq!(socket(&scene, &made), "fd 9 tcp, peer redis-server (812)");
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
        assert_eq!(
            of(&format!("pipe:[4194304] is full, {long} does not read")),
            format!("{who} {what}: pipe:[4194304] is full")
        );
    }
}
