//! `cargo xtask bench`: what remora costs those it watches, beside what others cost them.
//!
//! Nothing here passes or fails: the aims are printed beside the figures, and figures of different
//! machines or different runs are not compared. What is comparable is one run: every profiler on
//! the same processes, in turn, against the same processes alone.

mod child;
mod clock;
mod cost;
mod depth;
mod jitter;
mod pairs;
mod profiler;
mod programs;
mod report;
mod snapshot;
mod stats;
mod table;
mod triage;
mod workload;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use clock::Clock;
use cost::Switches;
use pairs::Plan;
use profiler::{Profiler, Signals, Tool};
use report::{Machine, Missing, Report};
use std::{
    fs,
    path::{self, Path, PathBuf},
    time::Duration,
};
use table::Style;
use tempfile::TempDir;
use workload::Workload;

/// Load average up to which a machine has the CPUs for the workloads alone.
const QUIET_LOAD: f64 = 0.5;

/// Options of `cargo xtask bench`.
#[derive(Args, Debug)]
pub(crate) struct BenchArgs {
    /// Measure these workloads only
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Workload>,

    /// Measure remora alone, without the other profilers
    #[arg(long)]
    no_others: bool,

    /// Measure remora with each of its four signals alone and with none, in place of the other profilers
    #[arg(long, conflicts_with = "no_others")]
    signals: bool,

    /// Measure what a look of `remora triage` costs a process with 1,000 threads and 10,000 sockets, and how soon
    /// it answers; nothing else
    #[arg(long, conflicts_with_all = ["only", "no_others", "signals"])]
    triage: bool,

    /// Measure the gaps that remora and perf make in the time of a thread that reads the clock in a loop on a CPU of its
    /// own, in so many rounds as --pairs says; nothing else
    #[arg(long, conflicts_with_all = ["only", "no_others", "signals", "triage"])]
    jitter: bool,

    /// Windows with remora for each workload; the others have half as many
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pairs: u32,

    /// Length of a window, in seconds
    #[arg(long, default_value_t = 3.0, value_parser = seconds)]
    seconds: f64,

    /// Two windows of one second: to see that it works, not for figures
    #[arg(long, conflicts_with_all = ["pairs", "seconds"])]
    quick: bool,

    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,

    /// The remora to measure [default: the release build]
    #[arg(long, value_name = "PROGRAM")]
    remora: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let is_sensible = (0.1..=600.0).contains(&seconds);
    is_sensible
        .then_some(seconds)
        .ok_or("must be between 0.1 and 600".to_owned())
}

impl BenchArgs {
    fn plan(&self) -> Plan {
        let (pairs, seconds) = if self.quick {
            (2, 1.0)
        } else {
            (self.pairs, self.seconds)
        };
        Plan {
            pairs,
            window: Duration::from_secs_f64(seconds),
        }
    }

    fn workloads(&self) -> &[Workload] {
        if self.only.is_empty() {
            &Workload::ALL
        } else {
            &self.only
        }
    }

    /// The release build beside this very program's own.
    fn remora(&self) -> Result<PathBuf> {
        if let Some(remora) = &self.remora {
            // It is started in another folder.
            return Ok(path::absolute(remora)?);
        }
        crate::build::build(false)
    }
}

/// Measures, writes the files that were asked for, and prints the tables.
///
/// # Errors
/// Not root, interrupted, or a file that cannot be written. Whatever else fails is left out of
/// the tables and named below them.
pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "bench attaches kernel programs: run it as root, or with sudo"
    );
    let clock = Clock::install()?;
    let folder = tempfile::Builder::new().prefix("remora-bench-").tempdir()?;
    let plan = args.plan();
    let mut bench = Bench::new(plan, &clock, &folder);
    let load = bench.report.machine.load_before;
    if load > QUIET_LOAD {
        eprintln!("bench: load average {load}: other work blurs throughput; CPU time/op stands");
    }
    if args.jitter {
        let (remora, report) = (args.remora()?, &mut bench.report);
        jitter::measure(&remora, plan, bench.folder, &clock, report)?;
        return write(args, &bench.report);
    }
    if args.triage {
        eprintln!("bench: remora triage on {}", Workload::Crowd.name());
        let (remora, report) = (args.remora()?, &mut bench.report);
        triage::measure(&remora, plan, bench.folder, &clock, report)?;
        return write(args, &bench.report);
    }
    let profilers = bench.profilers(args)?;
    ensure!(!profilers.is_empty(), "there is no profiler to measure");
    for &workload in args.workloads() {
        bench.workload(workload, &profilers)?;
    }
    if args.only.is_empty() {
        bench.depths(&profilers)?;
    }
    bench.set_relative_aim();
    write(args, &bench.report)
}

fn write(args: &BenchArgs, report: &Report) -> Result<()> {
    let json = serde_json::to_string_pretty(report)?;
    let markdown = table::render(report, Style::Markdown)?;
    for (path, text) in [(&args.json, json), (&args.markdown, markdown)] {
        if let Some(path) = path {
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    println!("{}", table::render(report, Style::Terminal)?);
    Ok(())
}

/// A run so far.
struct Bench<'a> {
    plan: Plan,
    clock: &'a Clock,
    folder: &'a Path,
    report: Report,
}

impl<'a> Bench<'a> {
    fn new(plan: Plan, clock: &'a Clock, folder: &'a TempDir) -> Self {
        let report = Report {
            machine: Machine::here(),
            method: plan.into(),
            baselines: Vec::new(),
            ratios: Vec::new(),
            switch_costs: Vec::new(),
            unwind_costs: Vec::new(),
            answers: Vec::new(),
            jitter: Vec::new(),
            missing: Vec::new(),
        };
        Self {
            plan,
            clock,
            folder: folder.path(),
            report,
        }
    }

    /// The profilers that are installed and work on this kernel.
    fn profilers(&mut self, args: &BenchArgs) -> Result<Vec<Profiler>> {
        let remora = args.remora()?;
        let mut usable = Vec::new();
        let signals = Signals::ALL.iter().copied().map(Tool::RemoraWith);
        let tools: Vec<Tool> = match (args.signals, args.no_others) {
            (true, _) => [Tool::Remora].into_iter().chain(signals).collect(),
            (false, true) => vec![Tool::Remora],
            (false, false) => Tool::ALL.to_vec(),
        };
        for tool in tools {
            eprintln!("bench: trying {}", tool.name());
            match Profiler::find(tool, &remora).and_then(|profiler| self.tried(profiler)) {
                Ok(profiler) => usable.push(profiler),
                Err(error) => self.miss(tool.name(), &error)?,
            }
        }
        Ok(usable)
    }

    /// Attaches it to a process that sleeps, so that what cannot work here is known at once.
    fn tried(&self, profiler: Profiler) -> Result<Profiler> {
        if !profiler.tool.is_for_python() {
            let target = workload::sleeper()?;
            profiler
                .attach(target.pid(), self.folder, self.clock)?
                .detach(self.clock)?;
        }
        Ok(profiler)
    }

    fn workload(&mut self, workload: Workload, profilers: &[Profiler]) -> Result<()> {
        eprintln!("bench: {}", workload.name());
        match self.measure(workload, profilers) {
            Ok(()) => Ok(()),
            Err(error) => self.miss(workload.name(), &error),
        }
    }

    fn measure(&mut self, workload: Workload, profilers: &[Profiler]) -> Result<()> {
        let fitting: Vec<&Profiler> = profilers
            .iter()
            .filter(|profiler| profiler.tool.fits(workload))
            .collect();
        let mut running = workload.start(self.folder, self.clock)?;
        let comparison = pairs::compare(
            workload,
            &mut running,
            &fitting,
            self.plan,
            self.folder,
            self.clock,
        )?;
        self.report.baselines.push(comparison.baseline);
        self.report.ratios.extend(comparison.ratios);
        self.report.missing.extend(comparison.missing);

        let Some(switches) = Switches::of(workload) else {
            return Ok(());
        };
        for profiler in fitting
            .into_iter()
            .filter(|profiler| profiler.tool.has_programs())
        {
            let (plan, clock) = (self.plan, self.clock);
            match cost::per_switch(switches, &mut running, profiler, plan, self.folder, clock) {
                Ok(cost) => self.report.switch_costs.push(cost),
                Err(error) => {
                    let (name, whose) = (profiler.tool.name(), switches.name());
                    self.miss(
                        &format!("kernel programs of {name}, {whose} switches"),
                        &error,
                    )?;
                }
            }
        }
        Ok(())
    }

    /// The project's own sampler on stacks of several depths.
    fn depths(&mut self, profilers: &[Profiler]) -> Result<()> {
        let Some(own) = profilers.iter().find(|profiler| profiler.tool.is_own()) else {
            return Ok(());
        };
        eprintln!("bench: stacks by depth");
        match depth::per_unwind(own, self.plan, self.folder, self.clock) {
            Ok(costs) => self.report.unwind_costs = costs,
            Err(error) => self.miss("stacks by depth", &error)?,
        }
        Ok(())
    }

    /// Notes what is missing; an interruption ends the run instead.
    fn miss(&mut self, what: &str, error: &anyhow::Error) -> Result<()> {
        if self.clock.interrupted() {
            bail!("interrupted");
        }
        eprintln!("bench: {what}: {error:#}");
        self.report.missing.push(Missing::new(what, error));
        Ok(())
    }

    /// A target's switch: at most a third of what libbpf-tools' offcputime spends in this run.
    fn set_relative_aim(&mut self) {
        let is = |cost: &report::SwitchCost, tool: Tool| {
            cost.switches == Switches::Target.name() && cost.profiler == tool.name()
        };
        let costs = &mut self.report.switch_costs;
        let other = costs.iter().find(|cost| is(cost, Tool::LibbpfOffcputime));
        let aim = other.map(|cost| cost.ns_per_switch.median / 3.0);
        if let Some(own) = costs.iter_mut().find(|cost| is(cost, Tool::Remora)) {
            own.aim_ns = aim;
        }
    }
}
