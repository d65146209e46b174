//! Which code starts threads, and in which they start.

use crate::{Scene, words};
use remora_model::display::label;
use remora_model::{Frame, FrameKind, Site, Stack};

/// Functions that make a thread. What called them is the program's own.
const MAKERS: [&str; 6] = [
    "pthread_create",
    "__pthread_create",
    "clone3",
    "__clone",
    "start_new_thread",
    "std::thread::",
];

/// Functions in which each thread begins, before the program's own.
const BEGINNINGS: [&str; 9] = [
    "start_thread",
    "clone",
    "__clone",
    "thread_start",
    "std::",
    "<alloc::boxed",
    "core::ops::function::",
    "execute_native_thread_routine",
    "thread_run",
];

/// Python's way into a thread: `_bootstrap`, `_bootstrap_inner`, `run` of its library.
const LIBRARY: &str = "/threading.py";

/// The code that starts threads, from a sample or a wait that lies in it; `None` where none was seen.
pub(super) fn starter(scene: &Scene<'_>, pid: u32) -> Option<String> {
    let capture = scene.capture;
    let of_it = |thread: usize| capture.threads.get(thread).is_some_and(|it| it.pid == pid);
    let samples = capture
        .samples
        .iter()
        .filter(|it| of_it(it.thread))
        .map(|it| it.stack);
    let waits = capture.waits.iter().filter(|it| of_it(it.thread));
    let waits = waits.filter_map(|wait| match wait.site {
        Site::Stack(stack) => Some(stack),
        Site::Short | Site::Lost => None,
    });
    let mut stacks = samples
        .chain(waits)
        .filter_map(|stack| capture.stacks.get(stack));
    stacks.find_map(maker)
}

/// The program's code above a call that makes a thread.
fn maker(stack: &Stack) -> Option<String> {
    let at = stack.frames.iter().position(makes)?;
    let above = Stack {
        frames: stack.frames[..at].to_vec(),
        ..Stack::default()
    };
    words::place(&above)
}

fn makes(frame: &Frame) -> bool {
    match frame.kind {
        FrameKind::Kernel => false,
        FrameKind::Python => is_library(frame) && &*frame.name == "start",
        _ => MAKERS.iter().any(|name| frame.name.starts_with(name)),
    }
}

/// The function of the program in which a thread began.
pub(super) fn start(stack: &Stack) -> Option<String> {
    let has_python = stack
        .frames
        .iter()
        .any(|frame| frame.kind == FrameKind::Python);
    let own = stack.frames.iter().find(|frame| match frame.kind {
        FrameKind::Kernel => false,
        FrameKind::Python => !is_library(frame),
        _ => {
            !has_python
                && frame.named
                && !BEGINNINGS.iter().any(|name| frame.name.starts_with(name))
        }
    });
    own.map(label::frame_short)
}

fn is_library(frame: &Frame) -> bool {
    frame
        .file
        .as_deref()
        .is_some_and(|file| file.ends_with(LIBRARY))
}
