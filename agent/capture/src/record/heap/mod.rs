//! A watch on the targets' allocators (`--heap`): for a bounded time and within a budget of slow-down, which is
//! measured all the while. It patches the text of the targets, so it is off unless it is asked for, and it says
//! so when it is on.

mod attach;
mod governor;

use crate::store::spaces::Spaces;
use attach::{Attached, Found};
use governor::{Governor, Reading};
use remora_common::heap::{Block, BlockKey, HeapCounts};
use remora_model::{
    HeapWatch, HookState, Process, Signal, SignalId, WatchCost, WatchEnd, WatchedProcess,
};
use remora_probe::{Detached, Probe, TrapCost};
use std::{
    collections::BTreeMap,
    mem::MaybeUninit,
    time::{Duration, Instant},
};
use syscalls::{Sysno, syscall};

/// Processes that are watched at the most: each takes some twenty probes.
const MAX_PROCESSES: usize = 32;

/// From one look at the cost to the next: at first, and after the first second. A target that allocates all the
/// time is slowed down for hardly longer than the first.
const FIRST: Duration = Duration::from_millis(20);
const LATER: Duration = Duration::from_millis(100);

/// What is watched, and how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeapPlan {
    /// Of allocated bytes, one in so many is sampled in the mean; up to 1: each allocation is.
    pub sample_bytes: u64,
    /// Slow-down from which on it detaches itself, as a share.
    pub budget: f64,
    /// It lasts so long at the most.
    pub length: Duration,
}

/// What a watch leaves behind.
#[derive(Debug)]
pub(crate) struct HeapRecord {
    /// All but the stacks.
    pub watch: HeapWatch,
    /// Sampled blocks that were not freed.
    pub blocks: Vec<(BlockKey, Block)>,
    /// When it ended, `CLOCK_MONOTONIC` nanoseconds.
    pub ended_ns: u64,
    /// Threads in a sampled allocation then.
    pub in_flight: u64,
    /// Processes beyond the limit.
    pub processes_skipped: u64,
}

/// A watch, from its beginning to its end.
pub(crate) struct Watch {
    plan: HeapPlan,
    began: Instant,
    processes: Vec<WatchedProcess>,
    skipped: u64,
    trap: TrapCost,
    /// CPU time of the processes at the beginning.
    used_before: BTreeMap<u32, Duration>,
    /// The same as it was read last.
    used: BTreeMap<u32, Duration>,
    on: Option<On>,
    /// What it was when it ended.
    last: Reading,
    counts: HeapCounts,
    worst: f64,
    end: WatchEnd,
    watched: Duration,
    ended_ns: u64,
    detached: Option<(Instant, Detached)>,
}

/// What there is only while it lasts.
struct On {
    governor: Governor,
    next: Instant,
}

impl Watch {
    /// Attaches to the allocators of the processes. `before` is told what is about to be patched.
    pub(crate) fn begin(
        plan: HeapPlan,
        probe: &mut Probe,
        spaces: &Spaces,
        processes: &BTreeMap<u32, Process>,
        before: impl FnOnce(&str),
    ) -> Self {
        let found: Vec<_> = processes
            .values()
            .take(MAX_PROCESSES)
            .map(|process| attach::inspect(process, spaces))
            .collect();
        before(&attach::announcement(&plan, processes, &found));
        let mut watch = Self {
            plan,
            began: Instant::now(),
            processes: Vec::new(),
            skipped: processes.len().saturating_sub(MAX_PROCESSES) as u64,
            trap: TrapCost::default(),
            used_before: BTreeMap::new(),
            used: BTreeMap::new(),
            on: None,
            last: Reading::default(),
            counts: HeapCounts::default(),
            worst: 0.0,
            end: WatchEnd::Capture,
            watched: Duration::ZERO,
            ended_ns: 0,
            detached: None,
        };
        if let Err(why) = watch.attach(probe, found) {
            watch.end = WatchEnd::NotAttached(why);
            watch.ended_ns = remora_probe::now_ns();
        }
        watch
    }

    fn attach(&mut self, probe: &mut Probe, found: Vec<Found>) -> Result<(), String> {
        let programs = probe.take_heap_programs();
        let programs = programs.map_err(|error| error.to_string())?;
        let Attached {
            trap,
            processes,
            probes,
        } = attach::attach(programs, found)?;
        probe.keep_heap(probes);
        (self.trap, self.processes) = (trap, processes);
        let attached = |process: &&WatchedProcess| process.why_not.is_none();
        if !self.processes.iter().any(|process| attached(&process)) {
            let mut reasons = self.processes.iter().filter_map(|one| one.why_not.clone());
            return Err(reasons.next().unwrap_or_else(|| "no process".to_owned()));
        }
        let watched = self.processes.iter().filter(attached);
        for process in watched {
            if let Some(used) = cpu_time(process.pid) {
                self.used_before.insert(process.pid, used);
            }
        }
        self.began = Instant::now();
        probe.watch_heap(true);
        self.on = Some(On {
            governor: Governor::new(self.plan.budget, Reading::default()),
            next: self.began + FIRST,
        });
        Ok(())
    }

    /// When it wants to be looked at; `None`: no more.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.on.as_ref().map(|on| on.next)
    }

    /// Looks at the cost and the time; what there is to say where it ends.
    pub(crate) fn check(&mut self, probe: &mut Probe) -> Option<String> {
        self.on.as_ref()?;
        let Some(now) = self.read(probe) else {
            self.stop(probe, WatchEnd::Unmeasured);
            return Some(self.farewell());
        };
        let on = self.on.as_mut()?;
        let over = on.governor.judge(now);
        let pause = match now.at < Duration::from_secs(1) {
            true => FIRST,
            false => LATER,
        };
        on.next = Instant::now() + pause;
        let end = if let Some(slow_down) = over {
            WatchEnd::Budget { slow_down }
        } else if now.at >= self.plan.length {
            WatchEnd::Time
        } else {
            return None;
        };
        self.stop(probe, end);
        Some(self.farewell())
    }

    /// The capture ends: what is outstanding now is what is outstanding.
    pub(crate) fn end(&mut self, probe: &mut Probe) {
        if self.on.is_some() {
            self.read(probe);
            self.stop(probe, WatchEnd::Capture);
        }
    }

    fn stop(&mut self, probe: &mut Probe, end: WatchEnd) {
        if let Some(on) = self.on.take() {
            self.worst = on.governor.worst();
        }
        self.ended_ns = remora_probe::now_ns();
        self.watched = self.began.elapsed();
        self.detached = Some((Instant::now(), probe.detach_heap()));
        self.end = end;
    }

    /// The cost so far; `None`: it cannot be read.
    fn read(&mut self, probe: &Probe) -> Option<Reading> {
        self.counts = probe.heap_counts().ok()?;
        for (pid, before) in &self.used_before {
            // Of a process that ended: what it was.
            if let Some(now) = cpu_time(*pid) {
                self.used.insert(*pid, now.saturating_sub(*before));
            }
        }
        self.last = Reading {
            at: self.began.elapsed(),
            cost: traps(&self.counts, self.trap) + Duration::from_nanos(self.counts.run_ns),
            targets: self.used.values().sum(),
        };
        Some(self.last)
    }

    /// Waits until the probes are out, and says what was seen. Stacks have no names yet.
    pub(crate) fn finish(self, probe: &Probe) -> HeapRecord {
        let detaching = self.detached.map_or(Duration::ZERO, |(since, detached)| {
            detached.wait();
            since.elapsed()
        });
        let counts = probe.heap_counts().unwrap_or(self.counts);
        let watch = HeapWatch {
            sample_bytes: self.plan.sample_bytes,
            budget: self.plan.budget,
            watched: self.watched,
            end: self.end,
            detaching,
            processes: self.processes,
            allocations: counts.entries,
            frees: counts.frees,
            bytes: counts.bytes,
            sampled: counts.sampled,
            sampled_freed: counts.sampled_freed,
            cost: WatchCost {
                stepped: self.trap.stepped,
                emulated: self.trap.emulated,
                back: self.trap.back,
                programs: Duration::from_nanos(counts.run_ns),
                total: self.last.cost,
                targets: self.last.targets,
                worst: self.worst,
            },
            sites: Vec::new(),
        };
        HeapRecord {
            blocks: probe.heap_blocks(),
            in_flight: probe.heap_in_flight(),
            ended_ns: self.ended_ns,
            processes_skipped: self.skipped,
            watch,
        }
    }

    /// Which hook it took, or why it is off.
    pub(crate) fn signal(&self) -> Signal {
        let partly = self.processes.iter().any(|one| one.why_not.is_some());
        let state = match &self.end {
            WatchEnd::NotAttached(why) => HookState::Off(why.clone()),
            WatchEnd::Budget { .. } | WatchEnd::Unmeasured => HookState::Degraded(self.farewell()),
            _ if partly || self.skipped > 0 => HookState::Degraded(
                "not all of the processes have an allocator that could be watched".to_owned(),
            ),
            _ => HookState::On,
        };
        Signal {
            id: SignalId::Heap,
            hook: "uprobe, uretprobe (patches the targets' text)".to_owned(),
            state,
        }
    }

    fn farewell(&self) -> String {
        let after = self.watched.as_secs_f64();
        match self.end {
            WatchEnd::Budget { slow_down } => format!(
                "detached itself after {after:.2} s: a measured slow-down of {:.0} % is over the budget of \
                 {:.0} % (--heap-budget)",
                slow_down * 100.0,
                self.plan.budget * 100.0,
            ),
            WatchEnd::Unmeasured => format!(
                "detached itself after {after:.2} s: what it cost could not be read any more"
            ),
            _ => format!("detached after {after:.1} s: its time is over (--heap-for)"),
        }
    }
}

/// Signals of a capture in which no allocator was to be watched.
pub(crate) fn not_asked_for() -> Signal {
    Signal {
        id: SignalId::Heap,
        hook: "uprobe, uretprobe".to_owned(),
        state: HookState::Off("not asked for (--heap; it patches the targets' text)".to_owned()),
    }
}

/// What the probes themselves took.
fn traps(counts: &HeapCounts, cost: TrapCost) -> Duration {
    let entries = counts.entries.saturating_add(counts.frees);
    let nanos = |one: Duration, count: u64| {
        u64::try_from(one.as_nanos())
            .unwrap_or(u64::MAX)
            .saturating_mul(count)
    };
    let all = [
        nanos(cost.stepped, counts.stepped),
        nanos(cost.emulated, entries.saturating_sub(counts.stepped)),
        nanos(cost.back, counts.returns),
    ];
    Duration::from_nanos(all.into_iter().fold(0, u64::saturating_add))
}

/// CPU time of a process, all its threads; `None` where it is gone.
///
/// By its CPU-time clock, of which `clock_getcpuclockid(3)` makes the number: `/proc` counts in ticks.
fn cpu_time(pid: u32) -> Option<Duration> {
    /// `CPUCLOCK_SCHED` of a process: `include/linux/posix-timers.h`.
    const SCHED: i32 = 2;
    let clock = (!pid.cast_signed()).wrapping_shl(3) | SCHED;
    let mut time = MaybeUninit::<[i64; 2]>::uninit();
    let at = time.as_mut_ptr().expose_provenance();
    // SAFETY: the kernel writes a `timespec` of two 64-bit words, and only where it succeeds.
    let [seconds, nanos] = unsafe {
        syscall!(Sysno::clock_gettime, clock, at).ok()?;
        time.assume_init()
    };
    Some(Duration::new(
        u64::try_from(seconds).ok()?,
        u32::try_from(nanos).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_process_is_read_and_of_none_it_is_not() {
        let before = cpu_time(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while cpu_time(std::process::id()).unwrap() < before + Duration::from_millis(1) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert_eq!(cpu_time(0x3fff_fffe), None);
    }

    #[test]
    fn each_entry_and_each_return_has_its_price() {
        let counts = HeapCounts {
            entries: 10,
            returns: 9,
            frees: 5,
            stepped: 2,
            ..HeapCounts::default()
        };
        let cost = TrapCost {
            stepped: Duration::from_nanos(1500),
            emulated: Duration::from_nanos(100),
            back: Duration::from_micros(1),
        };
        assert_eq!(traps(&counts, cost), Duration::from_nanos(13_300));
        let many = HeapCounts {
            entries: u64::MAX,
            ..counts
        };
        assert_eq!(traps(&many, cost), Duration::from_nanos(u64::MAX));
    }
}
