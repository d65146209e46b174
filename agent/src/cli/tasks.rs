//! `remora triage --pid P --tasks`: the asyncio tasks of a Python process, now.

use super::{CANNOT_OBSERVE, FAILED, Failure, output};
use crate::{
    model::Tasks,
    python::{self, asyncio},
    report::{tasks, terminal},
    target::{
        self, Selection, Target,
        maps::{Files, Snapshot},
        memory::ProcessMemory,
    },
};
use anyhow::anyhow;
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
pub struct Options {
    /// The process.
    pub pid: u32,
    /// The whole stack of each task.
    pub stacks: bool,
    /// One JSON document.
    pub json: bool,
}

/// Looks and prints.
pub fn run(args: Options) -> Result<(), Failure> {
    let selection = Selection {
        pids: vec![args.pid],
        ..Selection::default()
    };
    let targets = target::resolve(&selection).map_err(cannot_observe)?;
    let target = targets
        .first()
        .ok_or_else(|| cannot_observe(anyhow!("process {} has ended", args.pid)))?;
    let (version, tasks) = inspect(target)?;
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
fn inspect(target: &Target) -> Result<(String, Tasks), Failure> {
    let pid = target.pid();
    let context = |error: anyhow::Error| cannot_observe(error.context(format!("process {pid}")));
    let memory = ProcessMemory::open(pid).map_err(|error| {
        let why = anyhow!("its memory cannot be read ({error}): run as root, with CAP_SYS_PTRACE");
        context(why)
    })?;
    let maps = Snapshot::read(pid, 0, &mut Files::default()).map_err(|e| context(e.into()))?;
    let python = python::find(&maps, &memory).map_err(|e| context(e.into()))?;
    let mut tasks = asyncio::snapshot(&python, &memory).map_err(|e| context(e.into()))?;
    asyncio::name_threads(pid, &mut tasks);
    if !target.is_same() {
        return Err(context(anyhow!("it ended while it was looked at")));
    }
    Ok((python.version.to_string(), tasks))
}
