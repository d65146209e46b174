//! Page faults: memory that a thread touches for the first time, by the code that touches it.
//!
//! Each fault of a target is counted; one in some is *sampled*: it gives its stack, and stands for the
//! faults since the sample before (its weight). How many those are is settled before they happen, by
//! the pace of the faults so far, with some chance so that no pattern of the target's keeps step with
//! it: the weights of the samples add up to the faults, and no kind of fault is preferred.

use crate::{
    aggregate,
    bank::Bank,
    config, loss,
    stack::{self, Stacks, Taker},
    table, task,
};
use aya_ebpf::{
    EbpfContext,
    helpers::{bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_ktime_get_ns},
    macros::{btf_tracepoint, perf_event},
    programs::{BtfTracePointContext, PerfEventContext},
};
use remora_common::{
    aggregate::{AggregateKey, FAULT_REGION_BITS, KIND_FAULT},
    loss::Loss,
    thread::ThreadSlot,
};

/// Time from sample to sample of one thread that the pace is set for: 1,000 samples a second, 0.2 % of a
/// CPU, as far as the period allows.
const APART_NS: u64 = 1_000_000;

/// A fault in user mode.
#[btf_tracepoint(function = "page_fault_user")]
pub fn fault_user(context: BtfTracePointContext) -> i32 {
    let Some(slot) = table::find(bpf_get_current_pid_tgid() as u32) else {
        return 0;
    };
    if let Some(weight) = due(slot) {
        let Some(bank) = room() else { return 0 };
        let stacks = stack::take_user(context.as_ptr(), Taker::Fault, slot, bank);
        book(bank, slot, stacks, context.arg(0), weight);
    }
    0
}

/// A fault in kernel mode: a system call fills memory that is not there yet.
#[btf_tracepoint(function = "page_fault_kernel")]
pub fn fault_kernel(context: BtfTracePointContext) -> i32 {
    let Some(slot) = table::find(bpf_get_current_pid_tgid() as u32) else {
        return 0;
    };
    // The read of another program in this thread's context, which our own walks of stacks are.
    if task::faults_fail(task::current()) {
        return 0;
    }
    if let Some(weight) = due(slot) {
        let Some(bank) = room() else { return 0 };
        let stacks = stack::take(context.as_ptr(), Taker::Fault, slot, bank);
        book(bank, slot, stacks, context.arg(0), weight);
    }
    0
}

/// Where there are no such tracepoints: the kernel's own count of faults on this CPU is due.
#[perf_event]
pub fn fault_sample(context: PerfEventContext) -> u32 {
    let Some(slot) = table::find(bpf_get_current_pid_tgid() as u32) else {
        return 0;
    };
    if !table::recording() {
        return 0;
    }
    let period = config::fault_period();
    slot.faults += period as u64;
    // SAFETY: the context of a perf event.
    let address = unsafe { (*context.ctx).addr };
    let Some(bank) = room() else { return 0 };
    let stacks = stack::take(context.as_ptr(), Taker::Fault, slot, bank);
    book(bank, slot, stacks, address, period);
    0
}

/// The bank that a sample goes to. Growth by many threads must not take the room of waits and CPU
/// samples: while the table is three quarters full, faults have none. (From a half on the agent is about
/// to empty it, and faults are kept without their region.)
#[inline(always)]
fn room() -> Option<Bank> {
    let bank = Bank::active()?;
    if bank.aggregates() > config::aggregates_per_bank() as u64 / 4 * 3 {
        loss::count(Loss::FaultSampleDropped);
        return None;
    }
    Some(bank)
}

/// Counts a fault; its weight when it is a sample.
#[inline(always)]
fn due(slot: &mut ThreadSlot) -> Option<u32> {
    if !table::recording() {
        return None;
    }
    slot.faults += 1;
    if slot.fault_left > 1 {
        slot.fault_left -= 1;
        return None;
    }
    let weight = if slot.fault_weight == 0 {
        1
    } else {
        slot.fault_weight
    };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_ns() };
    let period = next_period(slot, now);
    slot.fault_period = period;
    slot.fault_sampled_ns = now;
    // From half the period to one and a half of it.
    // SAFETY: the helper has no preconditions.
    let drawn = period - period / 2 + unsafe { bpf_get_prandom_u32() } % period;
    let drawn = if drawn == 0 { 1 } else { drawn };
    slot.fault_left = drawn;
    slot.fault_weight = drawn;
    Some(weight)
}

/// Faults to the next sample, in the mean: as many as the thread takes in [`APART_NS`], at the most
/// twice those to this one, and `fault_period`.
#[inline(always)]
fn next_period(slot: &ThreadSlot, now: u64) -> u32 {
    let before = if slot.fault_period == 0 {
        1
    } else {
        slot.fault_period as u64
    };
    let elapsed = now.wrapping_sub(slot.fault_sampled_ns) | 1;
    let mut period = slot.fault_weight as u64 * APART_NS / elapsed;
    if period > 2 * before {
        period = 2 * before;
    }
    if period > config::fault_period() as u64 {
        period = config::fault_period() as u64;
    }
    if period == 0 { 1 } else { period as u32 }
}

#[inline(always)]
fn book(bank: Bank, slot: &ThreadSlot, stacks: Stacks, address: u64, weight: u32) {
    let region = if bank.aggregates() > config::aggregates_per_bank() as u64 / 2 {
        loss::count(Loss::FaultRegionDropped);
        0
    } else {
        address >> FAULT_REGION_BITS
    };
    let key = AggregateKey {
        object: region,
        ..aggregate::key(slot, KIND_FAULT, stacks)
    };
    aggregate::add(bank, &key, weight as u64);
}
