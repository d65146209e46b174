//! Names for everything that was recorded, and the plain data of the model.

mod heap;
mod locks;
mod memory;
mod names;
mod python;
mod series;
pub(crate) mod unanswered;
mod waits;

use crate::{
    record::raw::RawCapture,
    store::{aggregates::Samples, threads::observed_ns},
};
use locks::LocksSeen;
use names::StackIndex;
use remora_common::{
    reason::NO_SYSCALL,
    thread::{
        FLAG_SINCE_INFERRED, STATE_BLOCKED, STATE_EXITED, STATE_PREEMPTED, STATE_RUNNING,
        STATE_WOKEN, ThreadSlot,
    },
};
use remora_kernel::{Arch, clocks::SchedulerClock, syscalls};
use remora_model::{
    AgentLoss, Capture, Losses, Now, Process, Reason, ReasonTotals, RunQueue, Sample, State,
    Syscall, Thread, classify,
};
use remora_process as process;
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// The threads of a recording, closed and in order.
struct Threads {
    slots: Vec<ThreadSlot>,
    by_serial: HashMap<u32, usize>,
    /// Process id and thread id.
    ids: HashSet<(u32, u32)>,
}

impl Threads {
    fn new(mut slots: Vec<ThreadSlot>) -> Self {
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

    fn find(&self, serial: u32) -> Option<(usize, &ThreadSlot)> {
        let index = *self.by_serial.get(&serial)?;
        Some((index, self.slots.get(index)?))
    }
}

/// Turns what was recorded into the model.
pub(crate) fn capture(mut raw: RawCapture) -> Capture {
    let open = waits::close_all(&mut raw);
    raw.owners.gather_frames(&mut raw.aggregates);
    let slots = raw
        .living
        .iter()
        .chain(&raw.aggregates.ended)
        .copied()
        .collect();
    let threads = Threads::new(slots);
    let mut stacks = StackIndex::default();
    let mut waits = waits::finished(&raw, &threads, &mut stacks);
    let samples = samples(&raw, &threads, &mut stacks);
    let memory = memory::memory(&raw, &threads, &mut stacks);
    waits::balance(&raw, &threads, &open, &mut waits);
    let now_stacks = waits::lasting(&raw, &threads, &mut stacks, &open, &mut waits);
    let mut losses = losses(&raw, &threads);
    losses.add(AgentLoss::WaitStacksLost, waits::lost_count(&waits));
    waits::add_short(&threads, &mut waits);
    let seen = LocksSeen {
        arch: raw.arch,
        freq_hz: raw.freq_hz,
        aggregates: &raw.aggregates,
        futexes: &raw.futexes,
        owners: &raw.owners,
        processes: &raw.processes,
        threads: &threads,
        open: &open,
    };
    let locks = locks::locks(&seen, &mut stacks, &mut losses);
    let heap_watch = heap::heap(&mut raw, &mut stacks, &mut losses);
    let stacks = names::stacks(&mut raw, &stacks, &mut losses);
    let threads_named: Vec<Thread> = threads
        .slots
        .iter()
        .enumerate()
        .map(|(at, slot)| thread(&raw, slot, now_stacks.get(&at).copied()))
        .collect();
    classify(&mut waits, &stacks, &threads_named);
    let unsampled = (raw.sampling).unsampled(raw.freq_hz, &threads_named, &samples);
    let unsampled: f64 = unsampled.iter().map(|(_, time)| time.as_secs_f64()).sum();
    losses.add(
        AgentLoss::CpuSamplesNotTaken,
        (unsampled * f64::from(raw.freq_hz)) as u64,
    );
    Capture {
        started_unix_s: raw.started_unix_s,
        duration: Duration::from_nanos(raw.end_ns.saturating_sub(raw.start_ns)),
        end: raw.end,
        freq_hz: raw.freq_hz,
        sampling: raw.sampling.clone(),
        min_block: raw.min_block,
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        processes: processes(&raw, &threads),
        families: Vec::new(),
        descriptors: Vec::new(),
        thread_limits: Vec::new(),
        threads: threads_named,
        stacks,
        samples,
        waits,
        wakes: names::wakes(&raw, &threads),
        locks,
        dependencies: raw.dependencies.clone(),
        python_waits: raw.python_waits.clone(),
        python_pools: raw.python_pools.clone(),
        java: raw.java.machines.clone(),
        java_waits: raw.java.waits.clone(),
        slot_pools: raw.slot_pools.clone(),
        loops: series::loops(&raw, &threads),
        polls: series::polls(&raw, &threads),
        timeline: series::timeline(&raw, &threads),
        tasks: raw.tasks,
        sockets: raw.sockets.sockets,
        socket_counts: raw.sockets.counts,
        memory,
        conditions: raw.constraints.0,
        python_objects: raw.census.objects,
        heaps: raw.census.heaps,
        heap_watch,
        signals: raw.signals,
        losses,
        unanswered: Vec::new(),
        overhead: raw.overhead,
    }
}

fn samples(raw: &RawCapture, threads: &Threads, stacks: &mut StackIndex) -> Vec<Sample> {
    let samples = raw.aggregates.samples();
    samples
        .filter_map(|Samples { place, count, late }| {
            let (thread, slot) = threads.find(place.serial)?;
            let stack = stacks.of(slot.tgid, place.generation, place.stack);
            Some(Sample {
                thread,
                stack,
                count,
                late,
            })
        })
        .collect()
}

fn losses(raw: &RawCapture, threads: &Threads) -> Losses {
    let aggregates = &raw.aggregates;
    let mut losses = Losses {
        kernel: raw.kernel_losses.clone(),
        ..Losses::default()
    };
    let orphans = aggregates.serials();
    let orphans = orphans.filter(|serial| threads.find(*serial).is_none());
    losses.add(AgentLoss::AggregatesWithoutThread, orphans.count() as u64);
    losses.add(AgentLoss::AggregatesUnknown, aggregates.unknown_kinds);
    losses.add(AgentLoss::EndedThreadsDropped, aggregates.ended_dropped);
    losses.add(AgentLoss::EndedThreadsSummed, aggregates.threads_summed());
    losses.add(AgentLoss::FutexesMerged, aggregates.futexes_merged);
    losses.add(AgentLoss::EndedLoopsDropped, aggregates.ended_loops_dropped);
    losses.add(AgentLoss::StacksUnreadable, aggregates.stacks_unreadable);
    losses.add(AgentLoss::StacksDropped, aggregates.stacks_dropped);
    losses.add(AgentLoss::AggregatesDropped, aggregates.sums_dropped);
    losses.add(
        AgentLoss::SleepClocksUnknown,
        sleep_clocks_unknown(raw.clock, &threads.slots),
    );
    losses.add(AgentLoss::CpuEventsReopened, raw.reopened);
    losses.add(AgentLoss::ProgramRunsSkipped, raw.skipped_runs);
    losses.add(AgentLoss::UnreadAtTheEnd, raw.unread);
    raw.table_losses
        .iter()
        .chain(&raw.sockets.losses)
        .for_each(|(loss, count)| losses.add(*loss, *count));
    raw.memory
        .losses
        .iter()
        .for_each(|(loss, count)| losses.add(*loss, *count));
    losses.add(AgentLoss::LockHoldersNotLookedFor, raw.owners.left_out);
    losses.add(AgentLoss::ConditionsUnread, raw.constraints.1);
    losses.add(
        AgentLoss::FaultRegionsMerged,
        aggregates.fault_regions_merged,
    );
    losses.add(
        AgentLoss::FaultSamplesDropped,
        aggregates.fault_samples_dropped,
    );
    losses.add(AgentLoss::MemoryUnreadable, raw.blocked.memory_unreadable);
    raw.spaces
        .losses()
        .iter()
        .for_each(|(loss, count)| losses.add(*loss, *count));
    losses
}

fn processes(raw: &RawCapture, threads: &Threads) -> Vec<Process> {
    let mut processes = raw.processes.clone();
    for slot in &threads.slots {
        let Some(process) = processes.get_mut(&slot.tgid) else {
            continue;
        };
        let summed = raw.aggregates.summed(slot.serial);
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
fn name(slot: &ThreadSlot) -> String {
    match slot.comm[0] {
        0 => process::thread_name(slot.tgid, slot.tid).unwrap_or_default(),
        _ => last_name(slot),
    }
}

fn thread(raw: &RawCapture, slot: &ThreadSlot, stack: Option<usize>) -> Thread {
    let comm = name(slot);
    let summed = raw.aggregates.summed(slot.serial);
    let observed_ns = summed.map_or_else(
        || observed_ns(slot, raw.end_ns),
        |summed| summed.observed_ns,
    );
    Thread {
        tid: slot.tid,
        pid: slot.tgid,
        python_name: raw
            .python_names
            .get(&slot.tid)
            .filter(|name| !name.starts_with(&comm) || comm.is_empty())
            .cloned(),
        java_name: raw
            .java
            .names
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
        now: now(raw, slot, stack),
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

fn now(raw: &RawCapture, slot: &ThreadSlot, stack: Option<usize>) -> Now {
    let blocked = slot.state == STATE_BLOCKED && !slot.is_woken();
    let inferred = slept_before(slot);
    // Where that is not known: at the latest when it was enlisted.
    let since_ns = inferred
        .then(|| slept_since(raw.clock, slot))
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
        since: Duration::from_nanos(raw.end_ns.saturating_sub(since_ns)),
        since_inferred: inferred,
        reason: blocked.then(|| Reason::from_u8(slot.reason as u8)),
        syscall: blocked
            .then(|| syscall(raw.arch, slot.syscall as u16))
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

/// Name of a system call, `None` outside of one and for a number that is newer than the table.
fn syscall(arch: Arch, number: u16) -> Option<Syscall> {
    if number == NO_SYSCALL {
        None
    } else {
        syscalls::name(arch, number.into()).map(Syscall::named)
    }
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
