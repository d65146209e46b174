//! Windows with and without a profiler, in turn, on one process.
//!
//! Off, on, off, on, … off: each window with a profiler stands between two without, and is
//! compared with their mean. Profilers take turns within a round, so that all of them meet the
//! same weather on the machine. Loading and detaching happen between the windows.

use anyhow::{Context, Result, ensure};
use std::{path::Path, time::Duration};

use super::{
    clock::Clock,
    profiler::Profiler,
    report::{Baseline, Missing, Ratio},
    snapshot::{Usage, Window},
    stats::{Spread, against_neighbours},
    workload::{Running, Workload},
};

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// Windows of the project's own profiler; the others have every second one.
    pub pairs: u32,
    /// Length of a window.
    pub window: Duration,
}

impl Plan {
    /// Whether a profiler has its turn in `round`.
    fn is_due(round: u32, is_own: bool) -> bool {
        is_own || round.is_multiple_of(2)
    }

    /// Windows of a profiler other than the project's own.
    pub(super) fn pairs_of_others(&self) -> u32 {
        self.pairs.div_ceil(2)
    }
}

/// What one workload showed.
pub(super) struct Comparison {
    /// The workload by itself.
    pub baseline: Baseline,
    /// With each profiler.
    pub ratios: Vec<Ratio>,
    /// Profilers that could not be measured on it.
    pub missing: Vec<Missing>,
}

/// Ratios of one profiler, a number a pair.
struct Series<'a> {
    profiler: &'a Profiler,
    throughput: Vec<f64>,
    cpu_per_op: Vec<f64>,
    own_cpu_pct: Vec<f64>,
    failure: Option<Missing>,
}

/// Measures `workload` with each of `profilers`.
///
/// # Errors
/// When the workload fails. A profiler that fails is left out from there on, and said.
pub(super) fn compare(
    workload: Workload,
    running: &mut Running,
    profilers: &[&Profiler],
    plan: Plan,
    folder: &Path,
    clock: &Clock,
) -> Result<Comparison> {
    let mut series: Vec<Series> = profilers
        .iter()
        .map(|profiler| Series::new(profiler))
        .collect();
    let mut baseline = vec![without(running, plan.window, clock)?];
    for round in 0..plan.pairs {
        for series in series.iter_mut().filter(|series| series.is_due(round)) {
            let on = with(series.profiler, running, plan.window, folder, clock);
            let after = without(running, plan.window, clock)?;
            let before = baseline.last().context("no window without a profiler")?;
            match on {
                Ok((on, own_cpu_pct)) => series.push(before, &on, &after, own_cpu_pct),
                Err(error) => series.fail(workload, &error),
            }
            baseline.push(after);
        }
    }
    summarise(workload, &baseline, series)
}

impl<'a> Series<'a> {
    fn new(profiler: &'a Profiler) -> Self {
        Self {
            profiler,
            throughput: Vec::new(),
            cpu_per_op: Vec::new(),
            own_cpu_pct: Vec::new(),
            failure: None,
        }
    }

    fn is_due(&self, round: u32) -> bool {
        self.failure.is_none() && Plan::is_due(round, self.profiler.tool.is_own())
    }

    fn fail(&mut self, workload: Workload, error: &anyhow::Error) {
        let what = format!("{} on {}", self.profiler.tool.name(), workload.name());
        self.failure = Some(Missing::new(what, error));
    }

    fn push(&mut self, before: &Window, on: &Window, after: &Window, own_cpu_pct: f64) {
        let (throughput, cpu_per_op) = against(before, on, after);
        self.throughput.push(throughput);
        self.cpu_per_op.push(cpu_per_op);
        self.own_cpu_pct.push(own_cpu_pct);
    }

    /// `None` if it has not been measured.
    fn ratio(&self, workload: Workload) -> Option<Ratio> {
        let tool = self.profiler.tool;
        Some(Ratio {
            workload: workload.name(),
            profiler: tool.name(),
            throughput: Spread::of(&self.throughput)?,
            cpu_per_op: Spread::of(&self.cpu_per_op)?,
            own_cpu_pct: Spread::of(&self.own_cpu_pct),
            aim: workload.aim().filter(|_| tool.is_own()),
        })
    }
}

/// A window of the workload alone.
pub(super) fn without(running: &mut Running, time: Duration, clock: &Clock) -> Result<Window> {
    let window = measure(running, time, clock)?;
    ensure!(
        window.ops > 0,
        "the workload did nothing in {} s",
        time.as_secs_f64()
    );
    Ok(window)
}

/// A window with `profiler` attached, and the profiler's own CPU time in percent of one CPU.
fn with(
    profiler: &Profiler,
    running: &mut Running,
    time: Duration,
    folder: &Path,
    clock: &Clock,
) -> Result<(Window, f64)> {
    let attached = profiler.attach(running.target(), folder, clock)?;
    let own = Usage::of(attached.pid())?.cpu;
    let window = measure(running, time, clock)?;
    let own = Usage::of(attached.pid())?.cpu.saturating_sub(own);
    attached.detach(clock)?;
    Ok((
        window,
        100.0 * own.as_secs_f64() / window.elapsed.as_secs_f64(),
    ))
}

fn measure(running: &mut Running, time: Duration, clock: &Clock) -> Result<Window> {
    let start = running.snapshot()?;
    clock.sleep(time)?;
    Ok(running.snapshot()?.since(&start))
}

fn summarise(workload: Workload, baseline: &[Window], series: Vec<Series>) -> Result<Comparison> {
    let alone = alone(workload, baseline)?;
    let ratios = series.iter().filter_map(|series| series.ratio(workload));
    let ratios = noise(workload, baseline)
        .into_iter()
        .chain(ratios)
        .collect();
    let missing = series
        .into_iter()
        .filter_map(|series| series.failure)
        .collect();
    Ok(Comparison {
        baseline: alone,
        ratios,
        missing,
    })
}

/// The workload by itself.
pub(super) fn alone(workload: Workload, baseline: &[Window]) -> Result<Baseline> {
    let spread = |of: fn(&Window) -> f64| {
        let values: Vec<f64> = baseline.iter().map(of).collect();
        Spread::of(&values).context("no window without a profiler")
    };
    Ok(Baseline {
        workload: workload.name(),
        operation: workload.operation(),
        ops_per_s: spread(Window::ops_per_s)?,
        cpu_ns_per_op: spread(Window::cpu_ns_per_op)?,
    })
}

/// The windows without a profiler against each other in the same way: what the figures of the
/// profilers would be if these did nothing. `None` if there are fewer than three.
pub(super) fn noise(workload: Workload, baseline: &[Window]) -> Option<Ratio> {
    let ratios = baseline
        .windows(3)
        .map(|three| against(&three[0], &three[1], &three[2]));
    let (throughput, cpu_per_op): (Vec<f64>, Vec<f64>) = ratios.unzip();
    Some(Ratio {
        workload: workload.name(),
        profiler: "none (noise)",
        throughput: Spread::of(&throughput)?,
        cpu_per_op: Spread::of(&cpu_per_op)?,
        own_cpu_pct: None,
        aim: None,
    })
}

/// Throughput and CPU time for an operation of a window, as ratios to its neighbours'.
pub(super) fn against(before: &Window, on: &Window, after: &Window) -> (f64, f64) {
    let ratio = |of: fn(&Window) -> f64| against_neighbours(of(before), of(on), of(after));
    (ratio(Window::ops_per_s), ratio(Window::cpu_ns_per_op))
}
