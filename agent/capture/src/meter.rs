//! What the capture itself costs. BPF run-time statistics cost about as much as a small program
//! does, so they are on for a tenth of a second in five, and the report says for how long.

use remora_model::{Overhead, ProgramCost};
use remora_probe::{Probe, StatisticsOn};
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
pub struct Meter {
    began: Instant,
    cpu_began: Duration,
    beat: u32,
    on: Option<On>,
    measured: Duration,
    programs: Vec<ProgramCost>,
}

/// Statistics are on: since when, and what they said then (another may have them on too).
struct On {
    _statistics: StatisticsOn,
    since: Instant,
    before: Vec<ProgramCost>,
}

impl Meter {
    /// Starts, with statistics on: a short capture has its one measurement at its beginning.
    pub fn start(probe: &Probe) -> Self {
        let mut meter = Self {
            began: Instant::now(),
            cpu_began: own_cpu(),
            beat: 0,
            on: None,
            measured: Duration::ZERO,
            programs: Vec::new(),
        };
        meter.on(probe);
        meter
    }

    fn on(&mut self, probe: &Probe) {
        self.on = StatisticsOn::enable().ok().map(|statistics| On {
            _statistics: statistics,
            before: probe.program_costs(),
            since: Instant::now(),
        });
    }

    /// Ends the present measurement.
    pub fn off(&mut self, probe: &Probe) {
        let Some(On {
            _statistics,
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
    }

    /// When the present measurement is over, if one goes on.
    pub fn over_at(&self) -> Option<Instant> {
        self.on.as_ref().map(|on| on.since + SLICE)
    }

    /// One beat has passed.
    pub fn beat(&mut self, probe: &Probe) {
        self.beat += 1;
        if self.beat.is_multiple_of(BEATS_APART) {
            self.on(probe);
        }
    }

    /// What it was, all in all.
    pub fn finish(mut self, probe: &Probe) -> Overhead {
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
