//! `loop_blocked`: an event loop has not come back to its wait, and nothing else of it is served meanwhile.
//!
//! What looks similar and is none: an idle loop, which is in its wait; a loop that never runs dry, whose
//! polls return at once (its samples lie in many places, and some in the poll); a batch whose iteration is
//! meant to take that long (declared by `--threshold loop-blocked=…`); a thread that waits for one socket by poll.

use super::event_loops::{Kind, Places, Stuck, stuck, task_loop};
use super::{Findings, Scene, graph::Graph, waiting, words};
use crate::model::{
    Confidence, Finding, FindingKind, Severity, Socket, State, Subject, Thread, Topic,
};
use crate::words::text::{clean, count};

/// Sockets with unread bytes that are shown.
const SHOWN: usize = 2;

pub fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let places = Places::new(scene);
    let mut graph = None;
    for (index, thread) in scene.living() {
        let found = stuck(
            scene,
            &places,
            (index, thread),
            scene.thresholds.loop_blocked,
        );
        if let Some(found) = found {
            let graph = graph.get_or_insert_with(|| Graph::of(scene));
            findings.push(finding(graph, (index, thread), found));
        }
    }
}

fn finding(graph: &Graph<'_>, (index, thread): (usize, &Thread), stuck: Stuck) -> Finding {
    let scene = graph.scene();
    let mut finding = scene.about_thread(FindingKind::LoopBlocked, Severity::Critical, thread);
    finding.since = Some(stuck.since);
    finding.since_at_least = stuck.at_least;
    if stuck.inferred {
        finding.confidence = Confidence::Inferred;
    }
    finding.about = vec![Subject::Thread(thread.tid)];
    let what = match stuck.blocked {
        true => waiting::phrase(graph, index, thread),
        false if thread.on_cpu.as_secs_f64() * 2.0 >= thread.observed.as_secs_f64() => {
            "runs one callback on the CPU".to_owned()
        }
        false => "is in one callback".to_owned(),
    };
    let time = words::since(stuck.since, stuck.at_least);
    finding.summary = format!(
        "{} of {} has not come back to its wait for {time}: {what}",
        loop_name(stuck.kind, thread),
        scene.process_name(thread.pid),
    );
    finding = finding.fact(Topic::Loop, loop_fact(scene, thread, stuck));
    if stuck.blocked {
        finding = waiting::evidence(graph, index, thread, finding);
        finding.next = waiting::next(thread);
    } else {
        let share = thread.on_cpu.as_secs_f64() / thread.observed.as_secs_f64().max(1e-3) * 100.0;
        let rest = match stuck.samples {
            0 => "each of its waits lies in one callback".to_owned(),
            samples => format!("all {} samples lie in one callback", count(samples)),
        };
        finding = finding.fact(Topic::Cpu, format!("{share:.0} % of a CPU; {rest}"));
        finding.next =
            "take the long work out of the loop (a thread, a process, smaller pieces), or declare \
            it: --threshold loop-blocked=TIME"
                .into();
    }
    if let Some(code) = stuck
        .stack
        .and_then(|stack| words::code(scene.capture.stacks.get(stack)?))
    {
        finding = finding.fact(Topic::Where, code);
    }
    if let Some(task) = task(scene, thread) {
        finding = finding.fact(Topic::Task, task);
    }
    for socket in unread(scene, thread).take(SHOWN) {
        let queue = format!(
            "{}: {} bytes unread",
            words::socket(socket),
            count(socket.unread_bytes().into())
        );
        finding = finding.fact(Topic::Queue, queue);
    }
    if stuck.inferred {
        finding = finding.fact(Topic::Inferred, inferred(stuck.kind));
    }
    finding
}

fn inferred(kind: Kind) -> &'static str {
    match kind {
        Kind::Orphan(_) => "no thread waits on that epoll set, and this one does not idle",
        _ => "polls that do not block are not seen here; no sample of this time lies in one",
    }
}

fn loop_name(kind: Kind, thread: &Thread) -> String {
    let thread = words::thread(thread);
    match kind {
        Kind::Framework(name) => format!("the {name} loop (thread {thread})"),
        Kind::Epoll | Kind::Orphan(_) => format!("the event loop (thread {thread})"),
    }
}

fn loop_fact(scene: &Scene<'_>, thread: &Thread, stuck: Stuck) -> String {
    let state = match (thread.now.state, stuck.blocked) {
        (State::Blocked, true) => "asleep, not in its wait for events",
        (State::Running, _) => "on a CPU",
        (State::Runnable, _) => "ready for a CPU",
        _ => "now running, now waiting",
    };
    let mut fact = match stuck.kind {
        Kind::Framework(name) => format!("{name} loop, {state}"),
        Kind::Epoll => format!("epoll loop, {state}"),
        Kind::Orphan(fd) => {
            format!("epoll set fd {fd} has events and nobody waits on it; this thread is {state}")
        }
    };
    if let Some((tasks, own)) = task_loop(scene, thread) {
        let ready = tasks
            .tasks
            .iter()
            .filter(|task| task.loop_id == own.id && task.state == crate::model::TaskState::Ready);
        let ready = ready.count();
        if ready > 0 {
            fact.push_str(&format!(
                "; {} tasks are ready and do not run",
                count(ready as u64)
            ));
        }
    }
    fact
}

/// The task that the loop is in the middle of.
fn task(scene: &Scene<'_>, thread: &Thread) -> Option<String> {
    let (tasks, own) = task_loop(scene, thread)?;
    let current = own.current?;
    let task = tasks.tasks.iter().find(|task| task.id == current)?;
    let mut words = format!("\"{}\" is running", task.name);
    if let Some(frame) = task.frames.first() {
        let file = frame.file.rsplit('/').next().unwrap_or_default();
        let line = frame
            .line
            .map(|line| format!(":{line}"))
            .unwrap_or_default();
        words.push_str(&format!(": {} ({file}{line})", frame.function));
    }
    Some(clean(&words).into_owned())
}

/// Sockets of its process with unread bytes that this loop, or nobody, waits for.
fn unread<'a>(scene: &Scene<'a>, thread: &'a Thread) -> impl Iterator<Item = &'a Socket> {
    let sockets = scene.capture.sockets.iter();
    sockets.filter(|socket| {
        let watched =
            |watch: &crate::model::Watch| watch.tids.is_empty() || watch.tids.contains(&thread.tid);
        socket.open
            && socket.pid == thread.pid
            && socket.unread_bytes() > 0
            && socket.backlog.is_none()
            && socket.watched_by.iter().any(watched)
    })
}

#[cfg(test)]
mod tests;
