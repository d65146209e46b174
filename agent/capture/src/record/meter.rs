//! What the capture itself costs. BPF run-time statistics cost about as much as a small program
//! does, so they are on for a tenth of a second in five, and the report says for how long.
//!
//! Switching them patches kernel code, which interrupts each CPU three times. Where CPUs are kept for somebody
//! (`isolcpus`, `nohz_full`) that is done at the beginning alone, where the hooks have just been patched in: nothing of
//! ours interrupts those CPUs from then on to the end. The cost of the hooks stands for the beginning then.

use remora_model::{Cpus, Overhead, ProgramCost};
use remora_probe::{Probe, StatisticsOn};
use remora_process::deadline::{self, Step, Subject};
use rustix::time::{ClockId, clock_gettime};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Beats from one measurement to the next.
const BEATS_APART: u32 = 5;

/// Length of a measurement.
const SLICE: Duration = Duration::from_millis(100);

/// Measures from its making to [`Meter::finish`].
pub(super) struct Meter {
    began: Instant,
    cpu_began: Duration,
    beat: u32,
    /// From the beginning of one measurement to the next, in beats; `None`: there is one.
    apart: Option<u32>,
    on: Option<On>,
    measured: Duration,
    programs: Vec<ProgramCost>,
}

/// Statistics are on: since when, and what they said then (another may have them on too).
struct On {
    statistics: StatisticsOn,
    since: Instant,
    before: Vec<ProgramCost>,
}

impl Meter {
    /// Starts, with statistics on: a short capture has its one measurement at its beginning, and so has one on a host
    /// that keeps CPUs for somebody (`kept`).
    pub(super) fn start(probe: &Probe, kept: &Cpus) -> Self {
        let mut meter = Self {
            began: Instant::now(),
            cpu_began: own_cpu(),
            beat: 0,
            apart: kept.is_empty().then_some(BEATS_APART),
            on: None,
            measured: Duration::ZERO,
            programs: Vec::new(),
        };
        meter.on(probe);
        meter
    }

    fn on(&mut self, probe: &Probe) {
        // Code is patched, which waits behind a CPU that is just going or coming.
        let enabled = deadline::run(Step::Statistics, Subject::Host, StatisticsOn::enable);
        let Some(enabled) = enabled else {
            self.apart = None;
            return;
        };
        self.on = enabled.ok().map(|statistics| On {
            statistics,
            before: probe.program_costs(),
            since: Instant::now(),
        });
    }

    /// Ends the present measurement.
    pub(super) fn off(&mut self, probe: &Probe) {
        let Some(On {
            statistics,
            since,
            before,
        }) = self.on.take()
        else {
            return;
        };
        self.measured += since.elapsed();
        for now in probe.program_costs() {
            let zero = ProgramCost {
                runs: 0,
                run_ns: 0,
                ..now.clone()
            };
            let before = before
                .iter()
                .find(|cost| cost.name == now.name)
                .unwrap_or(&zero);
            let delta = ProgramCost {
                runs: now.runs.saturating_sub(before.runs),
                run_ns: now.run_ns.saturating_sub(before.run_ns),
                name: now.name,
            };
            match self
                .programs
                .iter_mut()
                .find(|cost| cost.name == delta.name)
            {
                Some(sum) => {
                    sum.runs += delta.runs;
                    sum.run_ns += delta.run_ns;
                }
                None => self.programs.push(delta),
            }
        }
        let off = deadline::run(Step::Statistics, Subject::Host, move || drop(statistics));
        if off.is_none() {
            self.apart = None;
        }
    }

    /// When the present measurement is over, if one goes on.
    pub(super) fn over_at(&self) -> Option<Instant> {
        self.on.as_ref().map(|on| on.since + SLICE)
    }

    /// One beat has passed.
    pub(super) fn beat(&mut self, probe: &Probe) {
        self.beat += 1;
        if is_due(self.beat, self.apart) {
            self.on(probe);
        }
    }

    /// What it was, all in all.
    pub(super) fn finish(mut self, probe: &Probe) -> Overhead {
        self.off(probe);
        let hooks = self
            .programs
            .iter()
            .filter(|program| !is_iterator(&program.name));
        let run_ns: u64 = hooks.map(|program| program.run_ns).sum();
        let agent_cpu = own_cpu().saturating_sub(self.cpu_began);
        Overhead {
            bpf_cpu_pct: percent(Duration::from_nanos(run_ns), self.measured),
            bpf_measured_s: self.measured.as_secs_f64(),
            programs: self.programs,
            agent_cpu_pct: percent(agent_cpu, self.began.elapsed()),
            agent_rss_bytes: resident_peak_bytes(),
            bpf_map_bytes: probe.map_bytes(),
            unwind_bytes: 0,
            unwind_tables: 0,
            polls: None,
        }
    }
}

/// Whether a measurement begins with this beat.
fn is_due(beat: u32, apart: Option<u32>) -> bool {
    apart.is_some_and(|apart| beat.is_multiple_of(apart))
}

/// Iterators run in the agent's own reads, so their time is part of the agent's; and they run a few times,
/// so that a share of the time in which they were measured says nothing.
fn is_iterator(program: &str) -> bool {
    const ITERATORS: [&str; 5] = [
        "enlist_tasks",
        "blocked_tasks",
        "blocked_stacks",
        "sockets",
        "sockets_of_host",
    ];
    ITERATORS.contains(&program)
}

fn percent(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() {
        0.0
    } else {
        100.0 * part.as_secs_f64() / whole.as_secs_f64()
    }
}

fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

/// `VmHWM` of `/proc/self/status`; 0 when it cannot be read.
fn resident_peak_bytes() -> u64 {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_cpus_are_kept_for_somebody_nothing_is_switched_under_way() {
        let due = |apart| (1..=60).filter(move |beat| is_due(*beat, apart)).count();
        assert_eq!(due(Some(BEATS_APART)), 12);
        assert_eq!(due(None), 0);
    }
}
