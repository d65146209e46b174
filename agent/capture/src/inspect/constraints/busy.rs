//! Who uses the CPUs: the times of all processes, twice.

use super::actor;
use remora_model::Busy;
use remora_process::proc_fs;
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

/// Processes that are read, about 10 µs each.
const MAX_READ: usize = 4096;
/// Time that one reading may take.
const TIME: Duration = Duration::from_millis(60);
/// Processes that are named.
const SHOWN: usize = 5;
/// Those that used less of a CPU are not.
const LEAST: f64 = 0.02;

/// CPU times, and when they were read.
pub(super) struct CpuTimes {
    at: Instant,
    /// By process and start: clock ticks.
    ticks: HashMap<(u32, u64), u64>,
}

impl CpuTimes {
    /// As they are now.
    pub(super) fn read() -> Self {
        let at = Instant::now();
        let processes = proc_fs::processes().unwrap_or_default();
        let ticks = processes
            .into_iter()
            .take(MAX_READ)
            .take_while(|_| at.elapsed() < TIME)
            .filter_map(|pid| {
                let stat = proc_fs::read(format!("/proc/{pid}/stat"), 4096).ok()?;
                let (start, ticks) = parse(&stat)?;
                Some(((pid, start), ticks))
            })
            .collect();
        Self { at, ticks }
    }

    /// Who used the most since.
    pub(super) fn busiest(&self) -> Vec<Busy> {
        let now = Self::read();
        let passed = now.at.duration_since(self.at).as_secs_f64();
        let a_second = rustix::param::clock_ticks_per_second() as f64;
        let mut busy: Vec<(f64, u32)> = now
            .ticks
            .iter()
            .filter_map(|(id, ticks)| {
                // One that came since has used all of it since.
                let before = self.ticks.get(id).copied().unwrap_or(0);
                let used = ticks.saturating_sub(before) as f64 / a_second;
                let cpus = used / passed.max(0.01);
                (cpus >= LEAST).then_some((cpus, id.0))
            })
            .collect();
        busy.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        busy.truncate(SHOWN);
        let named = busy.into_iter().map(|(cpus, pid)| Busy {
            actor: actor(pid),
            cpus,
        });
        named.collect()
    }
}

/// Start and CPU time of a process, from its `stat`: fields 22, 14 and 15 of proc_pid_stat(5).
fn parse(stat: &[u8]) -> Option<(u64, u64)> {
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start = fields.nth(6)?.parse().ok()?;
    Some((start, user.saturating_add(system)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_start_are_those_of_the_manual() {
        let stat = b"7 (a) b) R 1 2 3 4 5 6 7 8 9 10 140 150 16 17 18 19 20 21 2200 23\n";
        assert_eq!(parse(stat), Some((2200, 290)));
        assert_eq!(parse(b"7 (a) R 1"), None);
    }

    #[test]
    fn a_busy_process_is_seen() {
        let times = CpuTimes::read();
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let own = std::process::id();
        let busy = times.busiest();
        // The clock ticks a hundred times a second, and the machine may be full.
        assert!(
            busy.len() >= SHOWN || busy.iter().any(|busy| busy.actor.pid == own),
            "{busy:?}"
        );
    }
}
