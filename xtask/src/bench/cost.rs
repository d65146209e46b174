//! What the kernel side of a profiler spends on a context switch.
//!
//! Apart from the windows of throughput, because the statistics that tell it cost time themselves.
//! All windows of a profiler are taken in one attachment.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use strum::IntoStaticStr;

use super::{
    clock::Clock,
    pairs::Plan,
    profiler::{Attached, Profiler},
    programs::{self, Costs, Statistics},
    report::{ProgramCost, SwitchCost},
    snapshot::{Snapshot, Window},
    stats::Spread,
    workload::{Running, Workload},
};

/// Windows a profiler.
const WINDOWS: usize = 3;

/// The most that remora should spend on a switch that is not its target's, in nanoseconds.
const AIM_OTHERS_NS: f64 = 150.0;

/// Whose context switches a workload consists of, seen from the profiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum Switches {
    /// The target's: divided by the switches of the target.
    #[strum(to_string = "target's")]
    Target,
    /// Others', while the target sleeps: divided by the switches of the whole machine.
    #[strum(to_string = "others'")]
    Others,
}

impl Switches {
    /// Those of `workload`, if it is made of them.
    pub fn of(workload: Workload) -> Option<Self> {
        match workload {
            Workload::PingPong => Some(Self::Target),
            Workload::Bystander => Some(Self::Others),
            _ => None,
        }
    }

    /// In tables.
    pub fn name(self) -> &'static str {
        self.into()
    }

    fn count(self, window: &Window) -> u64 {
        match self {
            Self::Target => window.switches,
            Self::Others => window.switches_everywhere,
        }
    }

    fn aim(self, profiler: &Profiler) -> Option<f64> {
        (self == Self::Others && profiler.tool.is_own()).then_some(AIM_OTHERS_NS)
    }
}

/// Measures `profiler` while `running` switches.
///
/// # Errors
/// When it holds no kernel program, or nothing switches.
pub(super) fn per_switch(
    switches: Switches,
    running: &mut Running,
    profiler: &Profiler,
    plan: Plan,
    folder: &Path,
    clock: &Clock,
) -> Result<SwitchCost> {
    let attached = profiler.attach(running.target(), folder, clock)?;
    let names = programs::names(attached.pid())?;
    ensure!(!names.is_empty(), "it holds no kernel program open");
    let statistics = Statistics::enable()?;
    let mut readings = vec![read(running, &attached)?];
    for _ in 0..WINDOWS {
        clock.sleep(plan.window)?;
        readings.push(read(running, &attached)?);
    }
    drop(statistics);
    attached.detach(clock)?;

    let mut ns_per_switch = Vec::new();
    for pair in readings.windows(2) {
        let (costs, count) = between(&pair[0], &pair[1], switches);
        ensure!(count > 0, "no context switch in a window");
        let run_ns: u64 = costs.values().map(|cost| cost.run_ns).sum();
        ns_per_switch.push(run_ns as f64 / count as f64);
    }
    let (costs, count) = between(&readings[0], &readings[WINDOWS], switches);
    let programs = costs.iter().map(|(id, cost)| ProgramCost {
        program: names
            .get(id)
            .cloned()
            .unwrap_or_else(|| format!("program {id}")),
        runs: cost.runs,
        run_ns: cost.run_ns,
        ns_per_run: (cost.runs > 0).then(|| cost.run_ns as f64 / cost.runs as f64),
        runs_per_switch: cost.runs as f64 / count as f64,
    });
    Ok(SwitchCost {
        profiler: profiler.tool.name(),
        switches: switches.name(),
        ns_per_switch: Spread::of(&ns_per_switch).context("no window")?,
        aim_ns: switches.aim(profiler),
        programs: programs.collect(),
    })
}

type Reading = (Snapshot, Costs);

fn read(running: &mut Running, attached: &Attached) -> Result<Reading> {
    Ok((running.snapshot()?, programs::costs(attached.pid())?))
}

/// What the programs cost between two readings, and the switches meanwhile.
fn between(start: &Reading, end: &Reading, switches: Switches) -> (Costs, u64) {
    let window = end.0.since(&start.0);
    (programs::since(&start.1, &end.1), switches.count(&window))
}
