//! `sched_switch`: one thread leaves a CPU, the next gets it.

use crate::{
    bank::Bank,
    config, event_loop, futex,
    stack::{self, Taker},
    table,
    task::{self, Task},
};
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use remora_common::{
    aggregate::STACK_SKIPPED,
    event_loop::LOOP_BLOCKED,
    thread::{STATE_BLOCKED, ThreadSlot},
};

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(context: BtfTracePointContext) -> i32 {
    let prev: Task = context.arg(1);
    let next: Task = context.arg(2);
    let mut now = 0;
    // One after the other: the verifier refuses a test of two pointers at once.
    if let Some(slot) = table::find(task::tid(prev)) {
        if !table::recording() {
            return 0;
        }
        // SAFETY: the helper has no preconditions.
        now = unsafe { bpf_ktime_get_ns() };
        leave(&context, slot, prev, now);
    }
    if let Some(slot) = table::find(task::tid(next)) {
        if now == 0 {
            if !table::recording() {
                return 0;
            }
            // SAFETY: the helper has no preconditions.
            now = unsafe { bpf_ktime_get_ns() };
        }
        // A wait that is over: the state says so only until the switch.
        let waited = slot.state == STATE_BLOCKED;
        table::switch_in(slot, now);
        if waited {
            futex::is_back(slot);
        }
        if waited && event_loop::is_event_wait(slot) && event_loop::mode() == LOOP_BLOCKED {
            event_loop::is_back(slot, slot.reason, now, None);
        }
    }
    0
}

#[inline(always)]
fn leave(context: &BtfTracePointContext, slot: &mut ThreadSlot, prev: Task, now: u64) {
    let preempted = context.arg::<u64>(0) & 1 != 0;
    let state = if config::switch_has_state() != 0 {
        context.arg(3)
    } else {
        task::state(prev)
    };
    // The argument was read before the lock until 6.16: a signal may have kept the thread ready.
    let runnable = preempted || state == 0 || task::state(prev) == 0;
    table::switch_out(slot, prev, runnable, state, now);
    if slot.state == STATE_BLOCKED {
        futex::note_owner(slot);
    }
    if slot.state == STATE_BLOCKED
        && event_loop::is_event_wait(slot)
        && event_loop::mode() == LOOP_BLOCKED
    {
        event_loop::waits(slot, slot.reason, now);
    }
    let one_in = config::switch_out_one_in();
    if one_in != 0 && slot.state == STATE_BLOCKED {
        sample_stack(context, slot, one_in);
    }
}

/// Without a hook on return, one wait in N gives its stack here, before its length is known.
#[inline(always)]
fn sample_stack(context: &BtfTracePointContext, slot: &mut ThreadSlot, one_in: u32) {
    slot.pending_user = STACK_SKIPPED;
    // SAFETY: the helper has no preconditions.
    if unsafe { bpf_get_prandom_u32() } % one_in == 0 {
        let Some(bank) = Bank::active() else { return };
        let stacks = stack::take(context.as_ptr(), Taker::SwitchOut, slot, bank);
        slot.pending_user = stacks.user;
        slot.pending_kernel = stacks.kernel;
        slot.pending_python = stacks.python;
        slot.pending_epoch = bank.epoch();
    }
}
