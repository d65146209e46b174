//! Threads and processes of the model, from their records.

use super::syscall;
use crate::{
    record::raw::RunFacts,
    store::{aggregates::AggregateStore, threads::observed_ns},
};
use remora_common::thread::{
    FLAG_SINCE_INFERRED, STATE_BLOCKED, STATE_EXITED, STATE_PREEMPTED, STATE_RUNNING, STATE_WOKEN,
    ThreadSlot,
};
use remora_kernel::clocks::SchedulerClock;
use remora_model::{
    AgentLoss, Losses, Now, Process, Reason, ReasonTotals, RunQueue, State, Thread,
};
use remora_process as process;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// The threads of a recording, closed and in order.
pub(crate) struct Threads {
    pub(crate) slots: Vec<ThreadSlot>,
    by_serial: HashMap<u32, usize>,
    /// Process id and thread id.
    pub(crate) ids: HashSet<(u32, u32)>,
}

impl Threads {
    pub(crate) fn new(mut slots: Vec<ThreadSlot>) -> Self {
        // Sums of threads, which have no id, come last.
        slots.sort_by_key(|slot| (slot.tgid, slot.tid == 0, slot.tid, slot.serial));
        let by_serial = slots
            .iter()
            .enumerate()
            .map(|(at, slot)| (slot.serial, at))
            .collect();
        let ids = slots.iter().map(|slot| (slot.tgid, slot.tid)).collect();
        Self {
            slots,
            by_serial,
            ids,
        }
    }

    pub(crate) fn find(&self, serial: u32) -> Option<(usize, &ThreadSlot)> {
        let index = *self.by_serial.get(&serial)?;
        Some((index, self.slots.get(index)?))
    }
}

/// The processes, with what their threads tell of them.
pub(crate) fn processes(
    mut processes: BTreeMap<u32, Process>,
    threads: &Threads,
    aggregates: &AggregateStore,
) -> Vec<Process> {
    for slot in &threads.slots {
        let Some(process) = processes.get_mut(&slot.tgid) else {
            continue;
        };
        let summed = aggregates.summed(slot.serial);
        let threads = summed.map_or(1, |summed| summed.threads);
        process.threads = process
            .threads
            .saturating_add(threads.try_into().unwrap_or(u32::MAX));
        if process.comm.is_empty() || (slot.tid == slot.tgid && slot.comm[0] != 0) {
            process.comm = last_name(slot);
        }
    }
    for process in processes.values_mut() {
        let mut own = threads.slots.iter().filter(|slot| slot.tgid == process.pid);
        process.exited = own.all(|slot| slot.state == STATE_EXITED);
    }
    processes.into_values().collect()
}

/// The name that a thread had at its exit.
fn last_name(slot: &ThreadSlot) -> String {
    let len = slot
        .comm
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(slot.comm.len());
    process::escape(slot.comm.get(..len).unwrap_or_default())
}

/// A thread's name: that of its exit when it ended.
pub(crate) fn name(slot: &ThreadSlot) -> String {
    match slot.comm[0] {
        0 => process::thread_name(slot.tgid, slot.tid).unwrap_or_default(),
        _ => last_name(slot),
    }
}

/// What is known of threads beside their records.
pub(crate) struct ThreadsSeen<'a> {
    pub(crate) run: &'a RunFacts,
    pub(crate) aggregates: &'a AggregateStore,
    /// What Python calls them, by thread id.
    pub(crate) python_names: &'a HashMap<u32, String>,
    /// What Java calls them, by thread id.
    pub(crate) java_names: &'a HashMap<u32, String>,
    /// In which stack they are at the end, by index.
    pub(crate) now_stacks: &'a HashMap<usize, usize>,
}

/// The threads of the model, in the same order.
pub(crate) fn threads(
    seen: &ThreadsSeen<'_>,
    threads: &Threads,
    losses: &mut Losses,
) -> Vec<Thread> {
    let unknown = sleep_clocks_unknown(seen.run.clock, &threads.slots);
    losses.add(AgentLoss::SleepClocksUnknown, unknown);
    let slots = threads.slots.iter().enumerate();
    slots
        .map(|(at, slot)| thread(seen, slot, seen.now_stacks.get(&at).copied()))
        .collect()
}

fn thread(seen: &ThreadsSeen<'_>, slot: &ThreadSlot, stack: Option<usize>) -> Thread {
    let comm = name(slot);
    let summed = seen.aggregates.summed(slot.serial);
    let observed_ns = summed.map_or_else(
        || observed_ns(slot, seen.run.end_ns),
        |summed| summed.observed_ns,
    );
    Thread {
        tid: slot.tid,
        pid: slot.tgid,
        python_name: seen
            .python_names
            .get(&slot.tid)
            .filter(|name| !name.starts_with(&comm) || comm.is_empty())
            .cloned(),
        java_name: seen
            .java_names
            .get(&slot.tid)
            .filter(|name| **name != comm)
            .cloned(),
        comm,
        observed: Duration::from_nanos(observed_ns),
        summed: summed.map_or(0, |summed| summed.threads),
        on_cpu: Duration::from_nanos(slot.on_cpu_ns),
        run_queue: RunQueue {
            after_wake: Duration::from_nanos(slot.woken_wait_ns),
            wakes: slot.woken_count.into(),
            preempted: Duration::from_nanos(slot.preempted_wait_ns),
            preemptions: slot.preempted_count.into(),
            longest: Duration::from_nanos(slot.longest_run_queue_ns),
        },
        migrations: slot.migrations().map(Into::into),
        waits: totals(slot),
        now: now(seen.run, slot, stack),
    }
}

fn totals(slot: &ThreadSlot) -> Vec<ReasonTotals> {
    let by_reason = Reason::ALL.iter().zip(&slot.waits);
    by_reason
        .filter(|(_, waits)| waits.long_count > 0 || waits.short_count > 0)
        .map(|(reason, waits)| ReasonTotals {
            reason: *reason,
            total: Duration::from_nanos(waits.long_ns + waits.short_ns),
            count: u64::from(waits.long_count) + u64::from(waits.short_count),
            short: Duration::from_nanos(waits.short_ns),
            short_count: waits.short_count.into(),
        })
        .collect()
}

fn now(run: &RunFacts, slot: &ThreadSlot, stack: Option<usize>) -> Now {
    let blocked = slot.state == STATE_BLOCKED && !slot.is_woken();
    let inferred = slept_before(slot);
    // Where that is not known: at the latest when it was enlisted.
    let since_ns = inferred
        .then(|| slept_since(run.clock, slot))
        .flatten()
        .unwrap_or(slot.since_ns);
    Now {
        state: match slot.state {
            STATE_RUNNING => State::Running,
            STATE_WOKEN | STATE_PREEMPTED => State::Runnable,
            STATE_BLOCKED if blocked => State::Blocked,
            STATE_BLOCKED => State::Runnable,
            STATE_EXITED => State::Exited,
            _ => State::Unknown,
        },
        since: Duration::from_nanos(run.end_ns.saturating_sub(since_ns)),
        since_inferred: inferred,
        reason: blocked.then(|| Reason::from_u8(slot.reason as u8)),
        syscall: blocked
            .then(|| syscall(run.arch, slot.syscall as u16))
            .flatten(),
        args: slot.args,
        waker_tid: slot.waker_tid,
        stack: stack.filter(|_| blocked),
    }
}

/// Whether a thread sleeps at the end since before it was enlisted.
fn slept_before(slot: &ThreadSlot) -> bool {
    slot.state == STATE_BLOCKED && !slot.is_woken() && slot.flags & FLAG_SINCE_INFERRED != 0
}

/// When such a thread fell asleep; `None` where that is not known.
fn slept_since(clock: SchedulerClock, slot: &ThreadSlot) -> Option<u64> {
    let since = clock.monotonic_ns(slot.slept_at_ns)?;
    Some(since.min(slot.since_ns))
}

/// Threads that sleep since a time that is not known, but that it was before they were enlisted.
fn sleep_clocks_unknown(clock: SchedulerClock, slots: &[ThreadSlot]) -> u64 {
    let unknown = |slot: &&ThreadSlot| slept_before(slot) && slept_since(clock, slot).is_none();
    slots.iter().filter(unknown).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    #[test]
    fn a_sleep_that_began_by_an_unknown_clock_is_counted() {
        let asleep = ThreadSlot {
            state: STATE_BLOCKED,
            flags: FLAG_SINCE_INFERRED,
            since_ns: 5_000,
            slept_at_ns: 1_000,
            ..Zeroable::zeroed()
        };
        let woken = ThreadSlot {
            woken_ns: 6_000,
            ..asleep
        };
        let seen = ThreadSlot { flags: 0, ..asleep };
        let never = ThreadSlot {
            slept_at_ns: 0,
            ..asleep
        };
        let (known, unknown) = (SchedulerClock::new(Some(500)), SchedulerClock::default());
        let slots = [asleep, woken, seen, never];
        assert_eq!(sleep_clocks_unknown(known, &slots), 1);
        assert_eq!(sleep_clocks_unknown(unknown, &slots), 2);
        assert_eq!(slept_since(known, &asleep), Some(1_500));
        let late = SchedulerClock::new(Some(90_000));
        assert_eq!(
            slept_since(late, &asleep),
            Some(5_000),
            "it slept when it was enlisted"
        );
    }
}
