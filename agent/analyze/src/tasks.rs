//! The asyncio tasks of a process that wait, in a line each: what a loop is about is in its tasks, not in the
//! stack of its thread.

use super::Scene;
use remora_model::display::{label, text::clean};
use remora_model::{Await, Task, TaskState};

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
