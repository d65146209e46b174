//! `remora triage --pid P --tasks`: the asyncio tasks of a Python process, now.

use super::{CANNOT_OBSERVE, FAILED, Failure, output};
use anyhow::anyhow;
use remora_model::Tasks;
use remora_process::deadline::{self, Step, Subject};
use remora_process::python::{self, asyncio};
use remora_process::{
    self as process, Selection,
    maps::{Files, Snapshot},
    memory::ProcessMemory,
};
use remora_report::{tasks, terminal};
use serde::Serialize;

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    target: About<'a>,
    #[serde(flatten)]
    tasks: tasks::View<'a>,
}

#[derive(Serialize)]
struct About<'a> {
    pid: u32,
    comm: &'a str,
    python: String,
}

/// What to look at, and how to print it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// The process.
    pub pid: u32,
    /// The whole stack of each task.
    pub stacks: bool,
    /// One JSON document.
    pub json: bool,
}

/// Looks and prints.
pub(super) fn run(args: Options) -> Result<(), Failure> {
    let selection = Selection {
        pids: vec![args.pid],
        ..Selection::default()
    };
    deadline::prepare().map_err(cannot_observe)?;
    let targets = process::resolve(&selection).map_err(cannot_observe)?;
    let target = targets
        .first()
        .ok_or_else(|| cannot_observe(anyhow!("process {} has ended", args.pid)))?;
    let (version, tasks) = inspect(target.pid())?;
    if !target.is_same() {
        return Err(cannot_observe(anyhow!(
            "process {}: it exited while it was inspected",
            args.pid
        )));
    }
    let text = if args.json {
        let document = Document {
            schema: 1,
            target: About {
                pid: target.pid(),
                comm: &target.comm,
                python: version,
            },
            tasks: tasks::view(&tasks),
        };
        let json = serde_json::to_string_pretty(&document);
        json.map_err(|error| Failure::new(FAILED, error))? + "\n"
    } else {
        let options = tasks::TableOptions {
            width: output::width().unwrap_or(terminal::RenderOptions::default().width),
            stacks: args.stacks,
        };
        let head = format!("{} ({}), Python {version}: ", target.comm, target.pid());
        head + &tasks::table(&tasks, options)
    };
    output::print(text.as_bytes()).map_err(|error| Failure::new(FAILED, error))
}

fn cannot_observe(error: impl Into<anyhow::Error>) -> Failure {
    Failure::new(CANNOT_OBSERVE, error)
}

/// The version of a process's Python, and its tasks.
fn inspect(pid: u32) -> Result<(String, Tasks), Failure> {
    let maps = Snapshot::read(pid, 0, &mut Files::default())
        .map_err(|error| cannot_observe(anyhow!(error).context(format!("process {pid}"))))?;
    let asked = deadline::run(Step::Interpreter, Subject::Process(pid), move || {
        ask(pid, &maps)
    });
    // Without its files no interpreter is found in it.
    let answer = match (asked, deadline::take_given_up().is_empty()) {
        (Some(answer), true) => answer,
        (Some(Ok(answer)), false) => Ok(answer),
        _ => Err(anyhow!(
            "its memory or its files do not answer: run `remora triage --pid {pid}`, which names what hangs"
        )),
    };
    answer.map_err(|error| cannot_observe(error.context(format!("process {pid}"))))
}

fn ask(pid: u32, maps: &Snapshot) -> anyhow::Result<(String, Tasks)> {
    let memory = ProcessMemory::open(pid).map_err(|error| {
        anyhow!("its memory cannot be read ({error}): run as root, with CAP_SYS_PTRACE")
    })?;
    let python = python::find(maps, &memory)?;
    let mut tasks = asyncio::snapshot(&python, &memory)?;
    asyncio::name_threads(pid, &mut tasks);
    Ok((python.version.to_string(), tasks))
}
