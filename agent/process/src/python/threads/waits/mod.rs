//! What a thread of an interpreter waits for when it sleeps in a lock, a semaphore or `Thread.join` of `threading`,
//! and who can end that.
//!
//! A lock's semaphore names nobody. But the frame of a waiter has the lock object in its hands (on its value
//! stack, or as a local variable), and the object leads to the semaphore: so it is known which lock it is. An
//! `RLock` notes its owner. A `Lock` or `Semaphore` does not: its holders are looked for in all frames (`held`).
//!
//! Layouts: `lockobject` and `rlockobject` of `Modules/_threadmodule.c`, `PyCFunctionObject`,
//! `PyMethodObject`: the same from 3.8 to 3.13. 3.14 has locks of another kind.

mod bytecode;
mod frames;
mod held;
mod pools;
mod slots;

pub use pools::{PythonPool, pools};
pub use slots::{Library, SlotPool, slots};

use super::{MAX_THREADS, at, list};
use crate::memory::Memory;
use crate::python::code::{Code, Resolver, fingerprint};
use crate::python::find::Python;
use crate::python::layout::Layout;
use crate::python::object::Objects;
use bytecode::Site;
use frames::Place;
use remora_common::python::PythonFrame;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Threads whose waits are looked into.
const MAX_WAITERS: usize = 256;
/// Local variables and stack slots of a waiting frame that are looked at.
const MAX_SLOTS: usize = 64;
/// Bytes that are read of one process for all this.
const ALLOWANCE: u64 = 32 << 20;

/// `lock_lock` of both kinds of lock; `rlock_owner` of an `RLock`.
const SEMAPHORE: u64 = 16;
/// See [`SEMAPHORE`].
const RLOCK_OWNER: u64 = 24;
/// `m_self` of a builtin method, `im_self` of a Python one.
const METHOD_SELF: u64 = 24;
/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A `threading.Lock`.
    Lock,
    /// A `threading.RLock`.
    RLock,
    /// A `threading.Semaphore` or `BoundedSemaphore`.
    Semaphore,
    /// The end of a `threading.Thread`.
    Thread,
}

/// A thread that waits, and who can end it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonWait {
    /// State of the thread that waits.
    pub state: u64,
    /// What for.
    pub what: What,
    /// Address of the lock or thread object.
    pub object: u64,
    /// States of the threads that hold it, or the one that has to end; empty where nobody is known to.
    pub holders: Vec<u64>,
}

/// Reads what these threads wait for, given by the address of their state and of the futex they sleep in.
/// Threads of which that cannot be told are left out.
pub fn waits(
    python: &Python,
    minor: u8,
    memory: &impl Memory,
    waiting: &[(u64, u64)],
) -> Vec<PythonWait> {
    let layout = &python.layout;
    let Some(objects) = Objects::new(memory, layout, minor, ALLOWANCE) else {
        return Vec::new();
    };
    let mut reader = Reader::new(layout, objects, minor);
    let states = reader.states(python);
    let mut found: Vec<PythonWait> = waiting
        .iter()
        .take(MAX_WAITERS)
        .filter(|(state, _)| states.contains(state))
        .filter_map(|(state, futex)| reader.wait(*state, *futex, &states))
        .collect();
    if found.iter().any(|wait| wait.is_unnamed()) {
        reader.find_holders(&states, &mut found);
    }
    found
}

impl PythonWait {
    /// Whether its object notes no owner.
    const fn is_unnamed(&self) -> bool {
        matches!(self.what, What::Lock | What::Semaphore)
    }
}

struct Reader<'m, M> {
    layout: &'m Layout,
    objects: Objects<'m, M>,
    minor: u8,
    codes: Resolver,
    /// Where the code objects that were met take and release locks.
    sites: RefCell<HashMap<u64, Rc<Vec<Site>>>>,
}

impl<'m, M: Memory> Reader<'m, M> {
    fn new(layout: &'m Layout, objects: Objects<'m, M>, minor: u8) -> Self {
        Self {
            layout,
            objects,
            minor,
            codes: Resolver::new(*layout),
            sites: RefCell::default(),
        }
    }

    /// The thread states of all interpreters.
    fn states(&self, python: &Python) -> Vec<u64> {
        let memory = self.objects.memory();
        let head = at(python.runtime(), self.layout.runtime.interpreters_head);
        let interpreters = list(memory, head, self.layout.interpreter.next, 16);
        let heads = interpreters.nodes.into_iter();
        heads
            .flat_map(|interpreter| {
                let head = at(interpreter, self.layout.interpreter.threads_head);
                list(memory, head, self.layout.thread.next, MAX_THREADS).nodes
            })
            .collect()
    }

    fn wait(&mut self, state: u64, futex: u64, states: &[u64]) -> Option<PythonWait> {
        let frames = self.frames(state);
        let leaf = frames.first()?;
        let (function, is_threading) = self.function(leaf)?;
        match function.as_str() {
            "_wait_for_tstate_lock" | "join" if is_threading => {
                let thread = *self.slots(leaf, 0, 1).first()?;
                let ident = self.objects.attribute(thread, "_ident")?;
                let ident = self.objects.unsigned(ident)?;
                let holder = self.by_ident(states, ident).filter(|it| *it != state)?;
                return Some(PythonWait {
                    state,
                    what: What::Thread,
                    object: thread,
                    holders: vec![holder],
                });
            }
            // Its lock is nobody's: it waits to be notified.
            "wait" if is_threading => return self.semaphore(state, frames.get(1)?),
            // The interpreter's end waits for the ends of threads.
            "_shutdown" if is_threading => return None,
            _ => {}
        }
        // `with` on a Python object calls its `__enter__`, which takes the lock.
        let near = frames.iter().take(2);
        let mut slots =
            near.flat_map(|place| self.slots(place, 0, place.locals.min(MAX_SLOTS) + 16));
        let (object, what) = slots.find_map(|slot| self.lock_behind(slot, futex))?;
        let mut wait = PythonWait {
            state,
            what,
            object,
            holders: Vec::new(),
        };
        if what == What::RLock {
            let owner = self
                .objects
                .memory()
                .u64(object.checked_add(RLOCK_OWNER)?)?;
            let holder = self.by_ident(states, owner).filter(|it| *it != state);
            wait.holders.extend(holder);
        }
        Some(wait)
    }

    /// A `threading.Semaphore` that a frame is in the `acquire` of.
    fn semaphore(&mut self, state: u64, place: &Place) -> Option<PythonWait> {
        let (function, is_threading) = self.function(place)?;
        let object = *self.slots(place, 0, 1).first()?;
        let acquires = is_threading && function == "acquire";
        let is_semaphore = || Some(self.objects.type_of(object)?.is_a("Semaphore"));
        (acquires && is_semaphore()?).then_some(PythonWait {
            state,
            what: What::Semaphore,
            object,
            holders: Vec::new(),
        })
    }

    /// The name of a frame's function, and whether it is one of `threading.py`.
    fn function(&mut self, place: &Place) -> Option<(String, bool)> {
        let code = self.code(place)?;
        let is_threading = code.filename.ends_with("/threading.py");
        Some((code.name.to_string(), is_threading))
    }

    /// The code object of a frame.
    fn code(&mut self, place: &Place) -> Option<Arc<Code>> {
        let memory = self.objects.memory();
        let name = memory.u64(at(place.code, self.layout.code.name))?;
        let frame = PythonFrame {
            code: place.code,
            instruction: place.instruction,
            fingerprint: fingerprint(name),
        };
        self.codes.resolve(memory, &frame)
    }

    /// The thread state whose `threading.get_ident()` this is.
    fn by_ident(&self, states: &[u64], ident: u64) -> Option<u64> {
        let offset = self.layout.thread.thread_id;
        let memory = self.objects.memory();
        let mut states = states.iter();
        states
            .find(|state| ident != 0 && memory.u64(at(**state, offset)) == Some(ident))
            .copied()
    }

    /// The lock that a slot holds, by itself or as what a method is bound to, if this is its semaphore.
    fn lock_behind(&self, slot: u64, futex: u64) -> Option<(u64, What)> {
        let kind = self.objects.type_of(slot)?;
        let object = match kind.name.as_str() {
            "builtin_function_or_method" | "method" => {
                self.objects.memory().u64(slot.checked_add(METHOD_SELF)?)?
            }
            _ => slot,
        };
        self.is_lock(object, futex)
            .or_else(|| self.is_lock(self.inner_lock(object)?, futex))
    }

    /// The lock of a `threading.Condition`.
    fn inner_lock(&self, object: u64) -> Option<u64> {
        let kind = self.objects.type_of(object)?;
        if kind.name != "Condition" {
            return None;
        }
        self.objects.attribute(object, "_lock")
    }

    fn is_lock(&self, object: u64, futex: u64) -> Option<(u64, What)> {
        let what = match self.objects.type_of(object)?.name.as_str() {
            "_thread.lock" => What::Lock,
            "_thread.RLock" => What::RLock,
            _ => return None,
        };
        let semaphore = self.objects.memory().u64(object.checked_add(SEMAPHORE)?)?;
        (semaphore == futex).then_some((object, what))
    }
}

#[cfg(test)]
mod tests;
