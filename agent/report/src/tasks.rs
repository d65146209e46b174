//! Asyncio tasks in a report: as JSON for programs, as a table for people. Identities are written in
//! hexadecimal, as Python's own `repr` has them.

mod table;
#[cfg(test)]
mod tests;

pub use table::{TableOptions, table};

use remora_model::{Await, EventLoop, Task, TaskFrame, Tasks};
use serde::Serialize;
use std::collections::BTreeMap;

/// `tasks`, `loops`, `torn`, `loss`: to be flattened into a document.
#[derive(Debug, Serialize)]
pub struct View<'a> {
    tasks: Vec<TaskView<'a>>,
    loops: Vec<LoopView<'a>>,
    /// Tasks that are torn.
    torn: u64,
    /// Every counter, zero or not.
    loss: BTreeMap<&'static str, u64>,
    took_ns: u64,
}

#[derive(Debug, Serialize)]
struct LoopView<'a> {
    id: String,
    class: &'a str,
    /// Whether a thread runs it.
    running: bool,
    tid: Option<u32>,
    thread: Option<&'a str>,
    current_task: Option<String>,
    tasks: usize,
}

#[derive(Debug, Serialize)]
struct TaskView<'a> {
    id: String,
    name: &'a str,
    class: &'a str,
    #[serde(rename = "loop")]
    loop_id: String,
    state: &'static str,
    cancelling: bool,
    torn: bool,
    awaits: Option<AwaitView<'a>>,
    /// Locks in the body of whose `async with` it stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holds: Vec<String>,
    /// It was seen to await the same so long before.
    #[serde(skip_serializing_if = "Option::is_none")]
    same_for_s: Option<f64>,
    /// Outermost first.
    stack: Vec<FrameView<'a>>,
    stack_cut: bool,
}

#[derive(Debug, Serialize)]
struct AwaitView<'a> {
    kind: &'static str,
    call: &'a str,
    class: &'a str,
    object: String,
    tasks: Vec<String>,
    left_s: Option<f64>,
}

#[derive(Debug, Serialize)]
struct FrameView<'a> {
    function: &'a str,
    file: &'a str,
    line: Option<u32>,
}

/// An identity as people see it.
fn hex(id: u64) -> String {
    format!("{id:#x}")
}

/// The tasks for a document.
pub fn view(tasks: &Tasks) -> View<'_> {
    let Tasks {
        loops,
        tasks,
        loss,
        took,
    } = tasks;
    View {
        loops: loops.iter().map(|one| loop_view(one, tasks)).collect(),
        tasks: tasks.iter().map(task_view).collect(),
        torn: loss.torn,
        loss: loss.counters().into_iter().collect(),
        took_ns: super::nanos(*took),
    }
}

fn loop_view<'a>(event_loop: &'a EventLoop, tasks: &[Task]) -> LoopView<'a> {
    let EventLoop {
        id,
        class,
        ident,
        tid,
        thread,
        current,
        // A judgement's, not a reader's.
        turns: _,
    } = event_loop;
    LoopView {
        id: hex(*id),
        class,
        running: ident.is_some(),
        tid: *tid,
        thread: thread.as_deref(),
        current_task: current.map(hex),
        tasks: tasks.iter().filter(|task| task.loop_id == *id).count(),
    }
}

fn task_view(task: &Task) -> TaskView<'_> {
    let Task {
        id,
        name,
        class,
        loop_id,
        state,
        cancelling,
        frames,
        frames_cut,
        awaits,
        holds,
        same_for,
        torn,
    } = task;
    TaskView {
        id: hex(*id),
        name,
        class,
        loop_id: hex(*loop_id),
        state: state.name(),
        cancelling: *cancelling,
        torn: *torn,
        awaits: awaits.as_ref().map(await_view),
        holds: holds.iter().copied().map(hex).collect(),
        same_for_s: same_for.map(|time| time.as_secs_f64()),
        stack: frames.iter().map(frame_view).collect(),
        stack_cut: *frames_cut,
    }
}

fn await_view(awaits: &Await) -> AwaitView<'_> {
    let Await {
        kind,
        call,
        class,
        object,
        tasks,
        left_s,
    } = awaits;
    AwaitView {
        kind: kind.name(),
        call,
        class,
        object: hex(*object),
        tasks: tasks.iter().copied().map(hex).collect(),
        left_s: *left_s,
    }
}

fn frame_view(frame: &TaskFrame) -> FrameView<'_> {
    let TaskFrame {
        function,
        file,
        line,
    } = frame;
    FrameView {
        function,
        file,
        line: *line,
    }
}
