//! How a thread stands to the interpreter lock.

use super::pointer;
use crate::unwind::Memory;
use remora_common::{
    python::{ABSENT, Gil, Interpreter},
    reason::Reason,
    thread::{STATE_RUNNING, ThreadSlot},
};

/// How it stands, by the thread with this thread state.
///
/// A wait for the lock is a futex that lies in it: its condition variable and its mutex do.
#[inline(always)]
pub fn stand<M: Memory>(
    interpreter: &Interpreter,
    thread: u64,
    slot: &ThreadSlot,
    memory: M,
) -> Gil {
    if interpreter.gil_known == 0 {
        return Gil::Unknown;
    }
    let gil = if interpreter.interpreter_gil == ABSENT {
        interpreter.shared_gil
    } else {
        let owner = pointer(memory, thread, interpreter.thread_interpreter);
        pointer(memory, owner, interpreter.interpreter_gil)
    };
    if gil == 0 {
        return Gil::Unknown;
    }
    let waited = slot.pending_ns != 0 || slot.state != STATE_RUNNING;
    if waited
        && slot.reason == Reason::Futex as u32
        && slot.args[0].wrapping_sub(gil) < interpreter.gil_size as u64
    {
        return Gil::WaitedFor;
    }
    let Some(locked) = memory.read::<u32>(gil.wrapping_add(interpreter.gil_locked as u64)) else {
        return Gil::Unknown;
    };
    if locked != 1 {
        return Gil::NotHeld;
    }
    let holder = pointer(memory, gil, interpreter.gil_last_holder);
    // A thread that turned to another interpreter holds it by the state that it had before.
    let id = |state| pointer(memory, state, interpreter.thread_id);
    if holder == thread || (holder != 0 && id(holder) == id(thread)) {
        Gil::Held
    } else {
        Gil::NotHeld
    }
}
