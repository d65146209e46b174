//! The scheduler's clocks. It has one for each CPU, which stands still while the CPU serves interrupts
//! or is stolen by the host; so they drift apart, by hours on a machine that is up for months. To say
//! when a thread fell asleep, its CPU's clock is needed.
//!
//! Source: a thread's own `se.exec_start` in `/proc/thread-self/sched` is the time at which it got its
//! CPU, by that CPU's clock (`update_rq_clock_task` and `update_curr`, kernel/sched/).

use rustix::{
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use std::{collections::HashMap, fs, thread};

/// Attempts for each CPU: the earliest reading after a switch is the best one.
const READINGS: usize = 3;

/// How far each CPU's clock is behind `CLOCK_MONOTONIC`, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub struct CpuClocks {
    behind_ns: HashMap<u32, i64>,
}

impl CpuClocks {
    /// Visits each CPU that this process may run on, for some tens of microseconds. A CPU whose clock
    /// cannot be read is left out.
    pub fn read() -> Self {
        // A thread of its own: it changes where it may run.
        let visitor = thread::Builder::new().name("cpu-clocks".into());
        let behind_ns = visitor
            .spawn(visit)
            .ok()
            .and_then(|visitor| visitor.join().ok())
            .unwrap_or_default();
        Self { behind_ns }
    }

    /// What `CLOCK_MONOTONIC` said when the clock of `cpu` said `at_ns`; `None` where that is not known.
    pub fn monotonic_ns(&self, cpu: u32, at_ns: u64) -> Option<u64> {
        let behind = *self.behind_ns.get(&cpu)?;
        (at_ns != 0).then(|| at_ns.saturating_add_signed(behind))
    }
}

fn visit() -> HashMap<u32, i64> {
    let Ok(allowed) = sched_getaffinity(None) else {
        return HashMap::new();
    };
    let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    cpus.filter_map(|cpu| Some((u32::try_from(cpu).ok()?, behind(cpu)?)))
        .collect()
}

/// How far the clock of `cpu` is behind: read there, right after this thread got it.
fn behind(cpu: usize) -> Option<i64> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).ok()?;
    let readings = (0..READINGS).filter_map(|_| {
        // Gives the CPU back for a moment: getting it again brings the clock up to date.
        thread::sleep(std::time::Duration::from_micros(50));
        let now = clock_gettime(ClockId::Monotonic);
        let now_ns = now.tv_sec.checked_mul(1_000_000_000)? + now.tv_nsec;
        let started = exec_start_ns(&fs::read_to_string("/proc/thread-self/sched").ok()?)?;
        now_ns.checked_sub(started)
    });
    readings.min()
}

/// `se.exec_start : 168340.105459`: milliseconds and, behind the point, six digits of them.
fn exec_start_ns(sched: &str) -> Option<i64> {
    let line = sched
        .lines()
        .find(|line| line.starts_with("se.exec_start"))?;
    let (ms, ns) = line.rsplit_once(':')?.1.trim().split_once('.')?;
    let (ms, ns): (i64, i64) = (ms.parse().ok()?, ns.parse().ok()?);
    ms.checked_mul(1_000_000)?.checked_add(ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_kernel_is_read() {
        let sched = "cat (4711, #threads: 1)\n---\nse.exec_start                                :        \
                     168340.005459\nse.vruntime : 1.0\n";
        assert_eq!(exec_start_ns(sched), Some(168_340_005_459));
        assert_eq!(exec_start_ns("se.exec_start : x.1"), None);
        assert_eq!(
            exec_start_ns("se.exec_start : 99999999999999999999.1"),
            None
        );
        assert_eq!(exec_start_ns(""), None);
    }

    #[test]
    fn each_clock_is_translated_by_its_own_distance() {
        let clocks = CpuClocks {
            behind_ns: HashMap::from([(0, 45), (1, -5)]),
        };
        assert_eq!(clocks.monotonic_ns(0, 100), Some(145));
        assert_eq!(clocks.monotonic_ns(1, 100), Some(95));
        assert_eq!(clocks.monotonic_ns(1, 3), Some(0));
        assert_eq!(clocks.monotonic_ns(2, 100), None);
        assert_eq!(clocks.monotonic_ns(0, 0), None);
    }

    #[test]
    fn a_second_reading_tells_the_same() {
        let (first, second) = (CpuClocks::read(), CpuClocks::read());
        for (cpu, behind) in &first.behind_ns {
            let drifted = second.behind_ns[cpu].abs_diff(*behind);
            assert!(drifted < 1_000_000_000, "CPU {cpu}: {drifted} ns");
        }
    }
}
