//! Takes the stacks of a moment and interns them: equal stacks have one id.
//!
//! Kernel frames come from the kernel's own walker, user frames from [`unwind`], Python frames from
//! [`python`]. Callers see ids.

use crate::{
    bank::Bank,
    config, intern, loss,
    maps::{SPACE_OF, WALKS},
    python, registers,
    task::{self, Task},
    unwind::{self, Current, Walk},
};
use aya_ebpf::helpers::generated::bpf_get_stack;
use core::ffi::c_void;
use remora_common::{
    aggregate::{MAX_FRAMES, STACK_FAULT, STACK_KERNEL, STACK_NONE, STACK_PYTHON, STACK_USER},
    loss::Loss,
    thread::ThreadSlot,
    unwind::Outcome,
};

/// `BPF_F_USER_STACK`: `include/uapi/linux/bpf.h`.
const USER: u64 = 1 << 8;

/// Who takes the stack: each may interrupt the others, so each has its own scratch element.
#[derive(Clone, Copy)]
pub enum Taker {
    SwitchOut = 0,
    Return = 1,
    Sampler = 2,
    /// The iterator over sleeping threads.
    Snapshot = 3,
    /// The same, for Python frames.
    SnapshotPython = 4,
    /// Page faults. They come in a thread's own context, also inside of system calls.
    Fault = 5,
    /// Entries of allocators. Those of two threads can meet on a CPU: see `heap::Scratch`.
    Heap = 6,
}

/// How many there are.
pub const TAKERS: u32 = 7;

/// Ids of the stacks of one moment.
#[derive(Clone, Copy)]
pub struct Stacks {
    pub user: u32,
    pub kernel: u32,
    pub python: u32,
}

/// The stacks of the current thread.
#[inline(always)]
pub fn take(context: *mut c_void, taker: Taker, slot: &mut ThreadSlot, bank: Bank) -> Stacks {
    let kernel = by_the_kernel(context, taker, bank, 0);
    with_kernel(kernel, context, taker, slot, bank)
}

/// The stacks of the current thread, which was in user mode a moment ago: what the kernel does now is
/// not the thread's doing.
#[inline(always)]
pub fn take_user(context: *mut c_void, taker: Taker, slot: &mut ThreadSlot, bank: Bank) -> Stacks {
    with_kernel(STACK_NONE, context, taker, slot, bank)
}

#[inline(always)]
fn with_kernel(
    kernel: u32,
    context: *mut c_void,
    taker: Taker,
    slot: &mut ThreadSlot,
    bank: Bank,
) -> Stacks {
    let task = task::current();
    let unwound = config::unwind() != 0 && !registers::of(task).is_some_and(|r| r.is_compat());
    if !unwound {
        let user = by_the_kernel(context, taker, bank, USER);
        return Stacks {
            user,
            kernel,
            python: STACK_NONE,
        };
    }
    let space = space_of(slot);
    Stacks {
        user: user(taker, task, slot, space, bank),
        kernel,
        python: if config::python() != 0 {
            python(taker, task, slot, space, bank)
        } else {
            STACK_NONE
        },
    }
}

/// The element of `SPACES` that describes the thread's address space, 0 for none.
#[inline(always)]
pub fn space_of(slot: &ThreadSlot) -> u32 {
    let key = slot.tgid as u64 | (slot.generation as u64) << 32;
    // SAFETY: only the agent writes this map; an old element stays readable.
    unsafe { SPACE_OF.get(key) }.copied().unwrap_or(0)
}

#[inline(always)]
fn user(taker: Taker, task: Task, slot: &ThreadSlot, space: u32, bank: Bank) -> u32 {
    unwind::user_stack(taker as u32, task, slot, Current, space);
    let Some(walk) = walk(taker) else {
        return STACK_FAULT;
    };
    if walk.len == 0 {
        loss::count(Loss::UserStackFailed);
        return STACK_FAULT;
    }
    if walk.ending == Outcome::Truncated as u32 {
        loss::count(Loss::StackTruncated);
    }
    intern::words(taker as u32, bank, STACK_USER)
}

#[inline(always)]
fn python(taker: Taker, task: Task, slot: &mut ThreadSlot, space: u32, bank: Bank) -> u32 {
    if python::stack(taker as u32, task, slot, Current, space) {
        intern::words(taker as u32, bank, STACK_PYTHON)
    } else {
        STACK_NONE
    }
}

/// The kernel's own walker: kernel frames by its tables, user frames along frame pointers.
#[inline(always)]
fn by_the_kernel(context: *mut c_void, taker: Taker, bank: Bank, flags: u64) -> u32 {
    let Some(walk) = walk(taker) else {
        return STACK_FAULT;
    };
    let frames = walk.words.as_mut_ptr();
    // SAFETY: the scratch element is longer. The helper zeroes what lies behind the frames.
    let bytes =
        unsafe { bpf_get_stack(context, frames.cast(), 8 * (MAX_FRAMES as u32 + 1), flags) };
    if bytes <= 0 {
        return nothing(taker, flags, bytes);
    }
    walk.len = (bytes as u32 >> 3) & 0xff;
    if flags != USER {
        walk.ending = 0;
        return intern::words(taker as u32, bank, STACK_KERNEL);
    }
    walk.ending = if walk.len as usize >= MAX_FRAMES {
        loss::count(Loss::StackTruncated);
        Outcome::Truncated as u32
    } else {
        Outcome::FramePointers as u32
    };
    intern::words(taker as u32, bank, STACK_USER)
}

#[inline(always)]
fn walk(taker: Taker) -> Option<&'static mut Walk> {
    let walk = WALKS.get_ptr_mut(taker as u32)?;
    // SAFETY: a live element of this CPU, which only this hook uses.
    Some(unsafe { &mut *walk })
}

/// No frames: a loss, unless there was no such stack.
#[inline(always)]
fn nothing(taker: Taker, flags: u64, result: i64) -> u32 {
    if flags == USER {
        loss::count(Loss::UserStackFailed);
        return STACK_FAULT;
    }
    // A sample in user mode has no kernel stack.
    if matches!(taker, Taker::Sampler | Taker::Fault) || result == 0 {
        return STACK_NONE;
    }
    loss::count(Loss::KernelStackFailed);
    STACK_FAULT
}
