//! `remora triage --pid P`: a short capture, and the verdict.

use super::{
    CANNOT_OBSERVE, FAILED, FOUND, Failure, UNCLEAR, USAGE, cpus, interrupt,
    output::{self, Status},
    record::raise_open_files,
    tasks, units,
};
use crate::preflight;
use anyhow::anyhow;
use remora_analyze::{self as analyze, Heartbeat, MAX_HEARTBEATS};
use remora_capture::{self as capture, Plan, Progress};
use remora_model::display::text::counted;
use remora_model::{Capture, Report, Verdict, recording};
use remora_probe::{self as probe, ProbeError};
use remora_process::Selection;
use remora_process::deadline::{self, Step, Subject};
use remora_report::{
    json,
    terminal::{self, RenderOptions},
};
use std::{io, path::PathBuf, time::Duration};
use tokio::sync::Notify;

/// The end of `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes:\n  0   healthy, idle or unclear\n  10  a finding\n  11  unclear (with --strict)\n  \
    1   the result could not be written\n  2   wrong usage\n  3   cannot observe (no such process, no privileges, the kernel refuses)\n\
    With --tasks: 0, 1, 2 or 3.";

/// What to watch, and how to print the result.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Processes to watch: IDs as the host sees them, comma-separated
    #[arg(help_heading = "Target", short, long, value_name = "PID", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// Watch all processes that have this name (/proc/PID/comm) at the start
    #[arg(help_heading = "Target", long, value_name = "NAME")]
    comm: Option<String>,
    /// Include child processes, existing and new
    #[arg(help_heading = "Target", long)]
    children: bool,
    /// Length of the capture: seconds, or with a unit
    #[arg(help_heading = "Time", short, long, value_name = "TIME", default_value = "3s", value_parser = units::duration,
          allow_negative_numbers = true)]
    duration: Duration,
    #[command(flatten)]
    cpus: cpus::SampledCpus,
    /// Override a threshold, e.g. loop-blocked=2s (repeatable; names: docs/findings.md)
    #[arg(
        help_heading = "Findings",
        long = "threshold",
        value_name = "NAME=VALUE"
    )]
    thresholds: Vec<String>,
    /// Report a thread or socket that is silent for longer than TIME (repeatable), such as
    /// thread=NAME,every=300s, socket=PORT,every=5s or socket=fd:9,every=5s
    #[arg(
        help_heading = "Findings",
        long = "heartbeat",
        value_name = "WHAT,every=TIME"
    )]
    heartbeats: Vec<Heartbeat>,
    /// List asyncio tasks instead (CPython 3.8 to 3.13): state, awaited object, location
    #[arg(help_heading = "Output", long)]
    tasks: bool,
    /// With --tasks: show full stacks
    #[arg(help_heading = "Output", long, requires = "tasks")]
    stacks: bool,
    /// Print the result as JSON
    #[arg(help_heading = "Output", long)]
    json: bool,
    /// Exit with 11 if the verdict is unclear
    #[arg(help_heading = "Output", long)]
    strict: bool,
    /// Keep what was seen, for a test of the analyzers
    #[arg(long, hide = true, value_name = "FILE")]
    recording: Option<PathBuf>,
}

/// Captures, prints the verdict; the exit code says whether there is a finding.
pub(super) fn run(args: Args) -> Result<u8, Failure> {
    if args.tasks {
        let [pid] = args.pid[..] else {
            let one = anyhow!("--tasks needs one process: name it with --pid PID");
            return Err(Failure::new(USAGE, one));
        };
        let (stacks, json) = (args.stacks, args.json);
        return tasks::run(tasks::Options { pid, stacks, json }).map(|()| 0);
    }
    if args.pid.is_empty() && args.comm.is_none() {
        let missing = anyhow!("no target: name one with --pid PID or --comm NAME");
        return Err(Failure::new(USAGE, missing));
    }
    let thresholds = units::thresholds(&args.thresholds)
        .map_err(|error| Failure::new(USAGE, anyhow::Error::msg(error)))?;
    if args.heartbeats.len() > MAX_HEARTBEATS {
        let many = anyhow!(
            "{} heartbeats: at most {MAX_HEARTBEATS} can be set",
            args.heartbeats.len()
        );
        return Err(Failure::new(USAGE, many));
    }
    let plan = args.plan()?;
    if !probe::has_kernel_side() {
        return Err(Failure::new(CANNOT_OBSERVE, ProbeError::NoKernelSide));
    }
    let interrupt = interrupt::listen()?;
    preflight::check().map_err(|problems| Failure::new(CANNOT_OBSERVE, problems))?;
    raise_open_files();
    let capture = watch(&args, &plan, &interrupt)?;
    if let Some(path) = &args.recording {
        let text = recording::write(&capture).map_err(|error| Failure::new(FAILED, error))?;
        keep(path.clone(), text)?;
    }
    let judgement = analyze::judge_with(&capture, &thresholds, &args.heartbeats);
    let code = exit_code(judgement.verdict, args.strict);
    print(&args, &Report::new(capture, judgement))?;
    Ok(code)
}

/// Writes a recording. The file may lie where nobody answers.
fn keep(path: PathBuf, text: impl AsRef<[u8]> + Send + 'static) -> Result<(), Failure> {
    let kept = deadline::run(Step::Report, Subject::Host, move || {
        std::fs::write(path, text)
    });
    let kept = kept.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into()));
    kept.map_err(|error| Failure::new(FAILED, error))
}

/// What the shell is told.
const fn exit_code(verdict: Verdict, strict: bool) -> u8 {
    match verdict {
        Verdict::Sick(_) => FOUND,
        Verdict::Unclear if strict => UNCLEAR,
        Verdict::Unclear | Verdict::Healthy | Verdict::Idle => 0,
    }
}

impl Args {
    fn plan(&self) -> Result<Plan, Failure> {
        let selection = Selection {
            pids: self.pid.clone(),
            comm: self.comm.clone(),
            children: self.children,
            workers: !self.children,
        };
        Ok(Plan {
            related: true,
            cpus: self.cpus.choice()?,
            ..Plan::new(selection, self.duration)
        })
    }
}

fn watch(args: &Args, plan: &Plan, interrupt: &Notify) -> Result<Capture, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, error))?;
    runtime.block_on(async {
        let mut status = Status::new();
        let duration = humantime::format_duration(args.duration);
        let show = |progress: Progress<'_>| match progress {
            Progress::Recording { threads, .. } => {
                status.show(&format!(
                    "watching {} for {duration}",
                    counted(threads as u64, "thread")
                ));
            }
            Progress::Beat { elapsed } => {
                status.show(&format!("{:.0} s of {duration}", elapsed.as_secs_f64()));
            }
            Progress::Window(_) => {}
            Progress::Note(text) => output::complain(text),
            Progress::Naming => status.show("resolving symbols"),
        };
        capture::record(plan, interrupt.notified(), show)
            .await
            .map_err(|error| Failure::new(CANNOT_OBSERVE, error))
    })
}

fn print(args: &Args, report: &Report) -> Result<(), Failure> {
    let text = if args.json {
        json::verdict(report).map_err(|error| Failure::new(FAILED, error))?
    } else {
        let options = RenderOptions {
            width: output::width().unwrap_or(RenderOptions::default().width),
            colour: output::wants_colour(),
            unicode: output::wants_unicode(),
        };
        terminal::verdict(report, options).into_bytes()
    };
    output::print(&text)
        .map_err(|error| Failure::new(FAILED, anyhow!("cannot write to standard output: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::FindingKind;

    #[test]
    fn what_is_unclear_is_a_code_of_its_own_where_that_is_asked_for() {
        let codes = |verdict| (exit_code(verdict, false), exit_code(verdict, true));
        assert_eq!(codes(Verdict::Healthy), (0, 0));
        assert_eq!(codes(Verdict::Idle), (0, 0));
        assert_eq!(codes(Verdict::Unclear), (0, 11));
        assert_eq!(codes(Verdict::Sick(FindingKind::LockStuck)), (10, 10));
    }
}
