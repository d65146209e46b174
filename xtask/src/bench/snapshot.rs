//! What a process has done so far, and the difference of two such readings: a window.

use anyhow::{Context, Result};
use procfs::{CurrentSI, KernelStats, ProcError, process::Process};
use std::time::{Duration, Instant};

/// One reading.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    at: Instant,
    ops: u64,
    usage: Usage,
    switches_everywhere: u64,
}

impl Snapshot {
    /// Reads the process `pid`, whose count of operations is `ops` at this moment.
    pub fn take(pid: u32, ops: u64) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            ops,
            usage: Usage::of(pid)?,
            switches_everywhere: KernelStats::current()
                .context("cannot read /proc/stat")?
                .ctxt,
        })
    }

    /// What happened since `earlier`.
    pub fn since(&self, earlier: &Self) -> Window {
        Window {
            elapsed: self.at.duration_since(earlier.at),
            ops: self.ops.saturating_sub(earlier.ops),
            cpu: self.usage.cpu.saturating_sub(earlier.usage.cpu),
            switches: self.usage.switches.saturating_sub(earlier.usage.switches),
            switches_everywhere: self
                .switches_everywhere
                .saturating_sub(earlier.switches_everywhere),
        }
    }
}

/// CPU time and context switches of a process: the sums over its live threads. The workloads keep
/// theirs, so that nothing is missed with a thread that ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Time on a CPU, from `schedstat`: nanosecond steps, where `stat` counts ticks.
    pub cpu: Duration,
    /// Voluntary and involuntary context switches.
    pub switches: u64,
}

impl Usage {
    /// Reads `/proc/PID/task`.
    pub(super) fn of(pid: u32) -> Result<Self> {
        Self::read(pid).with_context(|| format!("cannot read /proc/{pid}/task"))
    }

    fn read(pid: u32) -> Result<Self> {
        let mut usage = Self {
            cpu: Duration::ZERO,
            switches: 0,
        };
        for task in Process::new(pid.try_into()?)?.tasks()? {
            let task = task?;
            let (time, status) = match (task.schedstat(), task.status()) {
                (Ok(time), Ok(status)) => (time, status),
                // A thread that ended meanwhile takes what it did along.
                (Err(ProcError::NotFound(_)), _) | (_, Err(ProcError::NotFound(_))) => continue,
                (Err(error), _) | (_, Err(error)) => return Err(error.into()),
            };
            usage.cpu += Duration::from_nanos(time.sum_exec_runtime);
            usage.switches += status.voluntary_ctxt_switches.unwrap_or_default()
                + status.nonvoluntary_ctxt_switches.unwrap_or_default();
        }
        Ok(usage)
    }
}

/// What a process did in a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// How long.
    pub elapsed: Duration,
    /// Operations done.
    pub ops: u64,
    /// CPU time of the process.
    pub cpu: Duration,
    /// Context switches away from its threads.
    pub switches: u64,
    /// Context switches of the whole machine.
    pub switches_everywhere: u64,
}

impl Window {
    /// Operations a second.
    pub fn ops_per_s(&self) -> f64 {
        self.ops as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU time for an operation, in nanoseconds; infinite when none was done.
    pub fn cpu_ns_per_op(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.ops as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_usage_grows_with_work() {
        let before = Snapshot::take(std::process::id(), 10).unwrap();
        let busy = Instant::now();
        while busy.elapsed() < Duration::from_millis(30) {}
        let window = Snapshot::take(std::process::id(), 30)
            .unwrap()
            .since(&before);
        assert_eq!(window.ops, 20);
        assert!(window.elapsed >= Duration::from_millis(30));
        // Other tests may share the process and the CPU: it had some of the time, if not all.
        assert!(window.cpu > Duration::from_millis(1));
        assert_eq!(window.cpu_ns_per_op(), window.cpu.as_nanos() as f64 / 20.0);
    }

    #[test]
    fn no_such_process_is_an_error_with_its_path() {
        let error = Usage::of(u32::MAX / 2).unwrap_err();
        assert!(format!("{error:#}").starts_with("cannot read /proc/2147483647/task"));
    }
}
