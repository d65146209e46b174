//! The loop: a row for each frame, a step by it, the caller's address into the scratch element.

use super::{
    memory::{Memory, StackOf},
    table,
};
use crate::{
    config,
    maps::{EVENTS, WALKS},
    registers,
    task::Task,
};
use aya_ebpf::helpers::{bpf_ktime_get_ns, generated::bpf_loop};
use core::ffi::c_void;
use remora_common::event::{EVENT_MAPPINGS, Event};
use remora_common::thread::ThreadSlot;
use remora_common::unwind::{
    CFA_MASK, CFA_NONE, CFA_SIGNAL, EXACT, MAX_USER_FRAMES, Machine, Outcome, Registers, Step,
    frame_pointer, step,
};

/// A walk in progress, in a map element.
#[repr(C)]
pub struct Walk {
    /// What was found, leaf first.
    pub words: crate::maps::Words,
    registers: Registers,
    /// Words that are valid.
    pub len: u32,
    /// [`Outcome`].
    pub ending: u32,
    /// 1: the frame is no caller: its address is where it was interrupted.
    interrupted: u32,
    /// 1: some frame's file had no table yet.
    pending: u32,
    /// 1: the agent must read the mappings again.
    news: u32,
    /// Always zero.
    reserved: u32,
}

/// What the loop's body needs besides the walk.
#[repr(C)]
struct Around<M> {
    memory: M,
    taker: u32,
    space: u32,
}

/// Walks the user stack of `task` into the scratch element of `taker`. `space` 0: no mappings are
/// known.
#[inline(always)]
pub fn user_stack<M: Memory>(taker: u32, task: Task, slot: &ThreadSlot, memory: M, space: u32) {
    let Some(walk) = WALKS.get_ptr_mut(taker) else {
        return;
    };
    // SAFETY: a live element of this CPU, which only this hook uses.
    let walk = unsafe { &mut *walk };
    walk.len = 0;
    let Some(saved) = registers::of(task) else {
        walk.ending = Outcome::NoRegisters as u32;
        return;
    };
    walk.registers = saved.all();
    walk.interrupted = 1;
    walk.pending = (space == 0) as u32;
    walk.news = 0;
    walk.ending = Outcome::Truncated as u32;
    let mut around = Around {
        memory,
        taker,
        space,
    };
    // SAFETY: the body has the signature that the helper calls, and takes this context.
    unsafe {
        bpf_loop(
            MAX_USER_FRAMES as u32,
            frame::<M> as *mut c_void,
            (&raw mut around).cast(),
            0,
        );
    }
    if walk.news != 0 && M::TELLS {
        tell(slot);
    }
    let ended =
        walk.ending == Outcome::Complete as u32 || walk.ending == Outcome::FramePointers as u32;
    if walk.pending != 0 && ended {
        walk.ending = Outcome::NoTable as u32;
    }
}

/// `BPF_RB_FORCE_WAKEUP`: `include/uapi/linux/bpf.h`.
const FORCE_WAKEUP: u64 = 2;

/// Wakes the agent: a library was loaded, perhaps.
#[inline(always)]
fn tell(slot: &ThreadSlot) {
    let event = Event {
        kind: EVENT_MAPPINGS,
        slot: 0,
        tid: 0,
        tgid: slot.tgid,
        serial: 0,
        parent_tgid: 0,
        generation: slot.generation,
        reserved: 0,
        // SAFETY: the helper has no preconditions.
        at_ns: unsafe { bpf_ktime_get_ns() },
    };
    // One that finds no room is made up for by the next beat.
    let _full = EVENTS.output::<Event>(event, FORCE_WAKEUP);
}

/// One frame: 0 to go on, 1 to stop.
#[inline(never)]
extern "C" fn frame<M: Memory>(_number: u32, around: *mut Around<M>) -> i64 {
    // SAFETY: `user_stack` passes its own, live.
    let (memory, taker, space) = unsafe { ((*around).memory, (*around).taker, (*around).space) };
    let Some(walk) = WALKS.get_ptr_mut(taker) else {
        return 1;
    };
    // SAFETY: a live element of this CPU, which only this hook uses.
    let walk = unsafe { &mut *walk };
    let mut registers = walk.registers;
    let leaf = walk.interrupted != 0;
    // A call may be its function's last instruction: the address behind it belongs to the next.
    let address = registers.ip - !leaf as u64;
    let found = table::find(taker, space, address);
    walk.pending |= found.pending as u32;
    walk.news |= found.news as u32;
    let signal = found.row.rule & CFA_MASK == CFA_SIGNAL;
    let exact = if leaf || signal { EXACT } else { 0 };
    push(walk, registers.ip | exact);
    let machine = Machine {
        is_arm64: config::is_arm64() != 0,
        code_mask: config::code_mask(),
    };
    let mut stack = StackOf(memory);
    let next = if found.row.rule & CFA_MASK == CFA_NONE {
        frame_pointer(machine, &mut registers, &mut stack)
    } else {
        step(machine, found.row, leaf, &mut registers, &mut stack)
    };
    walk.registers = registers;
    match next {
        Step::Caller => walk.interrupted = 0,
        Step::Interrupted => walk.interrupted = 1,
        Step::End(outcome) => {
            walk.ending = outcome as u32;
            return 1;
        }
    }
    0
}

#[inline(always)]
fn push(walk: &mut Walk, word: u64) {
    let len = walk.len as usize & (MAX_USER_FRAMES - 1);
    // SAFETY: the index is masked; the scratch element is longer.
    unsafe { walk.words.as_mut_ptr().add(len).write(word) };
    walk.len = len as u32 + 1;
}
