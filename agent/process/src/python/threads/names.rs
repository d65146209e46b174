//! What Python's `threading` calls its threads: `Thread.name`, which the kernel learns from 3.14 on only.
//!
//! The outermost frame of such a thread is `Thread._bootstrap(self)` of `threading.py`, so its first local variable is the
//! thread's object. Local variables are read as in [`waits`](super::waits): 3.11 to 3.13.

use super::stack::{self, Walk};
use super::{Circle, at};
use crate::memory::Memory;
use crate::python::code::{Resolver, fingerprint};
use crate::python::find::Python;
use crate::python::object::Objects;
use remora_common::python::PythonFrame;

/// Threads whose names are read.
const MAX_NAMES: usize = 512;
/// Frames of a thread that are gone through to its outermost.
const MAX_FRAMES: usize = 1024;
/// Bytes that are read of one process for all this.
const ALLOWANCE: u64 = 16 << 20;

/// The names of the threads with these states, as far as they are known: state and name.
pub fn names(
    python: &Python,
    minor: u8,
    memory: &impl Memory,
    states: &[u64],
) -> Vec<(u64, String)> {
    if !(11..=13).contains(&minor) {
        return Vec::new();
    }
    let Some(objects) = Objects::new(memory, &python.layout, minor, ALLOWANCE) else {
        return Vec::new();
    };
    let mut codes = Resolver::new(python.layout);
    let states = states.iter().take(MAX_NAMES);
    states
        .filter_map(|state| Some((*state, name(python, &objects, &mut codes, *state)?)))
        .collect()
}

fn name<M: Memory>(
    python: &Python,
    objects: &Objects<'_, M>,
    codes: &mut Resolver,
    state: u64,
) -> Option<String> {
    let layout = &python.layout;
    let memory = objects.memory();
    let (frame, code, instruction) = outermost(python, memory, state)?;
    let first = at(code, layout.code.instructions);
    let seen = PythonFrame {
        code,
        instruction: u32::try_from(instruction.wrapping_sub(first)).unwrap_or(u32::MAX),
        fingerprint: fingerprint(memory.u64(at(code, layout.code.name))?),
    };
    let function = codes.resolve(memory, &seen)?;
    let is_start = function.qualname.ends_with("Thread._bootstrap")
        && function.filename.ends_with("/threading.py");
    if !is_start {
        return None;
    }
    let thread = memory.u64(at(frame, layout.frame.locals))?;
    objects.text(objects.attribute(thread, "_name")?)
}

/// The outermost frame of a thread: its address, its code, its instruction.
fn outermost(python: &Python, memory: &impl Memory, state: u64) -> Option<(u64, u64, u64)> {
    let layout = &python.layout;
    let walk = Walk {
        layout,
        memory,
        limit: MAX_FRAMES,
    };
    let mut circle = Circle::default();
    let mut next = walk.first(state)?;
    let mut last = None;
    for _ in 0..MAX_FRAMES {
        if next == 0 {
            return last;
        }
        if circle.closes_at(next) {
            return None;
        }
        let frame = stack::Frame::read(&walk, next)?;
        let begins = layout.frame.entry_owner;
        if begins == 0 || u16::from(frame.owner) < begins {
            last = Some((next, frame.code, frame.instruction));
        }
        next = frame.previous;
    }
    None
}
