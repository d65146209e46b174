//! What a frame of a stack costs the kernel side: the run time of the program that takes samples,
//! on a process without frame pointers that spins at a known depth.
//!
//! That program runs for whatever is on a CPU and leaves at once when that is no target. What that
//! costs is measured with a target that sleeps, and taken off.

use anyhow::{Context, Result, ensure};
use std::path::Path;

use super::{
    clock::Clock,
    pairs::Plan,
    profiler::Profiler,
    programs::{self, Cost, Statistics},
    report::UnwindCost,
    snapshot::Snapshot,
    stats::Spread,
    workload,
};

/// Calls between `main` and the leaf; the first is what the others are compared with.
const DEPTHS: [u32; 5] = [2, 5, 20, 60, 200];

/// Windows at each depth.
const WINDOWS: usize = 3;

/// Samples a second of CPU time.
const RATE_HZ: f64 = 99.0;

/// The program that takes samples, by its own name and, without `bpftool`, by its link's kind.
const SAMPLER: [&str; 2] = ["cpu_sample", "perf"];

/// Measures the project's own profiler at each depth.
///
/// # Errors
/// No sample in a window, or nothing that takes samples.
pub(super) fn per_unwind(
    profiler: &Profiler,
    plan: Plan,
    folder: &Path,
    clock: &Clock,
) -> Result<Vec<UnwindCost>> {
    let program = workload::compile("deep", folder)?;
    let asleep = workload::sleeper()?;
    let windows = windows(profiler, asleep.pid(), plan, folder, clock)?;
    let means = windows.iter().map(|one| one.run_ns / one.runs);
    let leave = Spread::of(&means.collect::<Vec<_>>()).context("nothing ran meanwhile")?;
    let mut costs: Vec<UnwindCost> = Vec::new();
    for depth in DEPTHS {
        let target = workload::deep(&program, depth)?;
        let windows = self::windows(profiler, target.pid(), plan, folder, clock);
        let windows = windows.with_context(|| format!("at depth {depth}"))?;
        let means = windows.iter().map(|one| one.ns_per_sample(leave.median));
        let ns_per_sample = Spread::of(&means.collect::<Vec<_>>());
        let ns_per_sample = ns_per_sample.context("the target was never on a CPU")?;
        let more = costs.first().map(|first| Growth {
            ns: ns_per_sample.median - first.ns_per_sample.median,
            frames: f64::from(depth - first.depth),
        });
        costs.push(UnwindCost {
            depth,
            ns_per_sample,
            ns_more: more.as_ref().map(|more| more.ns),
            ns_per_frame: more.map(|more| more.ns / more.frames),
        });
    }
    Ok(costs)
}

/// What a depth adds to the first one.
struct Growth {
    ns: f64,
    frames: f64,
}

/// What the sampler did in a window.
struct Window {
    /// For any process.
    runs: f64,
    run_ns: f64,
    /// Of them for the target, by its CPU time: of 300 samples it may be wrong by one.
    samples: f64,
}

impl Window {
    /// Time for a sample of the target, when the program leaves others in `leave_ns`; no number when
    /// it was never on a CPU, which a spread leaves out.
    fn ns_per_sample(&self, leave_ns: f64) -> f64 {
        let others = (self.runs - self.samples).max(0.0);
        (self.run_ns - others * leave_ns) / self.samples
    }
}

/// Watches a process for a few windows.
fn windows(
    profiler: &Profiler,
    target: u32,
    plan: Plan,
    folder: &Path,
    clock: &Clock,
) -> Result<Vec<Window>> {
    let attached = profiler.attach(target, folder, clock)?;
    let names = programs::names(attached.pid())?;
    let mut samplers = names.iter().filter(|(_, name)| is_sampler(name));
    let (&id, _) = samplers.next().context("no program takes samples")?;
    let statistics = Statistics::enable()?;
    let read = || -> Result<(Cost, Snapshot)> {
        let costs = programs::costs(attached.pid())?;
        let cost = costs.get(&id).copied().context("the program is gone")?;
        Ok((cost, Snapshot::take(target, 0)?))
    };
    let mut readings = vec![read()?];
    for _ in 0..WINDOWS {
        clock.sleep(plan.window)?;
        readings.push(read()?);
    }
    drop(statistics);
    attached.detach(clock)?;
    let windows = readings.windows(2).map(|pair| {
        let ((before, start), (after, end)) = (&pair[0], &pair[1]);
        ensure!(after.runs > before.runs, "no sample in a window");
        Ok(Window {
            runs: (after.runs - before.runs) as f64,
            run_ns: after.run_ns.saturating_sub(before.run_ns) as f64,
            samples: end.since(start).cpu.as_secs_f64() * RATE_HZ,
        })
    });
    windows.collect()
}

fn is_sampler(name: &str) -> bool {
    SAMPLER.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_for_others_are_taken_off() {
        let window = Window {
            runs: 200.0,
            run_ns: 100.0 * 2000.0 + 100.0 * 50.0,
            samples: 100.0,
        };
        assert_eq!(window.ns_per_sample(50.0), 2000.0);
        let asleep = Window {
            samples: 0.0,
            ..window
        };
        assert!(Spread::of(&[asleep.ns_per_sample(50.0)]).is_none());
    }
}
