//! The loop over an interpreter's frames: one read a frame, and one of its code object's name, which
//! tells it from a later one at the same address.

use super::{interpreter, thread};
use crate::{
    maps::{PYTHON_FRAME, WALKS},
    unwind::{Memory, Walk},
};
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use remora_common::python::{
    ABSENT, ENTRY_FRAME, Ending, FRAME_BYTES, Interpreter, MAX_PYTHON_FRAMES,
};

/// What the loop's body needs besides the walk.
#[repr(C)]
struct Around<M> {
    memory: M,
    taker: u32,
    space: u32,
    frame: u64,
}

/// Frames without code between two with it: more in a row is no chain of frames.
const SHIMS: u32 = MAX_PYTHON_FRAMES as u32;

/// Walks the frames of a thread state into the scratch element of `taker`.
#[inline(always)]
pub fn walk<M: Memory>(taker: u32, interpreter: &Interpreter, thread: u64, memory: M, space: u32) {
    let Some(walk) = WALKS.get_ptr_mut(taker) else {
        return;
    };
    // SAFETY: a live element of this CPU, which only this hook uses.
    let walk = unsafe { &mut *walk };
    walk.len = 0;
    walk.ending = Ending::Complete as u32;
    let frame = thread::frame(interpreter, thread, memory);
    if frame == 0 {
        return;
    }
    walk.ending = Ending::Truncated as u32;
    let mut around = Around {
        memory,
        taker,
        space,
        frame,
    };
    // SAFETY: the body has the signature that the helper calls, and takes this context.
    unsafe {
        bpf_loop(
            MAX_PYTHON_FRAMES as u32 + SHIMS,
            one::<M> as *mut c_void,
            (&raw mut around).cast(),
            0,
        );
    }
}

/// One frame: 0 to go on, 1 to stop.
#[inline(never)]
extern "C" fn one<M: Memory>(_number: u32, around: *mut Around<M>) -> i64 {
    // SAFETY: `walk` passes its own, live.
    let around = unsafe { &mut *around };
    let Some(interpreter) = interpreter(around.space) else {
        return 1;
    };
    let Some(walk) = WALKS.get_ptr_mut(around.taker) else {
        return 1;
    };
    // SAFETY: a live element of this CPU, which only this hook uses.
    let walk = unsafe { &mut *walk };
    if walk.len as usize >= 2 * MAX_PYTHON_FRAMES {
        return 1;
    }
    let Some(bytes) = PYTHON_FRAME.get_ptr_mut(around.taker) else {
        return 1;
    };
    let len = interpreter.frame_bytes as u32 & (FRAME_BYTES as u32 - 1);
    // SAFETY: the scratch element has FRAME_BYTES.
    if !unsafe { around.memory.copy(bytes.cast(), len, around.frame) } {
        return end(walk, Ending::Torn);
    }
    let bytes = bytes.cast::<u8>().cast_const();
    let previous = word(bytes, interpreter.frame_previous);
    if interpreter.frame_owner != ABSENT && interpreter.entry_owner != 0 {
        // SAFETY: the index is masked.
        let owner = unsafe { *bytes.add(interpreter.frame_owner as usize & (FRAME_BYTES - 1)) };
        if owner as u16 >= interpreter.entry_owner {
            // No code of its own: the frame before it was the first of its evaluation loop.
            mark_entry(walk);
            return follow(walk, around, previous);
        }
    }
    let code = word(bytes, interpreter.frame_code) & !(interpreter.code_tag_mask as u64);
    let Some(name) = around
        .memory
        .read::<u64>(code.wrapping_add(interpreter.code_name as u64))
    else {
        return end(walk, Ending::Torn);
    };
    let at = interpreter.frame_instruction;
    let instruction = if interpreter.instruction_is_index != 0 {
        // SAFETY: the index is masked.
        unsafe {
            *bytes
                .add(at as usize & (FRAME_BYTES - 4))
                .cast::<c_void>()
                .cast::<u32>()
        }
    } else {
        let first = code.wrapping_add(interpreter.code_instructions as u64);
        word(bytes, at).wrapping_sub(first) as u32
    };
    let entry = is_entry(interpreter, bytes, previous);
    push(walk, code & !ENTRY_FRAME | entry);
    push(walk, instruction as u64 | (name >> 4) << 32);
    follow(walk, around, previous)
}

/// [`ENTRY_FRAME`] for the first frame of an evaluation loop, as far as the frame itself tells.
#[inline(always)]
fn is_entry(interpreter: &Interpreter, bytes: *const u8, previous: u64) -> u64 {
    if interpreter.frame_owner == ABSENT || previous == 0 {
        return ENTRY_FRAME;
    }
    if interpreter.entry_owner != 0 {
        return 0;
    }
    // SAFETY: the index is masked.
    let flag = unsafe { *bytes.add(interpreter.frame_owner as usize & (FRAME_BYTES - 1)) };
    (flag != 0) as u64
}

#[inline(always)]
fn follow<M>(walk: &mut Walk, around: &mut Around<M>, previous: u64) -> i64 {
    if previous == 0 {
        return end(walk, Ending::Complete);
    }
    around.frame = previous;
    0
}

#[inline(always)]
fn end(walk: &mut Walk, ending: Ending) -> i64 {
    walk.ending = ending as u32;
    1
}

/// An aligned word of the frame.
#[inline(always)]
fn word(bytes: *const u8, offset: u16) -> u64 {
    // SAFETY: the index is masked.
    unsafe {
        *bytes
            .add(offset as usize & (FRAME_BYTES - 8))
            .cast::<c_void>()
            .cast::<u64>()
    }
}

#[inline(always)]
fn push(walk: &mut Walk, word: u64) {
    let len = walk.len as usize & (2 * MAX_PYTHON_FRAMES - 1);
    // SAFETY: the index is masked.
    unsafe { walk.words.as_mut_ptr().add(len).write(word) };
    walk.len = len as u32 + 1;
}

/// Marks the frame that was emitted last.
#[inline(always)]
fn mark_entry(walk: &mut Walk) {
    // SAFETY: an aligned member; volatile, so that what is known of it is known here alone.
    let len = unsafe { (&raw const walk.len).read_volatile() } as usize;
    if len < 2 {
        return;
    }
    let at = (len - 2) & (2 * MAX_PYTHON_FRAMES - 1);
    // SAFETY: the index is masked.
    unsafe { *walk.words.as_mut_ptr().add(at) |= ENTRY_FRAME };
}
