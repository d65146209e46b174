//! Iterations of event loops: how long each took, and what the late ones did.
//!
//! An iteration begins when the thread is back from its wait for events, and ends when it waits again.
//! Whether it is late is known when it has been going on for too long, so the samples and waits before
//! that are remembered (`pending`), and marked in their aggregates once it is.

use crate::{
    aggregate,
    bank::Bank,
    config, loss,
    maps::{CONTROL, EVENT_LOOPS, FREE_LOOPS},
};
use core::arch::asm;
use remora_common::{event_loop::*, loss::Loss, reason::Reason, thread::ThreadSlot};

const EPOLL: u32 = Reason::Epoll as u32;

/// An index that the verifier sees to be below `LEN`, a power of two: the compiler knows it too, and
/// would leave a plain mask out.
#[inline(always)]
fn below<const LEN: usize>(index: usize) -> usize {
    let masked;
    // SAFETY: pure arithmetic.
    unsafe {
        asm!(
            "{index} &= {mask}",
            index = inout(reg) index => masked,
            mask = const LEN - 1,
            options(pure, nomem, nostack),
        );
    }
    masked
}

/// How loops are followed, `LOOP_*`.
#[inline(always)]
pub fn mode() -> u32 {
    // SAFETY: a live element; the agent writes the member whole.
    CONTROL
        .get_ptr(0)
        .map_or(LOOP_OFF, |control| unsafe { (*control).event_loops })
}

/// Whether the wait that the slot describes is one for events: epoll, or poll with several descriptors.
#[inline(always)]
pub fn is_event_wait(slot: &ThreadSlot) -> bool {
    slot.reason == EPOLL || (slot.reason == Reason::Poll as u32 && slot.wait_form() > 1)
}

/// The thread goes into a wait for events of this kind: its iteration ends `now`.
#[inline(always)]
pub fn waits(slot: &mut ThreadSlot, kind: u32, now: u64) {
    if slot.event_loop == 0 {
        claim(slot, kind);
    }
    let Some(event_loop) = EVENT_LOOPS.get_ptr_mut(slot.event_loop) else {
        return;
    };
    // SAFETY: a live element that this thread alone writes.
    let event_loop = unsafe { &mut *event_loop };
    if slot.event_loop == 0 || !is_of(event_loop, kind) {
        return;
    }
    event_loop.waits += 1;
    let began = slot.busy_since_ns;
    slot.busy_since_ns = 0;
    if began == 0 || began > now {
        return;
    }
    let took = now - began;
    event_loop.iterations += 1;
    event_loop.busy_ns += took;
    if took > event_loop.max_ns {
        event_loop.max_ns = took;
    }
    let bucket = below::<LOOP_BUCKETS>(bucket(took));
    // SAFETY: the index is below LOOP_BUCKETS.
    unsafe { *(&raw mut event_loop.buckets).cast::<u32>().add(bucket) += 1 };
    if took >= config::late_ns() {
        event_loop.late += 1;
        event_loop.late_ns += took;
        event_loop.late_queued_ns += queued_ns(slot).saturating_sub(event_loop.queued_before_ns);
        if let Some(bank) = Bank::active() {
            mark_pending(event_loop, bank);
        }
    }
}

/// The thread is back from its wait: an iteration begins `now`. `returned`: what the call gave, where it
/// is known.
#[inline(always)]
pub fn is_back(slot: &mut ThreadSlot, kind: u32, now: u64, returned: Option<i64>) {
    if slot.event_loop == 0 {
        return;
    }
    let Some(event_loop) = EVENT_LOOPS.get_ptr_mut(slot.event_loop) else {
        return;
    };
    // SAFETY: a live element that this thread alone writes.
    let event_loop = unsafe { &mut *event_loop };
    if !is_of(event_loop, kind) {
        return;
    }
    match returned {
        Some(0) => event_loop.timeouts += 1,
        Some(events) if events > 0 => event_loop.events += events as u64,
        _ => {}
    }
    event_loop.pending_len = 0;
    event_loop.queued_before_ns = queued_ns(slot);
    slot.busy_since_ns = now;
}

/// A sample (`ns` 0) or a wait that the present iteration did, under an aggregate: marked when the
/// iteration is late, remembered while it is not.
#[inline(always)]
pub fn did(slot: &ThreadSlot, bank: Bank, aggregate: u32, ns: u64, now: u64) {
    if slot.event_loop == 0 || slot.busy_since_ns == 0 {
        return;
    }
    let Some(event_loop) = EVENT_LOOPS.get_ptr_mut(slot.event_loop) else {
        return;
    };
    // SAFETY: a live element that this thread alone writes.
    let event_loop = unsafe { &mut *event_loop };
    if ns != 0 && event_loop.kind == slot.reason && is_event_wait(slot) {
        // The wait between two iterations, booked when it was over.
        return;
    }
    if now.saturating_sub(slot.busy_since_ns) >= config::late_ns() {
        mark_pending(event_loop, bank);
        aggregate::add_late(aggregate, ns);
        return;
    }
    let at = event_loop.pending_len as usize;
    if at >= LOOP_PENDING {
        event_loop.pending_len = LOOP_PENDING as u32 + 1;
        return;
    }
    let pending = Pending {
        aggregate,
        epoch: bank.epoch(),
        ns,
    };
    // SAFETY: the index is below LOOP_PENDING.
    unsafe {
        (&raw mut event_loop.pending)
            .cast::<Pending>()
            .add(below::<LOOP_PENDING>(at))
            .write(pending);
    }
    event_loop.pending_len = at as u32 + 1;
}

/// Marks what was remembered.
#[inline(always)]
fn mark_pending(event_loop: &mut EventLoop, bank: Bank) {
    let len = event_loop.pending_len as usize;
    if len > LOOP_PENDING {
        loss::count(Loss::LateMarksLost);
    }
    for at in 0..LOOP_PENDING {
        if at >= len {
            break;
        }
        // SAFETY: the index is below LOOP_PENDING.
        let pending = unsafe {
            *(&raw const event_loop.pending)
                .cast::<Pending>()
                .add(below::<LOOP_PENDING>(at))
        };
        if pending.epoch == bank.epoch() {
            aggregate::add_late(pending.aggregate, pending.ns);
        } else {
            loss::count(Loss::LateMarksLost);
        }
    }
    event_loop.pending_len = 0;
}

/// How long the thread was ready without a CPU, in all.
#[inline(always)]
fn queued_ns(slot: &ThreadSlot) -> u64 {
    slot.woken_wait_ns + slot.preempted_wait_ns
}

/// A thread's loop is one of epoll as soon as it uses that: a poll within an iteration is part of it.
#[inline(always)]
fn is_of(event_loop: &mut EventLoop, kind: u32) -> bool {
    if event_loop.kind == kind {
        return true;
    }
    if kind == EPOLL {
        event_loop.kind = EPOLL;
    }
    kind == EPOLL
}

/// Gives the thread an element of the table.
#[inline(always)]
fn claim(slot: &mut ThreadSlot, kind: u32) {
    let Ok(Some(index)) = FREE_LOOPS.pop() else {
        loss::count(Loss::EventLoopTableFull);
        return;
    };
    let Some(event_loop) = EVENT_LOOPS.get_ptr_mut(index) else {
        return;
    };
    // SAFETY: a live element that nobody else has.
    unsafe {
        (*event_loop).serial = slot.serial;
        (*event_loop).kind = kind;
    }
    slot.event_loop = index;
}
