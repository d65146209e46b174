//! `remora --pid P`, `remora record --pid P`: one capture, one report.

use super::{
    CANNOT_OBSERVE, FAILED, Failure, USAGE, cpus, interrupt,
    output::{self, Status},
    stream::Stream,
    units,
};
use crate::folder::Folder;
use crate::preflight;
use bytesize::ByteSize;
use clap::ValueEnum;
use remora_analyze as analyze;
use remora_capture::{self as capture, HeapPlan, Keep, Plan, Progress, PythonMode};
use remora_model::display::text::counted;
use remora_model::{Capture, Report};
use remora_probe::{
    self as probe, DEFAULT_FAULT_PERIOD, ExactHook, FaultHook, LoopHook, ProbeError, WaitHook,
};
use remora_process::deadline::{self, Step, Subject};
use remora_process::{self as process, Selection};
use remora_report::{
    self as report, Options, Written, default_name,
    terminal::{self, RenderOptions},
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;

/// The end of `--help`.
pub(super) const EXIT_CODES: &str = "Exit codes:\n  0  recorded\n  1  the report could not be written\n  2  wrong usage\n  \
    3  cannot observe (no such process, no privileges, the kernel refuses)\n\
    Ctrl-C ends the capture early and still writes the report. A second Ctrl-C quits.";

/// What to record and where to put it.
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
    /// Length of the capture: seconds, or with a unit (500ms, 10m, 1h)
    #[arg(help_heading = "Time", short, long, value_name = "TIME", default_value = "30s", value_parser = units::duration,
          allow_negative_numbers = true)]
    duration: Duration,
    /// CPU sample rate, Hz per CPU
    #[arg(help_heading = "CPU and stacks", short, long, value_name = "HZ", default_value = "99", allow_negative_numbers = true,
          value_parser = clap::value_parser!(u32).range(1..=4999))]
    freq: u32,
    #[command(flatten)]
    cpus: cpus::SampledCpus,
    /// Record stacks of waits at least this long; shorter waits are only counted
    #[arg(help_heading = "CPU and stacks", long, value_name = "TIME", default_value = "1ms", value_parser = units::min_block,
          allow_hyphen_values = true)]
    min_block: Duration,
    /// Include idle waits in the flamegraphs
    #[arg(help_heading = "CPU and stacks", long)]
    idle: bool,
    /// Hook that takes off-CPU stacks
    #[arg(
        help_heading = "CPU and stacks",
        long,
        value_name = "HOOK",
        default_value = "auto"
    )]
    stack_hook: StackHook,
    /// Kernel memory limit for unwind tables; least-used tables are evicted
    #[arg(help_heading = "CPU and stacks", long, value_name = "SIZE", default_value = "128MiB", value_parser = units::unwind_memory)]
    unwind_memory: ByteSize,
    /// Show Python functions instead of interpreter internals
    #[arg(
        help_heading = "CPU and stacks",
        long,
        value_name = "WHEN",
        default_value = "auto"
    )]
    python: Python,
    /// How to measure event-loop iterations
    #[arg(
        help_heading = "Event loops",
        long = "loop",
        value_name = "HOW",
        default_value = "auto"
    )]
    event_loop: EventLoop,
    /// An iteration at least this long is late
    #[arg(help_heading = "Event loops", long = "loop-late", value_name = "TIME", default_value = "100ms", value_parser = units::late,
          allow_hyphen_values = true)]
    late: Duration,
    /// Length of a window of the timeline
    #[arg(help_heading = "Timeline", long, value_name = "TIME", default_value = "1s", value_parser = units::window,
          allow_hyphen_values = true)]
    window: Duration,
    /// Keep single windows for this long, then merge them
    #[arg(help_heading = "Timeline", long, value_name = "TIME", default_value = "10m", value_parser = units::duration,
          allow_hyphen_values = true)]
    keep: Duration,
    /// Write each window to FILE when it ends, one JSON line each
    #[arg(help_heading = "Timeline", long, value_name = "FILE")]
    jsonl: Option<PathBuf>,
    /// Socket sample rate in Hz (0: off)
    #[arg(help_heading = "Sockets", long, value_name = "HZ", default_value = "2", value_parser = units::socket_hz,
          allow_negative_numbers = true)]
    socket_hz: f64,
    /// Record the stack of 1 in N page faults of a thread that has many (0: off)
    #[arg(help_heading = "Memory", long, value_name = "N", default_value_t = DEFAULT_FAULT_PERIOD,
          value_parser = clap::value_parser!(u32).range(..=1_000_000),
          allow_negative_numbers = true)]
    fault_period: u32,
    /// Hook that sees page faults
    #[arg(
        help_heading = "Memory",
        long,
        value_name = "HOOK",
        default_value = "auto"
    )]
    fault_hook: FaultHookArg,
    /// Find unfreed allocations by stack. PATCHES the target (uprobes): each malloc and free gets slower
    #[arg(help_heading = "Memory", long)]
    heap: bool,
    /// With --heap: stop tracking after TIME
    #[arg(help_heading = "Memory", long, value_name = "TIME", default_value = "30s", value_parser = units::duration,
          allow_negative_numbers = true)]
    heap_for: Duration,
    /// With --heap: stop tracking if it slows the target down by more than this
    #[arg(help_heading = "Memory", long, value_name = "PERCENT", default_value = "20%", value_parser = units::heap_budget,
          allow_negative_numbers = true)]
    heap_budget: f64,
    /// With --heap: average bytes from one sampled allocation to the next (0: sample each)
    #[arg(help_heading = "Memory", long, value_name = "SIZE", default_value = "16KiB", value_parser = units::heap_sample)]
    heap_sample: ByteSize,
    /// Override a threshold, e.g. loop-blocked=2s (repeatable; names: docs/findings.md)
    #[arg(
        help_heading = "Findings",
        long = "threshold",
        value_name = "NAME=VALUE"
    )]
    thresholds: Vec<String>,
    /// Folder for the report, new or empty [default: remora-NAME-PID-TIME]
    #[arg(help_heading = "Output", short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the result as JSON
    #[arg(help_heading = "Output", long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Python {
    /// If a supported interpreter is found
    Auto,
    /// Required: fail without a supported interpreter
    On,
    /// Native frames only
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EventLoop {
    /// Exact where fexit or kretprobe work, else blocked
    Auto,
    /// Every iteration; without fexit or kretprobe this slows every system call of the host
    Exact,
    /// Between waits that block; durations are upper bounds
    Blocked,
    /// Do not measure
    Off,
    /// Exactly, by these and nothing else: for tests
    #[value(hide = true)]
    Fexit,
    #[value(hide = true)]
    Kretprobe,
    #[value(hide = true)]
    SysEnter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FaultHookArg {
    /// Best available
    Auto,
    /// Software perf event: 1 in N faults of each CPU
    Counter,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum StackHook {
    /// Best available
    Auto,
    /// When the thread runs again, at tp_btf/sched_exit_tp (Linux 6.16 and later)
    Exit,
    /// When the thread runs again, at finish_task_switch (fentry or kprobe)
    Finish,
    /// When the thread leaves its CPU, for 1 of 8 waits
    Switch,
}

impl Args {
    fn plan(&self) -> Result<Plan, Failure> {
        Ok(Plan {
            selection: Selection {
                pids: self.pid.clone(),
                comm: self.comm.clone(),
                children: self.children,
                workers: false,
            },
            duration: self.duration,
            freq_hz: self.freq,
            cpus: self.cpus.choice()?,
            min_block: self.min_block,
            wait_hook: match self.stack_hook {
                StackHook::Auto => WaitHook::Auto,
                StackHook::Exit => WaitHook::Exit,
                StackHook::Finish => WaitHook::Finish,
                StackHook::Switch => WaitHook::Switch,
            },
            unwind_bytes: self.unwind_memory.as_u64(),
            python: match self.python {
                Python::Auto => PythonMode::Auto,
                Python::On => PythonMode::On,
                Python::Off => PythonMode::Off,
            },
            loops: match self.event_loop {
                EventLoop::Auto => LoopHook::Auto,
                EventLoop::Exact => LoopHook::Exact,
                EventLoop::Blocked => LoopHook::Blocked,
                EventLoop::Off => LoopHook::Off,
                EventLoop::Fexit => LoopHook::Only(ExactHook::Fexit),
                EventLoop::Kretprobe => LoopHook::Only(ExactHook::Kretprobe),
                EventLoop::SysEnter => LoopHook::Only(ExactHook::SysEnter),
            },
            late: self.late,
            keep: Keep {
                window: self.window,
                whole: self.keep,
            },
            socket_period: (self.socket_hz > 0.0)
                .then(|| Duration::from_secs_f64(1.0 / self.socket_hz)),
            fault_period: self.fault_period,
            related: false,
            heap: self.heap.then(|| HeapPlan {
                sample_bytes: self.heap_sample.as_u64(),
                budget: self.heap_budget,
                length: self.heap_for,
            }),
            fault_hook: match self.fault_hook {
                FaultHookArg::Auto => FaultHook::Auto,
                FaultHookArg::Counter => FaultHook::Counter,
            },
        })
    }
}

/// Records and reports.
pub(super) fn run(args: Args) -> Result<(), Failure> {
    if args.pid.is_empty() && args.comm.is_none() {
        let missing = anyhow::anyhow!(
            "no target: name one with --pid PID or --comm NAME (`remora --help` for the rest)"
        );
        return Err(Failure::new(USAGE, missing));
    }
    if !probe::has_kernel_side() {
        return Err(Failure::new(CANNOT_OBSERVE, ProbeError::NoKernelSide));
    }
    let thresholds = units::thresholds(&args.thresholds)
        .map_err(|error| Failure::new(USAGE, anyhow::Error::msg(error)))?;
    let plan = args.plan()?;
    let interrupt = interrupt::listen()?;
    preflight::check().map_err(|problems| Failure::new(CANNOT_OBSERVE, problems))?;
    raise_open_files();
    // Once here, for the folder's name and before anything is loaded; again by the capture.
    let targets =
        process::resolve(&plan.selection).map_err(|error| Failure::new(CANNOT_OBSERVE, error))?;
    let named = targets
        .first()
        .map(|target| (target.comm.clone(), target.pid()));
    drop(targets);
    let (comm, pid) = named.unwrap_or_default();
    let folder = prepare(&args, default_name(&comm, pid, unix_now_s()))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(FAILED, error))?;
    let mut stream = match &args.jsonl {
        Some(path) => Some(Stream::create(path).map_err(|error| Failure::new(USAGE, error))?),
        None => None,
    };
    let capture = runtime.block_on(capture(&args, &plan, &interrupt, &mut stream))?;
    let judgement = analyze::judge(&capture, &thresholds);
    let mut report = Report::new(capture, judgement);
    report::leak::refer(&mut report);
    if let Some(complaint) = stream.and_then(Stream::finish) {
        output::complain(&complaint);
    }
    let options = Options { idle: args.idle };
    let written = write(&report, folder, options);
    print(&args, &report, written.as_ref().ok())?;
    written
        .map(drop)
        .map_err(|error| Failure::new(FAILED, error))
}

/// The folder for the report, looked at before anything is recorded.
fn prepare(args: &Args, name: String) -> Result<Folder, Failure> {
    let out = args.out.clone();
    let prepared = deadline::run(Step::Report, Subject::Host, move || {
        Folder::prepare(out.as_deref(), &name)
    });
    let prepared = prepared.ok_or_else(|| Failure::new(USAGE, no_answer()))?;
    prepared.map_err(|error| Failure::new(USAGE, error))
}

/// Writes the files, all or none.
fn write(report: &Report, folder: Folder, options: Options) -> anyhow::Result<Written> {
    let artifacts = report::artifacts(report, options)?;
    let written = deadline::run(Step::Report, Subject::Host, move || {
        folder.write(&artifacts)
    });
    Ok(written.ok_or_else(no_answer)??)
}

fn no_answer() -> anyhow::Error {
    anyhow::anyhow!("the folder for the report does not answer: choose another with --out DIR")
}

/// Each mapped file of a target is held open until it has names. A limit that cannot be raised costs
/// symbols, which is counted.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _as_it_was = setrlimit(Resource::Nofile, raised);
}

async fn capture(
    args: &Args,
    plan: &Plan,
    interrupt: &Notify,
    stream: &mut Option<Stream>,
) -> Result<Capture, Failure> {
    let mut status = Status::new();
    let duration = humantime::format_duration(args.duration);
    let show = |progress: Progress<'_>| match progress {
        Progress::Recording { processes, threads } => output::complain(&format!(
            "recording {}, {} for {duration}; Ctrl-C ends early",
            counted(processes as u64, "process"),
            counted(threads as u64, "thread")
        )),
        Progress::Beat { elapsed } => {
            status.show(&format!("{:.0} s of {duration}", elapsed.as_secs_f64()));
        }
        Progress::Window(window) => {
            if let Some(stream) = stream {
                stream.write(window);
            }
        }
        Progress::Note(text) => output::complain(text),
        Progress::Naming => status.show("resolving symbols"),
    };
    capture::record(plan, interrupt.notified(), show)
        .await
        .map_err(|error| Failure::new(CANNOT_OBSERVE, error))
}

fn print(args: &Args, report: &Report, written: Option<&Written>) -> Result<(), Failure> {
    let text = if args.json {
        if let Some(written) = written {
            output::complain(&format!("report in {}", written.folder.display()));
        }
        report::json::render(report).map_err(|error| Failure::new(FAILED, error))?
    } else {
        let options = RenderOptions {
            width: output::width().unwrap_or(RenderOptions::default().width),
            colour: output::wants_colour(),
            unicode: output::wants_unicode(),
        };
        terminal::summary(report, written, options).into_bytes()
    };
    output::print(&text).map_err(|error| {
        let place = match written {
            Some(written) => format!("the report is in {}", written.folder.display()),
            None => "nor was the report written".to_owned(),
        };
        let unsaid = anyhow::anyhow!("cannot write to standard output: {error}; {place}");
        Failure::new(FAILED, unsaid)
    })
}

fn unix_now_s() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |time| time.as_secs_f64())
}
