//! Walks the frames of a Python interpreter: pointers and offsets that the agent found, no version.
//!
//! | module | what |
//! | --- | --- |
//! | [`thread`] | the Python thread state of a thread |
//! | [`gil`] | how it stands to the interpreter lock |
//! | [`frames`] | its frames |

mod frames;
mod gil;
mod thread;

use crate::{
    maps::{SPACES, WALKS},
    task::Task,
    unwind::Memory,
};
use core::mem::offset_of;
use remora_common::{python::Interpreter, thread::ThreadSlot, unwind::Space};

/// The interpreter of an address space, if it has one.
#[inline(always)]
fn interpreter(space: u32) -> Option<&'static Interpreter> {
    let space = SPACES.get_ptr(space)?;
    // SAFETY: the member lies in the element, which lives as long as the program.
    let interpreter = unsafe {
        &*space
            .cast::<u8>()
            .add(offset_of!(Space, interpreter))
            .cast::<Interpreter>()
    };
    if interpreter.runtime == 0 {
        None
    } else {
        Some(interpreter)
    }
}

/// Walks the Python frames of `task` into the scratch element of `taker`; `false` when the thread
/// is none of an interpreter's.
#[inline(always)]
pub fn stack<M: Memory>(
    taker: u32,
    task: Task,
    slot: &mut ThreadSlot,
    memory: M,
    space: u32,
) -> bool {
    let Some(interpreter) = interpreter(space) else {
        return false;
    };
    let thread = thread::find(interpreter, task, slot, memory, space);
    if thread == 0 {
        return false;
    }
    let gil = gil::stand(interpreter, thread, slot, memory);
    frames::walk(taker, interpreter, thread, memory, space);
    let Some(walk) = WALKS.get_ptr_mut(taker) else {
        return false;
    };
    // SAFETY: a live element of this CPU, which only this hook uses.
    unsafe { (*walk).ending |= (gil as u32) << 8 };
    true
}

/// A pointer in the target's memory.
#[inline(always)]
fn pointer<M: Memory>(memory: M, base: u64, offset: u16) -> u64 {
    memory.read(base.wrapping_add(offset as u64)).unwrap_or(0)
}
