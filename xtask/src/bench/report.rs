//! The result as plain data; `--json` writes exactly this.

use serde::Serialize;
use std::{fs, thread};

use super::{jitter::Jitter, pairs::Plan, stats::Spread};

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Where.
    pub machine: Machine,
    /// How.
    pub method: Method,
    /// The workloads by themselves.
    pub baselines: Vec<Baseline>,
    /// The workloads with each profiler, against without.
    pub ratios: Vec<Ratio>,
    /// Kernel time for a context switch.
    pub switch_costs: Vec<SwitchCost>,
    /// Kernel time for a sample, by the depth of its stack.
    pub unwind_costs: Vec<UnwindCost>,
    /// How soon a look answers.
    pub answers: Vec<Answer>,
    /// What a thread that nobody may disturb loses.
    pub jitter: Vec<Jitter>,
    /// What could not be measured, and why.
    pub missing: Vec<Missing>,
}

/// The machine, as far as it matters for the figures.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    /// Kernel release.
    pub kernel: String,
    /// Model name of the first CPU.
    pub cpu: String,
    /// CPUs that the harness may use.
    pub cpus: usize,
    /// Whether the CPU says that it is virtual.
    pub is_virtual: bool,
    /// Mean number of threads that wanted to run in the minute before (`/proc/loadavg`): on a
    /// machine that has other work the throughput says little.
    pub load_before: f64,
}

impl Machine {
    /// This one; what cannot be read is `unknown`.
    pub(super) fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim())
        };
        let flags = field("flags").unwrap_or_default();
        let load = read("/proc/loadavg");
        Self {
            kernel: or_unknown(read("/proc/sys/kernel/osrelease").trim()),
            cpu: or_unknown(field("model name").unwrap_or_default()),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            is_virtual: flags.split_whitespace().any(|flag| flag == "hypervisor"),
            load_before: load
                .split_whitespace()
                .next()
                .and_then(|l| l.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() {
        "unknown".to_owned()
    } else {
        text.to_owned()
    }
}

/// The plan as it was carried out.
#[derive(Debug, Serialize)]
pub(super) struct Method {
    /// Windows with remora, for each workload.
    pub pairs: u32,
    /// Windows with each other profiler.
    pub pairs_of_others: u32,
    /// Length of a window.
    pub window_s: f64,
}

impl From<Plan> for Method {
    fn from(plan: Plan) -> Self {
        Self {
            pairs: plan.pairs,
            pairs_of_others: plan.pairs_of_others(),
            window_s: plan.window.as_secs_f64(),
        }
    }
}

/// A workload without any profiler.
#[derive(Debug, Serialize)]
pub(super) struct Baseline {
    /// Name.
    pub workload: &'static str,
    /// What is counted.
    pub operation: &'static str,
    /// Operations a second.
    pub ops_per_s: Spread,
    /// CPU time of the process for an operation, in nanoseconds.
    pub cpu_ns_per_op: Spread,
}

/// A workload with a profiler, against itself without: 1 is no cost.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    /// Name.
    pub workload: &'static str,
    /// Name, or that there was none.
    pub profiler: &'static str,
    /// Throughput, with to without: less than 1 is a loss.
    pub throughput: Spread,
    /// CPU time of the process for an operation, with to without: more than 1 is a loss.
    pub cpu_per_op: Spread,
    /// CPU time of the profiler's own process, in percent of one CPU.
    pub own_cpu_pct: Option<Spread>,
    /// The throughput that the project aims at, for its own profiler.
    pub aim: Option<f64>,
}

/// Run time of a profiler's kernel programs for a context switch.
#[derive(Debug, Serialize)]
pub(super) struct SwitchCost {
    /// Name.
    pub profiler: &'static str,
    /// Whose context switches.
    pub switches: &'static str,
    /// All programs together, in nanoseconds.
    pub ns_per_switch: Spread,
    /// The most that the project aims at, for its own profiler.
    pub aim_ns: Option<f64>,
    /// Each program.
    pub programs: Vec<ProgramCost>,
}

/// Run time of the project's own sampler on a stack of a known depth.
#[derive(Debug, Serialize)]
pub(super) struct UnwindCost {
    /// Calls below `main`.
    pub depth: u32,
    /// A sample, its stack and all, in nanoseconds.
    pub ns_per_sample: Spread,
    /// That less a sample of the least depth.
    pub ns_more: Option<f64>,
    /// The difference for each frame more.
    pub ns_per_frame: Option<f64>,
}

/// Looks of `remora triage`, from the start of the command to its end.
#[derive(Debug, Serialize)]
pub(super) struct Answer {
    /// Name.
    pub workload: &'static str,
    /// Until the verdict was there, in seconds; of it three are the look itself.
    pub elapsed_s: Spread,
    /// CPU time of the command, in seconds.
    pub own_cpu_s: Spread,
    /// The most that the project aims at, in seconds.
    pub aim_s: f64,
}

/// One kernel program over all windows.
#[derive(Debug, Serialize)]
pub(super) struct ProgramCost {
    /// Name.
    pub program: String,
    /// Runs.
    pub runs: u64,
    /// Time in them, in nanoseconds.
    pub run_ns: u64,
    /// Mean, in nanoseconds; none if it never ran.
    pub ns_per_run: Option<f64>,
    /// Runs for a context switch.
    pub runs_per_switch: f64,
}

/// Something that is not in the tables.
#[derive(Debug, Serialize)]
pub(super) struct Missing {
    /// Profiler, workload, or the one on the other.
    pub what: String,
    /// Why.
    pub reason: String,
}

impl Missing {
    /// `what` is not in the tables because of `error`.
    pub(super) fn new(what: impl Into<String>, error: &anyhow::Error) -> Self {
        Self {
            what: what.into(),
            reason: format!("{error:#}"),
        }
    }
}
