//! The thread state table: look-up by thread id, enlisting, and the transitions between states.
//!
//! A transition happens under the run queue's lock of the thread that it is about (switch-out,
//! switch-in), so there is one writer at a time; a wake-up writes members of its own.

use crate::{
    aggregate, atomic,
    bank::Bank,
    config, event_loop, futex, loss,
    maps::{CONTROL, FREE_SLOTS, SLOTS, TIDS},
    reason,
    stack::Stacks,
    task::{self, Task},
};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use remora_common::{
    aggregate::{AggregateKey, KIND_WAIT, KIND_WAKE, STACK_NONE, STACK_SKIPPED, UNFOLLOWED},
    loss::Loss,
    reason::{NO_SYSCALL, REASONS},
    thread::*,
};

/// The slot of a thread, if a target's: two loads for everyone else.
#[inline(always)]
pub fn find(tid: u32) -> Option<&'static mut ThreadSlot> {
    let chunk = TIDS.get_ptr(tid / TIDS_PER_CHUNK)?;
    // SAFETY: the index is below TIDS_PER_CHUNK.
    let index = unsafe { *chunk.cast::<u16>().add((tid % TIDS_PER_CHUNK) as usize) };
    if index == 0 {
        return None;
    }
    let slot = SLOTS.get_ptr_mut(index as u32)?;
    // SAFETY: a live element; one writer at a time (see above).
    Some(unsafe { &mut *slot })
}

/// Whether events count: all at once from the start, and none after the end.
#[inline(always)]
pub fn recording() -> bool {
    // SAFETY: a live element.
    CONTROL
        .get_ptr(0)
        .is_some_and(|control| unsafe { (*control).recording } != 0)
}

/// Whether the children of a process are nobody's who is watched.
#[inline(always)]
pub fn is_unfollowed(tgid: u32) -> bool {
    let Some(control) = CONTROL.get_ptr(0) else {
        return false;
    };
    // SAFETY: a live element; the agent writes each number at once.
    let first = unsafe { (&raw const (*control).unfollowed).cast::<u32>() };
    // SAFETY: the index is below the array's length.
    (0..UNFOLLOWED).any(|at| unsafe { first.add(at).read_volatile() } == tgid)
}

/// Binds a thread id to a slot; 0 unbinds.
#[inline(always)]
pub fn bind(tid: u32, index: u32) {
    let Some(chunk) = TIDS.get_ptr_mut(tid / TIDS_PER_CHUNK) else {
        loss::count(Loss::TidOutOfRange);
        return;
    };
    // SAFETY: the index is below TIDS_PER_CHUNK.
    unsafe { *chunk.cast::<u16>().add((tid % TIDS_PER_CHUNK) as usize) = index as u16 };
}

/// The slot number of a bound thread id, 0 for none.
#[inline(always)]
pub fn index_of(tid: u32) -> u32 {
    let Some(chunk) = TIDS.get_ptr(tid / TIDS_PER_CHUNK) else {
        return 0;
    };
    // SAFETY: the index is below TIDS_PER_CHUNK.
    unsafe { *chunk.cast::<u16>().add((tid % TIDS_PER_CHUNK) as usize) as u32 }
}

/// Gives a thread a slot, in `state`, from `now` on; returns the slot number.
///
/// The agent hands out zeroed slots; the thread id is bound last, when the record is whole.
#[inline(always)]
pub fn enlist(task: Task, generation: u32, state: u32, now: u64) -> Option<u32> {
    let Ok(Some(index)) = FREE_SLOTS.pop() else {
        loss::count(Loss::ThreadTableFull);
        return None;
    };
    let slot = SLOTS.get_ptr_mut(index)?;
    let control = CONTROL.get_ptr_mut(0)?;
    // SAFETY: a live element that nobody else has; the serial is only written atomically.
    unsafe {
        let serial = atomic::fetch_add(&raw mut (*control).last_serial, 1) as u32 + 1;
        (*slot).tid = task::tid(task);
        (*slot).tgid = task::tgid(task);
        (*slot).serial = serial;
        (*slot).generation = generation;
        (*slot).state = state;
        (*slot).flags = 0;
        (*slot).python_thread = 0;
        (*slot).syscall = NO_SYSCALL as u32;
        (*slot).since_ns = now;
        (*slot).enlisted_ns = now;
        (*slot).migrations_before = task::migrations(task);
        (*slot).migrations_last = (*slot).migrations_before;
        bind((*slot).tid, index);
    }
    Some(index)
}

/// Marks the record as changing for readers, around `change`.
#[inline(always)]
fn write(slot: &mut ThreadSlot, change: impl FnOnce(&mut ThreadSlot)) {
    let sequence = &raw mut slot.sequence;
    // SAFETY: an aligned member; volatile keeps the stores around the change.
    unsafe { sequence.write_volatile(sequence.read_volatile().wrapping_add(1)) };
    change(slot);
    // SAFETY: as above.
    unsafe { sequence.write_volatile(sequence.read_volatile().wrapping_add(1)) };
}

/// The thread leaves its CPU: for a reason (`task_state` says it sleeps), or because it must.
#[inline(always)]
pub fn switch_out(slot: &mut ThreadSlot, task: Task, runnable: bool, task_state: u32, now: u64) {
    write(slot, |slot| {
        match slot.state {
            // A thread enlisted while it moved was on its CPU at the latest since then.
            STATE_RUNNING | STATE_UNKNOWN => slot.on_cpu_ns += since(slot.since_ns, now),
            // It ran, and its switch-in was not seen: the run counts from the wake-up.
            STATE_BLOCKED => {
                let end = slot.wait_end_ns().unwrap_or(now);
                end_wait(slot, end);
                slot.on_cpu_ns += since(end, now);
                loss::count(Loss::StateTorn);
            }
            _ => {
                end_run_queue(slot, now);
                loss::count(Loss::StateTorn);
            }
        }
        slot.since_ns = now;
        slot.pending_ns = 0;
        slot.flags &= !FLAG_SINCE_INFERRED;
        if runnable {
            slot.state = STATE_PREEMPTED;
            slot.preempted_count += 1;
        } else if task_state & task::TASK_DEAD != 0 {
            // Before the agent may collect the slot, and give it to another.
            bind(slot.tid, 0);
            slot.state = STATE_EXITED;
        } else {
            reason::note(slot, task, task_state);
            slot.state = STATE_BLOCKED;
        }
    });
}

/// The thread gets a CPU: whatever it waited for is over.
#[inline(always)]
pub fn switch_in(slot: &mut ThreadSlot, now: u64) {
    let mut waited = None;
    write(slot, |slot| {
        match slot.state {
            STATE_BLOCKED => {
                let woken = slot.wait_end_ns();
                if woken.is_none() {
                    loss::count(Loss::StateTorn);
                }
                let end = woken.unwrap_or(now);
                waited = Some(end_wait(slot, end));
                slot.since_ns = end;
                end_run_queue(slot, now);
            }
            STATE_WOKEN | STATE_PREEMPTED => end_run_queue(slot, now),
            STATE_UNKNOWN => {}
            _ => loss::count(Loss::StateTorn),
        }
        slot.state = STATE_RUNNING;
        slot.woken_ns = 0;
        slot.since_ns = now;
        slot.flags &= !FLAG_SINCE_INFERRED;
    });
    if let Some(waited) = waited {
        book_wake(slot, waited, now);
    }
}

/// The thread runs and its switch-in was not seen (see [`Loss::StateTorn`]): late, but no later than
/// a sample.
#[inline(always)]
pub fn came_back(slot: &mut ThreadSlot) {
    loss::count(Loss::StateTorn);
    // SAFETY: the helper has no preconditions.
    switch_in(slot, unsafe { bpf_ktime_get_ns() });
}

/// Books a wait that ended under its waker, and under its stacks where those were taken already.
#[inline(always)]
fn book_wake(slot: &mut ThreadSlot, waited: u64, now: u64) {
    let Some(bank) = Bank::active() else {
        return;
    };
    if config::switch_out_one_in() != 0 {
        sampled_wait(slot, bank);
    }
    let (user, kernel) = (slot.waker_tid, slot.waker_tgid);
    let stacks = Stacks {
        user,
        kernel,
        python: STACK_NONE,
    };
    let key = AggregateKey {
        kind: KIND_WAKE,
        owner: slot.lock_owner,
        ..key(slot, stacks)
    };
    if let Some(index) = aggregate::add(bank, &key, waited) {
        aggregate::stamp(index, now);
    }
}

/// Clocks of two CPUs may differ by a moment.
#[inline(always)]
fn since(then: u64, now: u64) -> u64 {
    now.saturating_sub(then)
}

/// Adds the wait for a CPU that ends `now`.
#[inline(always)]
fn end_run_queue(slot: &mut ThreadSlot, now: u64) {
    let waited = since(slot.since_ns, now);
    if slot.state == STATE_PREEMPTED {
        slot.preempted_wait_ns += waited;
    } else {
        slot.woken_wait_ns += waited;
        slot.woken_count += 1;
    }
    if waited > slot.longest_run_queue_ns {
        slot.longest_run_queue_ns = waited;
    }
}

/// Adds the wait that ends `now` to its reason, as far as it lies inside the capture.
#[inline(always)]
fn end_wait(slot: &mut ThreadSlot, now: u64) -> u64 {
    let from = if slot.since_ns > slot.enlisted_ns {
        slot.since_ns
    } else {
        slot.enlisted_ns
    };
    let waited = since(from, now);
    let reason = slot.reason;
    if reason < REASONS as u32 {
        // SAFETY: the index is below REASONS.
        let totals = unsafe {
            &mut *(&raw mut slot.waits)
                .cast::<WaitTotals>()
                .add(reason as usize)
        };
        if waited >= config::min_block_ns() {
            totals.long_ns += waited;
            totals.long_count += 1;
            slot.pending_ns = waited;
        } else {
            totals.short_ns += waited;
            totals.short_count += 1;
        }
    }
    waited
}

/// Books the long wait that just ended under its stacks.
#[inline(always)]
pub fn book_wait(slot: &mut ThreadSlot, bank: Bank, stacks: Stacks) {
    let key = key(slot, stacks);
    let waited = slot.pending_ns;
    slot.pending_ns = 0;
    futex::did(slot, bank, &key, waited);
    let Some(index) = aggregate::add(bank, &key, waited) else {
        return;
    };
    if slot.event_loop != 0 && slot.busy_since_ns != 0 {
        // SAFETY: the helper has no preconditions.
        event_loop::did(slot, bank, index, waited, unsafe { bpf_ktime_get_ns() });
    }
}

/// The fallback: the stacks were taken at switch-out, or this wait was left out by the sampling.
#[inline(always)]
fn sampled_wait(slot: &mut ThreadSlot, bank: Bank) {
    if slot.pending_ns == 0 {
        return;
    }
    // Stacks of a bank that was emptied since are gone.
    if slot.pending_user == STACK_SKIPPED || slot.pending_epoch != bank.epoch() {
        loss::count(Loss::WaitStackSkipped);
        slot.pending_ns = 0;
        return;
    }
    let stacks = Stacks {
        user: slot.pending_user,
        kernel: slot.pending_kernel,
        python: slot.pending_python,
    };
    book_wait(slot, bank, stacks);
}

#[inline(always)]
fn key(slot: &ThreadSlot, stacks: Stacks) -> AggregateKey {
    AggregateKey {
        reason: slot.reason as u8,
        syscall: slot.syscall as u16,
        detail: slot.wait_form(),
        object: slot.wait_object(),
        ..aggregate::key(slot, KIND_WAIT, stacks)
    }
}
