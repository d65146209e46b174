//! `cargo xtask bench --triage`: how soon a look of `remora triage` answers for a large process, and what the
//! process loses by it.
//!
//! A window with the look lasts from the start of the command to its end: loading, looking, naming, judging. It stands
//! between two without, as in [`super::pairs`].

use anyhow::{Context, Result, ensure};
use procfs::process::Process as Stat;
use std::{path::Path, process::Command, time::Duration};

use super::{
    child::Process,
    clock::Clock,
    pairs::{self, Plan},
    report::{Answer, Report},
    snapshot::Window,
    stats::Spread,
    workload::{Running, Workload},
};

/// A look that takes longer than this has hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// The exit code of a healthy verdict.
const HEALTHY: Option<i32> = Some(0);

/// What one look did.
struct Look {
    window: Window,
    /// Of the command and what it started.
    own_cpu: Duration,
}

/// Measures looks at the crowd, and puts them into the report.
///
/// # Errors
/// The workload or the command fails, or the verdict is not that it is healthy.
pub(super) fn measure(
    remora: &Path,
    plan: Plan,
    folder: &Path,
    clock: &Clock,
    report: &mut Report,
) -> Result<()> {
    let mut running = Workload::Crowd.start(folder, clock)?;
    // The first one reads files from the disk that the others find in memory.
    look(remora, &mut running, clock)?;
    let mut baseline = vec![pairs::without(&mut running, plan.window, clock)?];
    let mut looks = Vec::new();
    for _ in 0..plan.pairs {
        looks.push(look(remora, &mut running, clock)?);
        baseline.push(pairs::without(&mut running, plan.window, clock)?);
    }
    let ratios = looks.iter().zip(baseline.windows(2));
    let (throughput, cpu_per_op): (Vec<f64>, Vec<f64>) = ratios
        .map(|(look, around)| pairs::against(&around[0], &look.window, &around[1]))
        .unzip();
    let own_cpu_pct = |look: &Look| 100.0 * share(look.own_cpu, look.window.elapsed);
    let spread = |values: Vec<f64>| Spread::of(&values).context("no look");
    report
        .baselines
        .push(pairs::alone(Workload::Crowd, &baseline)?);
    report
        .ratios
        .extend(pairs::noise(Workload::Crowd, &baseline));
    report.ratios.push(super::report::Ratio {
        workload: Workload::Crowd.name(),
        profiler: "remora triage",
        throughput: spread(throughput)?,
        cpu_per_op: spread(cpu_per_op)?,
        own_cpu_pct: Spread::of(&looks.iter().map(own_cpu_pct).collect::<Vec<_>>()),
        aim: None,
    });
    report.answers.push(Answer {
        workload: Workload::Crowd.name(),
        elapsed_s: spread(
            looks
                .iter()
                .map(|it| it.window.elapsed.as_secs_f64())
                .collect(),
        )?,
        own_cpu_s: spread(looks.iter().map(|it| it.own_cpu.as_secs_f64()).collect())?,
        aim_s: 5.0,
    });
    Ok(())
}

fn share(part: Duration, whole: Duration) -> f64 {
    part.as_secs_f64() / whole.as_secs_f64()
}

fn look(remora: &Path, running: &mut Running, clock: &Clock) -> Result<Look> {
    let pid = running.target().to_string();
    let cpu = cpu_of_children()?;
    let start = running.snapshot()?;
    let mut command =
        Process::start(Command::new(remora).args(["triage", "--json", "--pid", &pid]))?;
    let mut status = None;
    clock.until(PATIENCE, "the verdict", || {
        status = command.ended()?;
        Ok(status.is_some())
    })?;
    let window = running.snapshot()?.since(&start);
    let code = status.and_then(|status| status.code());
    ensure!(
        code == HEALTHY,
        "the verdict on a healthy process ends with {code:?}: {}",
        command.complaint()
    );
    let own_cpu = cpu_of_children()?.saturating_sub(cpu);
    Ok(Look { window, own_cpu })
}

/// CPU time of all children that have ended, in ticks of the kernel.
fn cpu_of_children() -> Result<Duration> {
    let stat = Stat::myself()?.stat()?;
    let ticks = (stat.cutime + stat.cstime).max(0) as f64;
    Ok(Duration::from_secs_f64(
        ticks / procfs::ticks_per_second() as f64,
    ))
}
