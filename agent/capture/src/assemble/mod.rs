//! Names for everything that was recorded, and the plain data of the model.
//!
//! It goes one way. What still goes on is closed (`close`); then each part of the model is made of what it needs, with
//! numbers for its stacks (`waits`, `memory`, `locks`, `heap`); then the stacks get their names (`names`), and what
//! depends on names comes last.

mod close;
mod heap;
mod locks;
mod losses;
mod memory;
mod names;
mod python;
mod series;
mod threads;
pub(crate) mod unanswered;
mod waits;

use crate::{
    record::raw::RawCapture,
    store::aggregates::{AggregateStore, Samples},
};
use close::{Closed, OpenWait};
use locks::LocksSeen;
use names::StackIndex;
use remora_common::reason::NO_SYSCALL;
use remora_kernel::{Arch, syscalls};
use remora_model::{
    AgentLoss, Capture, HeapWatch, HookState, Lock, Losses, Memory, Sample, Signal, SignalId,
    Stack, Syscall, Thread, Wait, classify,
};
use std::time::Duration;
use threads::{Threads, ThreadsSeen};
use waits::{BookedWaits, WaitsSeen};

/// Turns what was recorded into the model.
pub(crate) fn capture(mut raw: RawCapture) -> Capture {
    let mut losses = losses::recorded(&raw.lost);
    let Closed { threads, open } = close::close(
        &raw.run,
        std::mem::take(&mut raw.living),
        std::mem::take(&mut raw.blocked),
        &mut raw.aggregates,
        &mut losses,
    );
    raw.owners.gather_frames(&mut raw.aggregates);
    losses::gathered(&raw.aggregates, &threads, &mut losses);
    losses::add_all(&mut losses, &raw.sockets.losses);
    losses.add(AgentLoss::ConditionsUnread, raw.constraints.1);
    let mut index = StackIndex::default();
    let booked = book(&mut raw, &threads, &open, &mut index, &mut losses);
    let BookedWaits {
        mut waits,
        now_stacks,
    } = booked.waits;
    let stacks = index.name(
        &raw.aggregates.stacks,
        &raw.spaces,
        &mut raw.interpreters,
        &mut losses,
    );
    let seen = ThreadsSeen {
        run: &raw.run,
        aggregates: &raw.aggregates,
        python_names: &raw.python.names,
        java_names: &raw.java.names,
        now_stacks: &now_stacks,
    };
    let named = threads::threads(&seen, &threads, &mut losses);
    classify(&mut waits, &stacks, &named);
    let freq_hz = raw.run.freq_hz;
    let untaken = losses::samples_not_taken(&raw.sampling, freq_hz, &named, &booked.samples);
    losses.add(AgentLoss::CpuSamplesNotTaken, untaken);
    let parts = Parts {
        threads: named,
        stacks,
        samples: booked.samples,
        waits,
        locks: booked.locks,
        memory: booked.memory,
        heap_watch: booked.heap_watch,
        losses,
    };
    model(raw, &threads, parts)
}

/// The parts that name stacks by their numbers.
struct Booked {
    waits: BookedWaits,
    samples: Vec<Sample>,
    memory: Vec<Memory>,
    locks: Vec<Lock>,
    heap_watch: Option<HeapWatch>,
}

fn book(
    raw: &mut RawCapture,
    threads: &Threads,
    open: &[OpenWait],
    index: &mut StackIndex,
    losses: &mut Losses,
) -> Booked {
    let heap = raw.heap.take();
    let raw = &*raw;
    let state = |id| state(&raw.signals, id);
    let seen = WaitsSeen {
        arch: raw.run.arch,
        aggregates: &raw.aggregates,
        threads,
        open,
        sampled: matches!(state(SignalId::WaitStacks), Some(HookState::Degraded(_))),
    };
    let waits = seen.book(index, losses);
    let samples = samples(&raw.aggregates, threads, index);
    let faults = state(SignalId::PageFaults);
    let watched = faults.is_some_and(|state| !matches!(state, HookState::Off(_)));
    let faults = memory::rows(&raw.aggregates, threads, index);
    let memory = memory::memory(&raw.memory, faults, watched, threads, losses);
    let seen = LocksSeen {
        arch: raw.run.arch,
        freq_hz: raw.run.freq_hz,
        aggregates: &raw.aggregates,
        futexes: &raw.futexes,
        owners: &raw.owners,
        processes: &raw.processes,
        threads,
        open,
    };
    let locks = locks::locks(&seen, index, losses);
    let watch = |record| heap::heap(record, &raw.aggregates, &raw.spaces, index, losses);
    Booked {
        waits,
        samples,
        memory,
        locks,
        heap_watch: heap.map(watch),
    }
}

/// Which hook serves a signal; `None`: it is off by choice.
fn state(signals: &[Signal], id: SignalId) -> Option<&HookState> {
    let signal = signals.iter().find(|signal| signal.id == id);
    signal.map(|signal| &signal.state)
}

fn samples(aggregates: &AggregateStore, threads: &Threads, index: &mut StackIndex) -> Vec<Sample> {
    let samples = aggregates.samples();
    samples
        .filter_map(|Samples { place, count, late }| {
            let (thread, slot) = threads.find(place.serial)?;
            let stack = index.of(slot.tgid, place.generation, place.stack);
            Some(Sample {
                thread,
                stack,
                count,
                late,
            })
        })
        .collect()
}

/// What was made of the recording so far.
struct Parts {
    threads: Vec<Thread>,
    stacks: Vec<Stack>,
    samples: Vec<Sample>,
    waits: Vec<Wait>,
    locks: Vec<Lock>,
    memory: Vec<Memory>,
    heap_watch: Option<HeapWatch>,
    losses: Losses,
}

/// The model: these parts, those that need no stack, and what is taken over as it is.
fn model(raw: RawCapture, threads: &Threads, parts: Parts) -> Capture {
    let run = raw.run;
    let follows_loops = state(&raw.signals, SignalId::EventLoops).is_some();
    let loops = || series::loops(&raw.loops, &raw.aggregates.ended_loops, threads, run.end_ns);
    Capture {
        started_unix_s: run.started_unix_s,
        duration: Duration::from_nanos(run.end_ns.saturating_sub(run.start_ns)),
        end: run.end,
        freq_hz: run.freq_hz,
        sampling: raw.sampling,
        min_block: run.min_block,
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        families: Vec::new(),
        descriptors: Vec::new(),
        thread_limits: Vec::new(),
        threads: parts.threads,
        stacks: parts.stacks,
        samples: parts.samples,
        waits: parts.waits,
        wakes: names::wakes(&raw.aggregates, threads),
        locks: parts.locks,
        dependencies: raw.dependencies,
        python_waits: raw.python.waits,
        python_pools: raw.python.pools,
        java: raw.java.machines,
        java_waits: raw.java.waits,
        slot_pools: raw.python.slots,
        loops: follows_loops.then(loops).unwrap_or_default(),
        polls: series::polls(&raw.polls, threads),
        timeline: series::timeline(&raw.timeline, &raw.sockets.sockets, threads),
        processes: threads::processes(raw.processes, threads, &raw.aggregates),
        tasks: raw.python.tasks,
        sockets: raw.sockets.sockets,
        socket_counts: raw.sockets.counts,
        memory: parts.memory,
        conditions: raw.constraints.0,
        python_objects: raw.census.objects,
        heaps: raw.census.heaps,
        heap_watch: parts.heap_watch,
        signals: raw.signals,
        losses: parts.losses,
        unanswered: Vec::new(),
        overhead: raw.overhead,
    }
}

/// Name of a system call, `None` outside of one and for a number that is newer than the table.
fn syscall(arch: Arch, number: u16) -> Option<Syscall> {
    if number == NO_SYSCALL {
        None
    } else {
        syscalls::name(arch, number.into()).map(Syscall::named)
    }
}
