//! From a capture to what the user holds: a folder with pictures, stacks and `report.json`, and a
//! summary on the terminal. Pure functions of the report: who writes files is the command.

mod artifact;
pub mod flamegraph;
pub mod folded;
pub mod html;
pub mod json;
pub mod jsonl;
pub mod leak;
mod name;
mod palette;
mod shares;
mod speedscope;
mod stacks;
pub mod tasks;
pub mod terminal;
mod top;
mod totals;

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

pub use artifact::{Artifact, Refusal, Written};
pub use name::default_name;

use folded::Folded;
use remora_model::display::{label, short_name, text};
use remora_model::{Capture, Report};
use std::time::Duration;

/// What the user may ask of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Draw the waits that are a thread's normal idle, too.
    pub idle: bool,
}

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The flamegraph library refused the stacks.
    #[error("cannot draw \"{title}\": {source}")]
    Draw {
        /// Title of the picture.
        title: String,
        /// The library's words.
        source: std::io::Error,
    },
    /// The report has a value that JSON cannot hold.
    #[error("cannot write report.json: {0}")]
    Json(serde_json::Error),
}

/// The files of the report, in memory: `index.html`, `report.json`, and `cpu`, `offcpu` and `memory` as `.svg` and
/// `.folded`. With what there is to show: `cpu.speedscope.json` and `offcpu.speedscope.json` (a stack), `epoll` (a thread
/// with an event loop), `futex` (a wait for a futex), `heap` (allocators were watched), each as `.svg` and `.folded`;
/// `leak.svg` (memory was read twice) and `tasks.txt` (a target runs asyncio).
pub fn artifacts(report: &Report, options: Options) -> Result<Vec<Artifact>, ReportError> {
    let capture = &report.capture;
    let on_cpu = Folded::on_cpu(capture);
    let off_cpu = Folded::off_cpu(capture, options.idle);
    let memory = Folded::memory(capture);
    let files = [
        ("report.json", json::render(report)?),
        ("cpu.svg", flamegraph::on_cpu(capture, &on_cpu)?),
        ("cpu.folded", on_cpu.text().into_bytes()),
        (
            "offcpu.svg",
            flamegraph::off_cpu(capture, &off_cpu, options.idle)?,
        ),
        ("offcpu.folded", off_cpu.text().into_bytes()),
        ("memory.svg", flamegraph::memory(capture, &memory)?),
        ("memory.folded", memory.text().into_bytes()),
    ];
    let on_cpu = speedscope::on_cpu(capture)?.map(|bytes| ("cpu.speedscope.json", bytes));
    let off_cpu = speedscope::off_cpu(capture, options.idle)?;
    let off_cpu = off_cpu.map(|bytes| ("offcpu.speedscope.json", bytes));
    let late = Folded::late(capture);
    let loops = if capture.loops.is_empty() {
        Vec::new()
    } else {
        vec![
            ("epoll.svg", flamegraph::late(capture, &late)?),
            ("epoll.folded", late.text().into_bytes()),
        ]
    };
    let held = Folded::locks(capture, options.idle);
    let locks = if capture.locks.is_empty() {
        Vec::new()
    } else {
        vec![
            ("futex.svg", flamegraph::locks(capture, &held)?),
            ("futex.folded", held.text().into_bytes()),
        ]
    };
    let leak = leak::draw(report).map(|picture| (leak::NAME, picture));
    let outstanding = Folded::heap(capture);
    let heap = match &capture.heap_watch {
        Some(watch) => vec![
            ("heap.svg", flamegraph::heap(capture, watch, &outstanding)?),
            ("heap.folded", outstanding.text().into_bytes()),
        ],
        None => Vec::new(),
    };
    let tasks = (!capture.tasks.is_empty()).then(|| ("tasks.txt", task_table(capture)));
    let mut artifacts: Vec<_> = files
        .into_iter()
        .chain(on_cpu)
        .chain(off_cpu)
        .chain(loops)
        .chain(locks)
        .chain(leak)
        .chain(heap)
        .chain(tasks)
        .map(|(name, bytes)| Artifact { name, bytes })
        .collect();
    artifacts.insert(0, index(&artifacts)?);
    Ok(artifacts)
}

/// The page over the other files.
fn index(artifacts: &[Artifact]) -> Result<Artifact, ReportError> {
    let named = |name| artifacts.iter().find(|artifact| artifact.name == name);
    let report = named("report.json").map_or(&b"{}"[..], |artifact| &artifact.bytes);
    let pictures: Vec<_> = artifacts
        .iter()
        .filter(|artifact| artifact.name.ends_with(".svg"))
        .map(|artifact| (artifact.name, artifact.bytes.as_slice()))
        .collect();
    Ok(Artifact {
        name: html::NAME,
        bytes: html::render(report, &pictures).map_err(ReportError::Json)?,
    })
}

/// Columns of the table of asyncio tasks in its file.
const TASKS_WIDTH: usize = 120;

/// The asyncio tasks of each process with their stacks, for people.
fn task_table(capture: &Capture) -> Vec<u8> {
    let options = tasks::TableOptions {
        width: TASKS_WIDTH,
        stacks: true,
    };
    let mut text = String::new();
    for (pid, tasks) in &capture.tasks {
        let process = capture.processes.iter().find(|process| process.pid == *pid);
        let comm = process.map_or("process", |process| process.comm.as_str());
        text.push_str(&format!(
            "{} ({pid}): {}\n",
            text::clean(comm),
            tasks::table(tasks, options)
        ));
    }
    text.into_bytes()
}

/// A duration in nanoseconds; one beyond 64 bits (584 years) is their largest.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
