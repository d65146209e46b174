//! `remora triage --pid P`: a short look, and the verdict in words.

use super::{
    CANNOT_OBSERVE, FAILED, FOUND, Failure, UNCLEAR, USAGE, interrupt,
    output::{self, Status},
    record::raise_open_files,
    tasks, units,
};
use crate::{
    analyze::{self, Heartbeat, MAX_HEARTBEATS},
    capture::{self, Plan, Progress},
    model::{Capture, Report, Verdict, recording},
    preflight,
    probe::{self, ProbeError},
    report::{
        json,
        terminal::{self, Look},
    },
    target::Selection,
};
use anyhow::anyhow;
use std::{path::PathBuf, time::Duration};
use tokio::sync::Notify;

/// The end of `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 healthy, idle or unclear, 10 something is wrong, 11 unclear (with --strict), 1 it could not be \
    written, 2 usage, 3 cannot observe (no such process, no privileges, a kernel that refuses). With --tasks: 0, 1, 2, 3.";

/// What to look at, and how to print it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Processes to look at, by their pid on this host: one or several, separated by commas
    #[arg(short, long, value_name = "PID", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..))]
    pid: Vec<u32>,
    /// All processes of this name, as in /proc/PID/comm
    #[arg(long, value_name = "NAME")]
    comm: Option<String>,
    /// Their children too
    #[arg(long)]
    children: bool,
    /// How long to look: seconds, or with a unit
    #[arg(short, long, value_name = "TIME", default_value = "3s", value_parser = units::duration,
          allow_negative_numbers = true)]
    duration: Duration,
    /// Judge by another threshold than the default: loop-blocked=2s, say (docs/findings.md has them)
    #[arg(long = "threshold", value_name = "NAME=VALUE")]
    thresholds: Vec<String>,
    /// What has to move, and how often: thread=NAME,every=300s, socket=PORT,every=5s or socket=fd:9,every=5s
    #[arg(long = "heartbeat", value_name = "WHAT,every=TIME")]
    heartbeats: Vec<Heartbeat>,
    /// The asyncio tasks instead (CPython 3.8 to 3.13): state, what each awaits, where
    #[arg(long)]
    tasks: bool,
    /// With --tasks: the whole stack of each task
    #[arg(long, requires = "tasks")]
    stacks: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Exit with 11 where it is unclear whether something is wrong
    #[arg(long)]
    strict: bool,
    /// Keep what was seen, for a test of the analyzers
    #[arg(long, hide = true, value_name = "FILE")]
    recording: Option<PathBuf>,
}

/// Looks, prints, and says by the exit code whether something is wrong.
pub fn run(args: Args) -> Result<u8, Failure> {
    if args.tasks {
        let [pid] = args.pid[..] else {
            let one = anyhow!("--tasks looks at one process: name it with --pid PID");
            return Err(Failure::new(USAGE, one));
        };
        let (stacks, json) = (args.stacks, args.json);
        return tasks::run(tasks::Look { pid, stacks, json }).map(|()| 0);
    }
    if args.pid.is_empty() && args.comm.is_none() {
        let missing = anyhow!("no target: name one with --pid PID or --comm NAME");
        return Err(Failure::new(USAGE, missing));
    }
    let thresholds = units::thresholds(&args.thresholds)
        .map_err(|error| Failure::new(USAGE, anyhow::Error::msg(error)))?;
    if args.heartbeats.len() > MAX_HEARTBEATS {
        let many = anyhow!(
            "{} heartbeats: at most {MAX_HEARTBEATS} can be declared",
            args.heartbeats.len()
        );
        return Err(Failure::new(USAGE, many));
    }
    if !probe::has_kernel_side() {
        return Err(Failure::new(CANNOT_OBSERVE, ProbeError::NoKernelSide));
    }
    let interrupt = interrupt::listen()?;
    preflight::check().map_err(|problems| Failure::new(CANNOT_OBSERVE, problems))?;
    raise_open_files();
    let capture = look(&args, &interrupt)?;
    if let Some(path) = &args.recording {
        let text = recording::write(&capture).map_err(|error| Failure::new(FAILED, error))?;
        std::fs::write(path, text).map_err(|error| Failure::new(FAILED, error))?;
    }
    let judgement = analyze::judge_with(&capture, &thresholds, &args.heartbeats);
    let code = exit_code(judgement.verdict, args.strict);
    print(&args, &Report::new(capture, judgement))?;
    Ok(code)
}

/// What the shell is told.
const fn exit_code(verdict: Verdict, strict: bool) -> u8 {
    match verdict {
        Verdict::Sick(_) => FOUND,
        Verdict::Unclear if strict => UNCLEAR,
        Verdict::Unclear | Verdict::Healthy | Verdict::Idle => 0,
    }
}

fn look(args: &Args, interrupt: &Notify) -> Result<Capture, Failure> {
    let selection = Selection {
        pids: args.pid.clone(),
        comm: args.comm.clone(),
        children: args.children,
    };
    let plan = Plan {
        related: true,
        ..Plan::new(selection, args.duration)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, error))?;
    runtime.block_on(async {
        let mut status = Status::new();
        let duration = humantime::format_duration(args.duration);
        let show = |progress: Progress<'_>| match progress {
            Progress::Recording { threads, .. } => {
                status.show(&format!("looking at {threads} thread(s) for {duration}"));
            }
            Progress::Beat { elapsed } => {
                status.show(&format!("{:.0} s of {duration}", elapsed.as_secs_f64()));
            }
            Progress::Window(_) => {}
            Progress::Note(text) => output::complain(text),
            Progress::Naming => status.show("looking up names"),
        };
        capture::record(&plan, interrupt.notified(), show)
            .await
            .map_err(|error| Failure::new(CANNOT_OBSERVE, error))
    })
}

fn print(args: &Args, report: &Report) -> Result<(), Failure> {
    let text = if args.json {
        json::verdict(report).map_err(|error| Failure::new(FAILED, error))?
    } else {
        let look = Look {
            width: output::width().unwrap_or(Look::default().width),
            colour: output::wants_colour(),
            unicode: output::wants_unicode(),
        };
        terminal::verdict(report, look).into_bytes()
    };
    output::print(&text)
        .map_err(|error| Failure::new(FAILED, anyhow!("cannot write to standard output: {error}")))
}
