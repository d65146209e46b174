//! The asyncio tasks of a process that wait, in a line each: what a loop is about is in its tasks, not in the
//! stack of its thread.

use super::{Scene, event_loops::task_loop, words};
use remora_model::display::{label, text::clean};
use remora_model::{Await, Task, TaskState, Thread};

/// Tasks that are told.
const SHOWN: usize = 2;
/// Frames of each.
const FRAMES: usize = 3;

/// `task "feed-reader" awaits event in pump (feed.py:41) <- main (feed.py:88)`, for some of the tasks that
/// wait for something that `counts`, and how many there are of them.
pub(crate) fn waiting(scene: &Scene<'_>, pid: u32, counts: impl Fn(&Await) -> bool) -> Vec<String> {
    let tasks = scene.capture.tasks.iter().filter(|(of, _)| *of == pid);
    let tasks = tasks.flat_map(|(_, tasks)| &tasks.tasks);
    let waiting = tasks.filter(|task| {
        let awaits = task.awaits.as_ref();
        task.state == TaskState::Waiting && awaits.is_some_and(&counts)
    });
    let waiting: Vec<&Task> = waiting.collect();
    let mut lines: Vec<String> = waiting.iter().take(SHOWN).map(|task| line(task)).collect();
    if let (Some(last), more @ 1..) = (lines.last_mut(), waiting.len().saturating_sub(SHOWN)) {
        last.push_str(&format!("; {more} more like it"));
    }
    lines
}

/// `"poller" ready to run again: wait (feed.py:3)`, for a few tasks of a thread's loop that are ready; none where there
/// are more: these have something to do.
pub(crate) fn ready(scene: &Scene<'_>, thread: &Thread) -> Vec<String> {
    let Some((tasks, own)) = task_loop(scene, thread) else {
        return Vec::new();
    };
    let is_ready = |task: &&Task| {
        let runs = matches!(task.state, TaskState::Ready | TaskState::Running);
        task.loop_id == own.id && runs
    };
    let ready: Vec<&Task> = tasks.tasks.iter().filter(is_ready).collect();
    if ready.len() > SHOWN {
        return Vec::new();
    }
    let line = |task: &&Task| {
        let place = words::task_place(task);
        let place = place.map_or_else(String::new, |place| format!(": {place}"));
        format!("\"{}\" ready to run again{place}", clean(&task.name))
    };
    ready.iter().map(line).collect()
}

fn line(task: &Task) -> String {
    let awaits = task
        .awaits
        .as_ref()
        .map_or("something", |it| match &it.call[..] {
            "" => it.kind.name(),
            call => call,
        });
    let frames = task.frames.iter().rev().take(FRAMES).map(|frame| {
        let line = frame
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        format!(
            "{} ({}{line})",
            frame.function,
            label::base_name(&frame.file)
        )
    });
    let frames: Vec<_> = frames.collect();
    let line = format!(
        "task \"{}\" awaits {awaits} in {}",
        task.name,
        frames.join(" <- ")
    );
    clean(&line).into_owned()
}
