//! The table of tasks: a section a loop, a line a task.

use super::hex;
use crate::text::{clean, duration, fit};
use remora_model::{Await, AwaitKind, EventLoop, Task, TaskFrame, TaskState, Tasks};
use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// Narrowest and widest cells of the columns TASK and AWAITS.
const NAME: (usize, usize) = (4, 28);
const AWAITS: (usize, usize) = (6, 44);
/// Narrowest last column: below this the terminal's lines break, and nothing is cut.
const WHERE: usize = 24;
/// Widest state.
const STATE: usize = 7;
/// Names of awaited tasks in one cell.
const NAMED: usize = 3;

/// How the table is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableOptions {
    /// Columns of the terminal.
    pub width: usize,
    /// The whole stack below each task.
    pub stacks: bool,
}

/// Where the columns stand.
struct Columns {
    name: usize,
    awaits: usize,
    place: usize,
}

/// Names of tasks by their identity.
type Names<'a> = HashMap<u64, &'a str>;

/// The tasks for a person.
pub fn table(tasks: &Tasks, options: TableOptions) -> String {
    let mut page = String::new();
    write_page(&mut page, tasks, options).expect("a String takes everything");
    page
}

fn write_page(page: &mut String, tasks: &Tasks, options: TableOptions) -> std::fmt::Result {
    let names: Names<'_> = tasks
        .tasks
        .iter()
        .map(|task| (task.id, task.name.as_str()))
        .collect();
    let number = tasks.tasks.len();
    let many = |count: usize, what: &str| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{count} {what}{plural}")
    };
    write!(page, "{}", many(number, "task"))?;
    for state in [TaskState::Running, TaskState::Ready, TaskState::Waiting] {
        let count = tasks.tasks.iter().filter(|t| t.state == state).count();
        if count > 0 {
            write!(page, ", {count} {}", state.name())?;
        }
    }
    let loops = many(tasks.loops.len(), "loop");
    writeln!(page, "; {loops}; read in {}", duration(tasks.took))?;
    for event_loop in &tasks.loops {
        write_loop(page, event_loop, tasks, &names, options)?;
    }
    write_loss(page, tasks)
}

fn write_loop(
    page: &mut String,
    event_loop: &EventLoop,
    tasks: &Tasks,
    names: &Names<'_>,
    options: TableOptions,
) -> std::fmt::Result {
    let own = tasks.tasks.iter().filter(|t| t.loop_id == event_loop.id);
    let mut own: Vec<&Task> = own.collect();
    own.sort_by_key(|task| (order(task.state), &task.name, task.id));
    write!(
        page,
        "\n{} {}: ",
        clean(&event_loop.class),
        hex(event_loop.id)
    )?;
    match (event_loop.tid, &event_loop.thread, event_loop.ident) {
        (Some(tid), Some(name), _) => writeln!(page, "thread {tid} ({})", clean(name))?,
        (Some(tid), None, _) => writeln!(page, "thread {tid}")?,
        (None, _, Some(ident)) => writeln!(page, "thread with ident {}", hex(ident))?,
        (None, _, None) => writeln!(page, "no thread runs it")?,
    }
    let cells: Vec<[String; 3]> = own.iter().map(|task| cells(task, names)).collect();
    let widest = |column: usize, (least, most): (usize, usize)| {
        let widths = cells.iter().map(|cells| cells[column].width());
        widths.max().unwrap_or(0).clamp(least, most)
    };
    let (name, awaits) = (widest(0, NAME), widest(1, AWAITS));
    let left = options
        .width
        .saturating_sub(2 + name + 2 + STATE + 2 + awaits + 2);
    let place = if left < WHERE { usize::MAX } else { left };
    let columns = Columns {
        name,
        awaits,
        place,
    };
    if !own.is_empty() {
        let heads = ["TASK", "AWAITS", "WHERE"].map(str::to_owned);
        write_row(page, &columns, &heads, "STATE")?;
    }
    for (task, cells) in own.iter().zip(&cells) {
        write_row(page, &columns, cells, task.state.name())?;
        if options.stacks {
            for frame in task.frames.iter().rev() {
                writeln!(page, "      {}", in_full(frame))?;
            }
        }
    }
    Ok(())
}

fn order(state: TaskState) -> u8 {
    match state {
        TaskState::Running => 0,
        TaskState::Ready => 1,
        TaskState::Waiting => 2,
    }
}

fn write_row(
    page: &mut String,
    columns: &Columns,
    [name, awaits, place]: &[String; 3],
    state: &str,
) -> std::fmt::Result {
    let name = padded(name, columns.name);
    let awaits = padded(awaits, columns.awaits);
    let place = fit(place, columns.place);
    let row = format!("  {name}  {state:STATE$}  {awaits}  {place}");
    writeln!(page, "{}", row.trim_end())
}

/// A cell cut and filled to a width on the terminal.
fn padded(text: &str, width: usize) -> String {
    let text = fit(text, width);
    let blanks = width.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(blanks))
}

/// Name, what is awaited, and where, of a task.
fn cells(task: &Task, names: &Names<'_>) -> [String; 3] {
    let awaits = match &task.awaits {
        _ if task.torn => "(torn: it moved while it was read)".to_owned(),
        Some(awaits) => awaited(awaits, names),
        None if task.cancelling => "(being cancelled)".to_owned(),
        None => String::new(),
    };
    [clean(&task.name).into_owned(), awaits, place(task)]
}

/// What is awaited, in a few words: `Lock.acquire 0x7f…`, `task fetch-3`, `sleep, 1.2 s left`.
fn awaited(awaits: &Await, names: &Names<'_>) -> String {
    let object = format!("{} {}", clean(&awaits.class), hex(awaits.object));
    let tasks = listed(&awaits.tasks, names);
    let call = clean(&awaits.call);
    match awaits.kind {
        AwaitKind::Task if call.is_empty() => format!("task {tasks}"),
        AwaitKind::Task => format!("{call} of task {tasks}"),
        AwaitKind::Gather | AwaitKind::Wait => format!("{} {tasks}", awaits.kind.name()),
        AwaitKind::TaskGroup => format!("TaskGroup {tasks}"),
        AwaitKind::Sleep => slept(awaits.left_s),
        AwaitKind::Executor => "executor".to_owned(),
        AwaitKind::Future | AwaitKind::Other if call.is_empty() => object,
        // The class stands in the name of its own method already.
        _ if awaits.call.split('.').next() == Some(&awaits.class) => {
            format!("{call} {}", hex(awaits.object))
        }
        _ => format!("{call} {object}"),
    }
}

fn slept(left_s: Option<f64>) -> String {
    let length = |seconds| duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX));
    match left_s {
        Some(left) if left < 0.0 => format!("sleep, over for {}", length(-left)),
        Some(left) => format!("sleep, {} left", length(left)),
        None => "sleep".to_owned(),
    }
}

fn listed(tasks: &[u64], names: &Names<'_>) -> String {
    let named = tasks.iter().take(NAMED).map(|id| match names.get(id) {
        Some(name) => clean(name).into_owned(),
        // Done, or not a task that asyncio knows.
        None => hex(*id),
    });
    let list = named.collect::<Vec<_>>().join(", ");
    match tasks.len() {
        0 => "of none that is left".to_owned(),
        count if count > NAMED => format!("{list} and {} more", count - NAMED),
        _ => list,
    }
}

/// The innermost frame of the program itself: asyncio's own say what AWAITS says already.
fn place(task: &Task) -> String {
    let own = |frame: &&TaskFrame| !frame.file.contains("/asyncio/");
    let frames = &task.frames;
    let frame = frames.iter().rev().find(own).or(frames.last());
    frame.map_or_else(String::new, |frame| {
        let file = frame.file.rsplit('/').next().unwrap_or_default();
        format!(
            "{} ({}{})",
            clean(&frame.function),
            clean(file),
            line(frame)
        )
    })
}

fn in_full(frame: &TaskFrame) -> String {
    let (function, file) = (clean(&frame.function), clean(&frame.file));
    format!("{function} ({file}{})", line(frame))
}

fn line(frame: &TaskFrame) -> String {
    frame
        .line
        .map_or_else(String::new, |line| format!(":{line}"))
}

fn write_loss(page: &mut String, tasks: &Tasks) -> std::fmt::Result {
    let counters = tasks.loss.counters().into_iter();
    let lost: Vec<String> = counters
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if lost.is_empty() {
        writeln!(page, "\nloss: none")
    } else {
        writeln!(page, "\nloss: {}", lost.join(", "))
    }
}
