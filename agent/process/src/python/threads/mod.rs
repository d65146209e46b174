//! The threads of an interpreter and what each of them runs, read from outside.
//!
//! The kernel side sees a thread when something happens to it; this looks at all of them at once,
//! whenever it is asked. Threads go on meanwhile, so whatever is a list is read until two readings
//! agree, a few times at the most; what never agrees is given as it was read last and said to be
//! torn. Lists that have no end are cut.

mod gil;
pub mod names;
mod stack;
#[cfg(test)]
mod tests;
pub mod waits;

use super::find::Python;
use super::layout::Layout;
use crate::memory::Memory;
use gil::Gil;
use remora_common::python::{ABSENT, PythonFrame};

/// Interpreters of a process that are looked at.
const MAX_INTERPRETERS: usize = 1024;
/// Threads of a process that are looked at.
const MAX_THREADS: usize = 16_384;
/// Frames of all threads together that are read.
const MAX_FRAMES: usize = 1 << 18;
/// How often a list is read before it is said to be torn.
const READINGS: usize = 4;

/// A thread of an interpreter. A thread that runs code of several interpreters stands in each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonThread {
    /// Number of its interpreter: 0 for the main one.
    pub interpreter: i64,
    /// Address of its `PyThreadState`.
    pub state: u64,
    /// Its `pthread_self()`, which `threading.get_ident()` shows.
    pub thread_id: u64,
    /// Its kernel thread id, in the innermost PID namespace (3.11 on; before, `None`).
    pub native_thread_id: Option<u64>,
    /// Whether it holds the GIL; `None` where there is none (free-threaded) or it is not known.
    pub holds_gil: Option<bool>,
    /// What it runs, leaf first.
    pub frames: Vec<PythonFrame>,
    /// Its frames changed each time that they were read, or led nowhere: `frames` is a mixture, or
    /// ends early.
    pub torn: bool,
    /// It has more frames than are read.
    pub truncated: bool,
}

/// All threads of all interpreters of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Threads {
    /// By interpreter, the newest first.
    pub threads: Vec<PythonThread>,
    /// Some are missing or there no more: the lists changed each time that they were read.
    pub torn: bool,
    /// There are more than are looked at.
    pub truncated: bool,
}

impl Threads {
    /// The thread that holds the GIL of an interpreter.
    pub fn gil_holder(&self, interpreter: i64) -> Option<&PythonThread> {
        let own = |thread: &&PythonThread| thread.interpreter == interpreter;
        let mut own = self.threads.iter().filter(own);
        own.find(|thread| thread.holds_gil == Some(true))
    }
}

/// The lock of the main interpreter, and how many threads know the interpreters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// Threads of all interpreters.
    pub threads: usize,
    /// Address of the `PyThreadState` that holds the main interpreter's lock.
    pub holder: Option<u64>,
    /// A list changed each time that it was read.
    pub torn: bool,
}

/// Reads who holds the lock of the main interpreter: a fraction of what [`threads`] reads.
pub fn lock(python: &Python, memory: &impl Memory) -> Lock {
    let layout = &python.layout;
    let head = at(python.runtime(), layout.runtime.interpreters_head);
    let interpreters = list(memory, head, layout.interpreter.next, MAX_INTERPRETERS);
    let mut seen = Lock {
        torn: interpreters.torn,
        ..Lock::default()
    };
    // The newest is first, so the main one is last.
    for interpreter in interpreters.nodes {
        let head = at(interpreter, layout.interpreter.threads_head);
        let states = list(memory, head, layout.thread.next, MAX_THREADS);
        seen.torn |= states.torn;
        seen.threads += states.nodes.len();
        seen.holder = match Gil::read(python, memory, interpreter) {
            Gil::Held(holder) => Some(holder),
            Gil::Free | Gil::Unknown => None,
        };
    }
    seen
}

/// The nodes of a linked list.
#[derive(Debug, Default)]
struct List {
    nodes: Vec<u64>,
    torn: bool,
    truncated: bool,
}

/// Reads all threads of `python`.
pub fn threads(python: &Python, memory: &impl Memory) -> Threads {
    let layout = &python.layout;
    let head = at(python.runtime(), layout.runtime.interpreters_head);
    let interpreters = list(memory, head, layout.interpreter.next, MAX_INTERPRETERS);
    let mut all = Threads {
        threads: Vec::new(),
        torn: interpreters.torn,
        truncated: interpreters.truncated,
    };
    let mut frames_left = MAX_FRAMES;
    for interpreter in interpreters.nodes {
        let head = at(interpreter, layout.interpreter.threads_head);
        let left = MAX_THREADS.saturating_sub(all.threads.len());
        let states = list(memory, head, layout.thread.next, left);
        all.torn |= states.torn;
        all.truncated |= states.truncated;
        let gil = Gil::read(python, memory, interpreter);
        for state in states.nodes {
            match thread(layout, memory, (interpreter, state), gil, frames_left) {
                Some(thread) => {
                    frames_left -= thread.frames.len();
                    all.threads.push(thread);
                }
                // It has ended since the list was read.
                None => all.torn = true,
            }
        }
    }
    all
}

/// A thread state that belongs to its interpreter.
fn thread(
    layout: &Layout,
    memory: &impl Memory,
    (interpreter, state): (u64, u64),
    gil: Gil,
    frames_left: usize,
) -> Option<PythonThread> {
    if memory.u64(at(state, layout.thread.interpreter))? != interpreter {
        return None;
    }
    let native_thread_id = match layout.thread.native_thread_id {
        ABSENT => None,
        offset => Some(memory.u64(at(state, offset))?),
    };
    let stack = stack::read(layout, memory, state, frames_left);
    Some(PythonThread {
        interpreter: memory
            .u64(at(interpreter, layout.interpreter.id))?
            .cast_signed(),
        state,
        thread_id: memory.u64(at(state, layout.thread.thread_id))?,
        native_thread_id,
        holds_gil: gil.is_held_by(state),
        frames: stack.frames,
        torn: stack.torn,
        truncated: stack.truncated,
    })
}

/// The list whose first node's address stands at `head`, as two readings agree on it.
fn list(memory: &impl Memory, head: u64, next: u16, max: usize) -> List {
    let mut last = read_list(memory, head, next, max);
    for _ in 1..READINGS {
        let again = read_list(memory, head, next, max);
        if !again.torn && again.nodes == last.nodes {
            return again;
        }
        last = again;
    }
    last.torn = true;
    last
}

fn read_list(memory: &impl Memory, head: u64, next: u16, max: usize) -> List {
    let mut list = List::default();
    let mut circle = Circle::default();
    let mut place = head;
    loop {
        match memory.u64(place) {
            Some(0) => return list,
            Some(_) if list.nodes.len() == max => {
                list.truncated = true;
                return list;
            }
            Some(node) if !circle.closes_at(node) => {
                list.nodes.push(node);
                place = at(node, next);
            }
            _ => {
                list.torn = true;
                return list;
            }
        }
    }
}

/// Notices that a chain runs in a circle, after at most three rounds: it remembers one node, and
/// another one each time that it has come twice as far (Brent's algorithm).
#[derive(Default)]
struct Circle {
    mark: u64,
    steps: u64,
}

impl Circle {
    /// Takes the next node; whether it is the remembered one.
    fn closes_at(&mut self, node: u64) -> bool {
        self.steps += 1;
        let closes = self.mark == node;
        if self.steps.is_power_of_two() {
            self.mark = node;
        }
        closes
    }
}

/// The address of a member.
fn at(base: u64, offset: u16) -> u64 {
    base.wrapping_add(offset.into())
}
