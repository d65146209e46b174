//! Names for everything that was recorded, and the plain data of the model.

mod heap;
mod locks;
mod memory;
mod names;
mod python;
mod series;
mod waits;

use super::{
    blocked::BlockedStacks,
    gather::{self, Gathered},
    heap::HeapRecord,
    locks::Facts,
    memory::MemoryRecord,
    objects::Insides,
    polls::PollsSeen,
    pythons::Pythons,
    sockets::SocketsSeen,
    spaces::Spaces,
    timeline::Windows,
};
use names::StackIndex;
use remora_common::{
    aggregate::KIND_CPU,
    event_loop::EventLoop,
    loss::Loss,
    reason::NO_SYSCALL,
    thread::{
        FLAG_SINCE_INFERRED, STATE_BLOCKED, STATE_EXITED, STATE_PREEMPTED, STATE_RUNNING,
        STATE_WOKEN, ThreadSlot,
    },
};
use remora_kernel::{Arch, clocks::SchedulerClock, syscalls};
use remora_model::{
    AgentLoss, Capture, Constraints, CpuSampling, Dependency, End, Losses, Now, Overhead, Process,
    PythonPool, PythonWait, Reason, ReasonTotals, RunQueue, Sample, Signal, SlotPool, State, Syscall, Tasks,
    Thread, classify,
};
use remora_process as process;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

/// Everything that a session leaves behind.
pub struct Recorded {
    pub started_unix_s: f64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub end: End,
    pub freq_hz: u32,
    pub sampling: CpuSampling,
    /// CPU events that were opened again.
    pub reopened: u64,
    pub min_block: Duration,
    pub arch: Arch,
    /// By which it is known when threads fell asleep.
    pub clock: SchedulerClock,
    pub processes: BTreeMap<u32, Process>,
    /// Threads that were there at the end.
    pub living: Vec<ThreadSlot>,
    pub gathered: Gathered,
    pub spaces: Spaces,
    pub pythons: Pythons,
    /// Asyncio tasks at the end, by process.
    pub tasks: Vec<(u32, Tasks)>,
    /// Objects of interpreters and blocks of malloc at the start and the end.
    pub insides: Insides,
    pub sockets: SocketsSeen,
    pub blocked: BlockedStacks,
    pub memory: MemoryRecord,
    /// Of a watch on allocators.
    pub heap: Option<HeapRecord>,
    /// What holds the processes, and what was not read of it.
    pub conditions: (Constraints, u64),
    pub kernel_losses: BTreeMap<Loss, u64>,
    /// Program runs that the kernel skipped.
    pub skipped_runs: u64,
    /// Unwind tables that could not be had, by name.
    pub table_losses: Vec<(AgentLoss, u64)>,
    /// Tables and threads that could not be read when the capture ended.
    pub unread: u64,
    pub signals: Vec<Signal>,
    pub overhead: Overhead,
    /// What was looked up of futexes.
    pub futexes: Facts,
    /// Whom sleeping threads wait for otherwise.
    pub dependencies: Vec<Dependency>,
    /// And in locks of Python.
    pub python_waits: Vec<PythonWait>,
    /// What Python calls its threads, by thread id.
    pub python_names: HashMap<u32, String>,
    /// Executors of Python programs.
    pub python_pools: Vec<PythonPool>,
    /// Pools that threads of theirs wait for a slot of.
    pub slot_pools: Vec<SlotPool>,
    /// Event loops of the threads that were there at the end, by serial.
    pub loops: HashMap<u32, EventLoop>,
    pub loops_are_exact: bool,
    /// Polls of threads that seemed stuck.
    pub polls: PollsSeen,
    /// From this length on an iteration is late.
    pub late_from: Duration,
    /// Length of the finest windows.
    pub window: Duration,
    pub windows: Windows,
    pub windows_coarsened: u64,
}

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
pub fn capture(mut recorded: Recorded) -> Capture {
    let open = waits::close_all(&mut recorded);
    recorded
        .futexes
        .holders
        .gather_frames(&mut recorded.gathered);
    let slots = recorded
        .living
        .iter()
        .chain(&recorded.gathered.ended)
        .copied()
        .collect();
    let threads = Threads::new(slots);
    let mut stacks = StackIndex::default();
    let mut waits = waits::finished(&recorded, &threads, &mut stacks);
    let samples = samples(&recorded, &threads, &mut stacks);
    let memory = memory::memory(&recorded, &threads, &mut stacks);
    waits::balance(&recorded, &threads, &open, &mut waits);
    let now_stacks = waits::lasting(&recorded, &threads, &mut stacks, &open, &mut waits);
    let mut losses = losses(&recorded, &threads);
    losses.add(AgentLoss::WaitStacksLost, waits::lost_count(&waits));
    waits::add_short(&threads, &mut waits);
    let locks = locks::locks(&recorded, &threads, &open, &mut stacks, &mut losses);
    let heap_watch = heap::heap(&mut recorded, &mut stacks, &mut losses);
    let stacks = names::stacks(&mut recorded, &stacks, &mut losses);
    let threads_named: Vec<Thread> = threads
        .slots
        .iter()
        .enumerate()
        .map(|(at, slot)| thread(&recorded, slot, now_stacks.get(&at).copied()))
        .collect();
    classify(&mut waits, &stacks, &threads_named);
    let unsampled = (recorded.sampling).unsampled(recorded.freq_hz, &threads_named, &samples);
    let unsampled: f64 = unsampled.iter().map(|(_, time)| time.as_secs_f64()).sum();
    losses.add(
        AgentLoss::CpuSamplesNotTaken,
        (unsampled * f64::from(recorded.freq_hz)) as u64,
    );
    Capture {
        started_unix_s: recorded.started_unix_s,
        duration: Duration::from_nanos(recorded.end_ns.saturating_sub(recorded.start_ns)),
        end: recorded.end,
        freq_hz: recorded.freq_hz,
        sampling: recorded.sampling.clone(),
        min_block: recorded.min_block,
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        processes: processes(&recorded, &threads),
        families: Vec::new(),
        descriptors: Vec::new(),
        thread_limits: Vec::new(),
        threads: threads_named,
        stacks,
        samples,
        waits,
        wakes: names::wakes(&recorded, &threads),
        locks,
        dependencies: recorded.dependencies.clone(),
        python_waits: recorded.python_waits.clone(),
        python_pools: recorded.python_pools.clone(),
        slot_pools: recorded.slot_pools.clone(),
        loops: series::loops(&recorded, &threads),
        polls: series::polls(&recorded, &threads),
        timeline: series::timeline(&recorded, &threads),
        tasks: recorded.tasks,
        sockets: recorded.sockets.sockets,
        socket_counts: recorded.sockets.counts,
        memory,
        conditions: recorded.conditions.0,
        python_objects: recorded.insides.objects,
        heaps: recorded.insides.heaps,
        heap_watch,
        signals: recorded.signals,
        losses,
        unanswered: Vec::new(),
        overhead: recorded.overhead,
    }
}

fn samples(recorded: &Recorded, threads: &Threads, stacks: &mut StackIndex) -> Vec<Sample> {
    let sums = recorded
        .gathered
        .sums
        .iter()
        .filter(|((key, _), _)| key.kind == KIND_CPU);
    sums.filter_map(|((key, stack), sum)| {
        let (thread, slot) = threads.find(key.serial)?;
        let stack = stacks.of(slot.tgid, key.generation, *stack);
        Some(Sample {
            thread,
            stack,
            count: sum.count,
            late: sum.late_count,
        })
    })
    .collect()
}

fn losses(recorded: &Recorded, threads: &Threads) -> Losses {
    let gathered = &recorded.gathered;
    let mut losses = Losses {
        kernel: recorded.kernel_losses.clone(),
        ..Losses::default()
    };
    let orphans = gathered
        .sums
        .keys()
        .filter(|(key, _)| threads.find(key.serial).is_none());
    losses.add(AgentLoss::AggregatesWithoutThread, orphans.count() as u64);
    losses.add(AgentLoss::EndedThreadsDropped, gathered.ended_dropped);
    losses.add(AgentLoss::EndedThreadsSummed, gathered.threads_summed());
    losses.add(AgentLoss::FutexesMerged, gathered.futexes_merged);
    losses.add(AgentLoss::EndedLoopsDropped, gathered.ended_loops_dropped);
    losses.add(AgentLoss::StacksUnreadable, gathered.stacks_unreadable);
    losses.add(AgentLoss::StacksDropped, gathered.stacks_dropped);
    losses.add(AgentLoss::AggregatesDropped, gathered.sums_dropped);
    losses.add(
        AgentLoss::SleepClocksUnknown,
        sleep_clocks_unknown(recorded.clock, &threads.slots),
    );
    losses.add(AgentLoss::CpuEventsReopened, recorded.reopened);
    losses.add(AgentLoss::ProgramRunsSkipped, recorded.skipped_runs);
    losses.add(AgentLoss::UnreadAtTheEnd, recorded.unread);
    recorded
        .table_losses
        .iter()
        .chain(&recorded.sockets.losses)
        .for_each(|(loss, count)| losses.add(*loss, *count));
    recorded
        .memory
        .losses
        .iter()
        .for_each(|(loss, count)| losses.add(*loss, *count));
    losses.add(
        AgentLoss::LockHoldersNotLookedFor,
        recorded.futexes.holders.left_out,
    );
    losses.add(AgentLoss::ConditionsUnread, recorded.conditions.1);
    losses.add(AgentLoss::FaultRegionsMerged, gathered.fault_regions_merged);
    losses.add(
        AgentLoss::FaultSamplesDropped,
        gathered.fault_samples_dropped,
    );
    losses.add(
        AgentLoss::MemoryUnreadable,
        recorded.blocked.memory_unreadable,
    );
    recorded
        .spaces
        .losses()
        .iter()
        .for_each(|(loss, count)| losses.add(*loss, *count));
    losses
}

fn processes(recorded: &Recorded, threads: &Threads) -> Vec<Process> {
    let mut processes = recorded.processes.clone();
    for slot in &threads.slots {
        let Some(process) = processes.get_mut(&slot.tgid) else {
            continue;
        };
        let summed = recorded.gathered.summed(slot.serial);
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

fn thread(recorded: &Recorded, slot: &ThreadSlot, stack: Option<usize>) -> Thread {
    let comm = name(slot);
    let summed = recorded.gathered.summed(slot.serial);
    let observed_ns = summed.map_or_else(
        || gather::observed_ns(slot, recorded.end_ns),
        |summed| summed.observed_ns,
    );
    Thread {
        tid: slot.tid,
        pid: slot.tgid,
        python_name: recorded
            .python_names
            .get(&slot.tid)
            .filter(|name| !name.starts_with(&comm) || comm.is_empty())
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
        waits: totals(slot),
        now: now(recorded, slot, stack),
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

fn now(recorded: &Recorded, slot: &ThreadSlot, stack: Option<usize>) -> Now {
    let blocked = slot.state == STATE_BLOCKED && !slot.is_woken();
    let inferred = slept_before(slot);
    // Where that is not known: at the latest when it was enlisted.
    let since_ns = inferred
        .then(|| slept_since(recorded.clock, slot))
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
        since: Duration::from_nanos(recorded.end_ns.saturating_sub(since_ns)),
        since_inferred: inferred,
        reason: blocked.then(|| Reason::from_u8(slot.reason as u8)),
        syscall: blocked
            .then(|| syscall(recorded.arch, slot.syscall as u16))
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
