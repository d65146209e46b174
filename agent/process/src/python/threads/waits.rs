//! What a thread of an interpreter waits for when it sleeps in a `threading.Lock`, an `RLock` or
//! `Thread.join`, and who can end that.
//!
//! A lock's semaphore names nobody. But the frame of a waiter has the lock object in its hands (on its value
//! stack, or as a local variable), and the object leads to the semaphore: so it is known which lock it is. An
//! `RLock` notes its owner. A `Lock` does not: but a thread that stands in the body of `with lock:` has the
//! lock's `__exit__` on its value stack, for the interpreter to call it at the end of the body. Which slots of
//! the stack count there is written in the code's exception table (3.11 on): the handler of the innermost block
//! needs everything below its depth. What lies above it may be left over from earlier, and is not looked at.
//!
//! Layouts: `lockobject` and `rlockobject` of `Modules/_threadmodule.c`, `PyCFunctionObject`,
//! `PyMethodObject`: the same from 3.11 to 3.13. 3.14 has locks of another kind.

use super::stack::{self, Walk};
use super::{Circle, MAX_THREADS, at, list};
use crate::memory::Memory;
use crate::python::code::{Resolver, fingerprint};
use crate::python::find::Python;
use crate::python::layout::Layout;
use crate::python::object::Objects;
use remora_common::python::PythonFrame;

/// Threads whose waits are looked into.
const MAX_WAITERS: usize = 256;
/// Frames of a thread that are looked at.
const MAX_FRAMES: usize = 256;
/// Local variables and stack slots of a waiting frame that are looked at.
const MAX_SLOTS: usize = 64;
/// Bytes of an exception table.
const MAX_TABLE: usize = 4096;
/// Bytes that are read of one process for all this.
const ALLOWANCE: u64 = 32 << 20;

/// `lock_lock` of both kinds of lock; `rlock_owner` of an `RLock`.
const SEMAPHORE: u64 = 16;
/// See [`SEMAPHORE`].
const RLOCK_OWNER: u64 = 24;
/// `m_self` of a builtin method, `im_self` of a Python one.
const METHOD_SELF: u64 = 24;
/// `m_ml`, whose first member is the method's name.
const METHOD_DEFINITION: u64 = 16;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A `threading.Lock`.
    Lock,
    /// A `threading.RLock`.
    RLock,
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
    if !(11..=13).contains(&minor) {
        return Vec::new();
    }
    let mut reader = Reader {
        layout,
        objects,
        codes: Resolver::new(*layout),
    };
    let states = reader.states(python);
    let mut found: Vec<PythonWait> = waiting
        .iter()
        .take(MAX_WAITERS)
        .filter(|(state, _)| states.contains(state))
        .filter_map(|(state, futex)| reader.wait(*state, *futex, &states))
        .collect();
    if found.iter().any(|wait| wait.what == What::Lock) {
        reader.find_holders(&states, &mut found);
    }
    found
}

struct Reader<'m, M> {
    layout: &'m Layout,
    objects: Objects<'m, M>,
    codes: Resolver,
}

/// A frame, and where it stands.
struct Place {
    frame: u64,
    code: u64,
    /// Offset of its instruction in bytes.
    instruction: u32,
    /// Local variables, cells among them.
    locals: usize,
}

impl<M: Memory> Reader<'_, M> {
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

    /// The frames of a thread, leaf first.
    fn frames(&self, state: u64) -> Vec<Place> {
        let walk = Walk {
            layout: self.layout,
            memory: self.objects.memory(),
            limit: MAX_FRAMES,
        };
        let mut places = Vec::new();
        let mut circle = Circle::default();
        let mut next = walk.first(state).unwrap_or(0);
        let mut steps = 0;
        while next != 0 && steps < 2 * MAX_FRAMES && !circle.closes_at(next) {
            steps += 1;
            let Some(frame) = stack::Frame::read(&walk, next) else {
                break;
            };
            let address = next;
            next = frame.previous;
            let begins = self.layout.frame.entry_owner;
            if begins != 0 && u16::from(frame.owner) >= begins {
                continue;
            }
            let first = at(frame.code, self.layout.code.instructions);
            let locals = self
                .objects
                .memory()
                .u32(at(frame.code, self.layout.code.locals));
            let Some(locals) = locals.filter(|locals| *locals < 1 << 16) else {
                break;
            };
            places.push(Place {
                frame: address,
                code: frame.code,
                instruction: u32::try_from(frame.instruction.wrapping_sub(first))
                    .unwrap_or(u32::MAX),
                locals: locals as usize,
            });
        }
        places
    }

    /// Slots of a frame: local variables, then the value stack.
    fn slots(&self, place: &Place, first: usize, count: usize) -> Vec<u64> {
        let begin = at(place.frame, self.layout.frame.locals).wrapping_add(8 * first as u64);
        let bytes = self.objects.memory().up_to(begin, 8 * count);
        let words = bytes.chunks_exact(8);
        words
            .filter_map(|word| Some(u64::from_ne_bytes(word.try_into().ok()?)))
            .collect()
    }

    fn wait(&mut self, state: u64, futex: u64, states: &[u64]) -> Option<PythonWait> {
        let frames = self.frames(state);
        let leaf = frames.first()?;
        let (function, is_threading) = self.function(leaf)?;
        match function.as_str() {
            "Thread._wait_for_tstate_lock" | "Thread.join" if is_threading => {
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
            "Condition.wait" if is_threading => return None,
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

    /// The qualified name of a frame's function, and whether it is one of `threading.py`.
    fn function(&mut self, place: &Place) -> Option<(String, bool)> {
        let memory = self.objects.memory();
        let name = memory.u64(at(place.code, self.layout.code.name))?;
        let frame = PythonFrame {
            code: place.code,
            instruction: place.instruction,
            fingerprint: fingerprint(name),
        };
        let code = self.codes.resolve(memory, &frame)?;
        let is_threading = code.filename.ends_with("/threading.py");
        Some((code.qualname.to_string(), is_threading))
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

    /// Adds the threads that stand in the body of a `with` of the locks.
    fn find_holders(&self, states: &[u64], found: &mut [PythonWait]) {
        for state in states {
            for place in self.frames(*state) {
                let depth = self.depth(&place).unwrap_or(0).min(MAX_SLOTS);
                for slot in self.slots(&place, place.locals, depth) {
                    let Some(lock) = self.exits(slot) else {
                        continue;
                    };
                    let waits = found
                        .iter_mut()
                        .filter(|it| it.what == What::Lock && it.object == lock);
                    for wait in waits {
                        if !wait.holders.contains(state) {
                            wait.holders.push(*state);
                        }
                    }
                }
            }
        }
    }

    /// The lock whose `__exit__` a slot holds.
    fn exits(&self, slot: u64) -> Option<u64> {
        let memory = self.objects.memory();
        let object = memory.u64(slot.checked_add(METHOD_SELF)?)?;
        match self.objects.type_of(slot)?.name.as_str() {
            "builtin_function_or_method" => {
                let definition = memory.u64(slot.checked_add(METHOD_DEFINITION)?)?;
                let name: [u8; 9] = memory.bytes(memory.u64(definition)?)?;
                (&name == b"__exit__\0").then_some(object)
            }
            "method" => self.inner_lock(object),
            _ => None,
        }
    }

    /// How many values of a frame's stack the handler of its innermost block needs; `None` outside of one.
    fn depth(&self, place: &Place) -> Option<usize> {
        // `co_exceptiontable` stands before `co_flags` in all of these versions.
        let flags = self.layout.code.flags.checked_sub(8)?;
        let memory = self.objects.memory();
        let table = memory.u64(at(place.code, flags))?;
        let size = memory.u64(at(table, self.layout.object.items))?;
        let size = usize::try_from(size)
            .ok()
            .filter(|size| *size <= MAX_TABLE)?;
        let bytes = memory.up_to(at(table, self.layout.bytes_data), size);
        depth_at(&bytes, place.instruction / 2)
    }
}

/// The stack depth of the handler for an instruction, in a table as `Objects/exception_handling_notes.txt` of
/// CPython has it: entries of start, length, target, and depth with a flag below it, in digits of six bits.
fn depth_at(table: &[u8], instruction: u32) -> Option<usize> {
    let mut bytes = table.iter();
    let mut number = || {
        let mut value: u32 = 0;
        loop {
            let byte = bytes.next()?;
            value = value.checked_shl(6)? | u32::from(byte & 0x3f);
            if byte & 0x40 == 0 {
                return Some(value);
            }
        }
    };
    loop {
        let (start, length, _target, depth) = (number()?, number()?, number()?, number()?);
        if (start..start.saturating_add(length)).contains(&instruction) {
            return usize::try_from(depth >> 1).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_depth_of_a_handler_is_read_from_its_table() {
        // 20 to 99 at depth 4 with the flag, 100 to 101 at depth 0.
        let table = [0x80 | 20, 0x41, 16, 0x42, 5, 9, 0x80 | 0x41, 36, 2, 7, 0];
        assert_eq!(depth_at(&table, 19), None);
        assert_eq!(depth_at(&table, 20), Some(4));
        assert_eq!(depth_at(&table, 99), Some(4));
        assert_eq!(depth_at(&table, 101), Some(0));
        assert_eq!(depth_at(&table, 102), None);
        assert_eq!(depth_at(&table[..3], 20), None);
        assert_eq!(depth_at(&[0x7f; 64], 0), None);
    }
}
