//! The words of findings: how a stack, a thread, a socket is said in one line.

use crate::model::{Frame, FrameKind, Socket, Stack, Task, Thread};
use crate::words::{
    label,
    text::{clean, duration},
};
use std::time::Duration;

/// Frames of a stack that stand in one line.
const FRAMES: usize = 4;

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

/// The innermost functions of a stack, leaf first: `pump (feed.py:41) <- main (feed.py:88)`. Python functions
/// alone where there are any; without the kernel's. `None` when nothing of it has a name.
pub fn code(stack: &Stack) -> Option<String> {
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
        .take_while(|frame| is_wrapper(frame));
    user.drain(..wrappers.count());
    let words: Vec<_> = user
        .iter()
        .take(FRAMES)
        .map(|frame| label::frame_short(frame))
        .collect();
    (!words.is_empty()).then(|| words.join(" <- "))
}

/// A system call's wrapper, or a template of the C++ library around it: nobody's own code.
fn is_wrapper(frame: &Frame) -> bool {
    let of_library = |file: &str| file.contains("/include/c++/");
    frame.file.as_deref().is_some_and(of_library)
        || WRAPPERS.iter().any(|prefix| frame.name.starts_with(prefix))
}

/// The innermost functions of a task that are not asyncio's own, leaf first; asyncio's where there are no others.
pub fn task_code(task: &Task) -> Option<String> {
    let is_own = |file: &str| !file.contains("/asyncio/");
    let has_own = task.frames.iter().any(|frame| is_own(&frame.file));
    let frames = task.frames.iter().rev();
    let words: Vec<String> = frames
        .filter(|frame| !has_own || is_own(&frame.file))
        .take(FRAMES)
        .map(|frame| {
            let file = label::base_name(&frame.file);
            match frame.line {
                Some(line) => format!("{} ({file}:{line})", frame.function),
                None => format!("{} ({file})", frame.function),
            }
        })
        .collect();
    (!words.is_empty()).then(|| clean(&words.join(" <- ")).into_owned())
}

/// `worker-4712`, safe to print.
pub fn thread(thread: &Thread) -> String {
    clean(&label::thread_name(thread)).into_owned()
}

/// `fd 9, tcp 10.0.0.1:80 to 10.0.0.2:4711`.
pub fn socket(socket: &Socket) -> String {
    let mut words = format!("fd {}, {}", socket.fd, socket.protocol_name());
    if let Some(local) = &socket.local {
        words.push_str(&format!(" {local}"));
    }
    match (&socket.peer_process, &socket.peer) {
        (Some(peer), _) => {
            let name = clean(&peer.comm);
            words.push_str(&format!(" to {name} ({})", peer.pid));
        }
        (None, Some(peer)) => words.push_str(&format!(" to {peer}")),
        (None, None) => {}
    }
    clean(&words).into_owned()
}

/// `32.0 s`, `at least 32.0 s`.
pub fn since(time: Duration, at_least: bool) -> String {
    let prefix = if at_least { "at least " } else { "" };
    format!("{prefix}{}", duration(time))
}
