//! Takes a stack and interns it: equal stacks have one id.
//!
//! Frame pointers, as the kernel's own walker follows them. A later unwinder replaces [`take`] and
//! nothing else: callers see ids.

use crate::{
    atomic, config,
    half::Half,
    loss,
    maps::{FRAMES, STACKS},
};
use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_probe_read_kernel};
use core::ffi::c_void;
use remora_common::{
    aggregate::{MAX_FRAMES, PROBES, STACK_FAULT, STACK_LOST, STACK_NONE, StackEntry},
    loss::Loss,
};

/// `BPF_F_USER_STACK`: `include/uapi/linux/bpf.h`.
const USER: u64 = 1 << 8;

/// Who takes the stack: each may interrupt the others, so each has its own scratch element.
#[derive(Clone, Copy)]
pub enum Taker {
    SwitchOut = 0,
    Return = 1,
    Sampler = 2,
}

/// Ids of the two stacks of one moment.
#[derive(Clone, Copy)]
pub struct Stacks {
    pub user: u32,
    pub kernel: u32,
}

/// User and kernel stack of the current thread.
#[inline(always)]
pub fn take(context: *mut c_void, taker: Taker, half: Half) -> Stacks {
    Stacks {
        user: walk(context, taker, half, USER),
        kernel: walk(context, taker, half, 0),
    }
}

#[inline(always)]
fn walk(context: *mut c_void, taker: Taker, half: Half, flags: u64) -> u32 {
    let Some(frames) = FRAMES.get_ptr_mut(taker as u32) else {
        return STACK_FAULT;
    };
    let frames = frames.cast::<u64>();
    // SAFETY: the scratch element holds MAX_FRAMES frames and one spare.
    let bytes = unsafe { bpf_get_stack(context, frames.cast(), 8 * MAX_FRAMES as u32, flags) };
    if bytes <= 0 {
        return nothing(taker, flags, bytes);
    }
    let len = (bytes as u32 >> 3) & 0x7f;
    if len as usize == MAX_FRAMES {
        loss::count(Loss::StackTruncated);
    }
    intern(half, frames, len)
}

/// No frames: a loss, unless there was no such stack.
#[inline(always)]
fn nothing(taker: Taker, flags: u64, result: i64) -> u32 {
    if flags == USER {
        loss::count(Loss::UserStackFailed);
        return STACK_FAULT;
    }
    // A sample in user mode has no kernel stack.
    if matches!(taker, Taker::Sampler) || result == 0 {
        return STACK_NONE;
    }
    loss::count(Loss::KernelStackFailed);
    STACK_FAULT
}

/// Frames hashed between two looks at the length: a loop that can end in 16 places is verified in a
/// fraction of the time of one that can end in 127.
const BLOCK: usize = 8;

/// Hash of the frames. The helper zeroes what lies behind them, so whole blocks can be hashed.
#[inline(always)]
fn hash(frames: *const u64, len: u32) -> u64 {
    let mut hash = len as u64 + 0x9e37_79b9_7f4a_7c15;
    for block in 0..MAX_FRAMES.div_ceil(BLOCK) {
        if (block * BLOCK) as u32 >= len {
            break;
        }
        for i in 0..BLOCK {
            // SAFETY: the scratch element holds MAX_FRAMES frames and one spare.
            let frame = unsafe { *frames.add(block * BLOCK + i) };
            hash = (hash ^ frame).wrapping_mul(0xff51_afd7_ed55_8ccd);
            hash ^= hash >> 32;
        }
    }
    hash | 1
}

/// Finds the stack in the active half of the table, or puts it there.
#[inline(always)]
fn intern(half: Half, frames: *const u64, len: u32) -> u32 {
    let hash = hash(frames, len);
    let per_half = config::stacks_per_half();
    let mask = per_half - 1;
    for probe in 0..PROBES {
        let index = half.first(per_half) + (((hash >> 8) as u32).wrapping_add(probe) & mask);
        let Some(entry) = STACKS.get_ptr_mut(index) else {
            break;
        };
        // SAFETY: aligned members of live elements; the claimer alone fills the entry.
        unsafe {
            let mut found = (&raw const (*entry).hash).read_volatile();
            if found == 0 {
                found = atomic::compare_exchange(&raw mut (*entry).hash, 0, hash);
                if found == 0 {
                    fill(entry, frames, len);
                    half.count_stack();
                    found = hash;
                }
            }
            if found == hash {
                return index + 1;
            }
        }
    }
    loss::count(Loss::StackTableFull);
    STACK_LOST
}

/// # Safety
/// The caller has claimed the entry; `frames` holds at least MAX_FRAMES.
#[inline(always)]
unsafe fn fill(entry: *mut StackEntry, frames: *const u64, len: u32) {
    // SAFETY: the caller's promise; len is at most MAX_FRAMES.
    unsafe {
        (*entry).len = len;
        bpf_probe_read_kernel((&raw mut (*entry).frames).cast(), len * 8, frames.cast());
    }
}
