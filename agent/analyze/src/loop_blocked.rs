//! `loop_blocked`: an event loop has not come back to its wait, and nothing else of it is served meanwhile.
//!
//! What looks similar and is none: an idle loop, which is in its wait; a loop that never runs dry, whose
//! polls return at once (they were counted; where they could not be, that is a notice, see `unclear`); a batch whose iteration is
//! meant to take that long (declared by `--threshold loop-blocked=…`); a thread that waits for one socket by poll.

use super::event_loops::{Kind, Places, Proof, Stuck, stuck, task_loop};
use super::{
    Findings, Scene,
    graph::Graph,
    waiting,
    words::{self, Headline},
};
use remora_model::display::text::{clean, counted, duration, queue_bytes, share};
use remora_model::{
    Confidence, Finding, FindingKind, Reason, Severity, Site, Socket, Subject, Task, TaskState,
    Thread, Topic,
};
use std::time::Duration;

/// Sockets with unread bytes that are shown.
const SHOWN: usize = 2;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let places = Places::new(scene);
    let mut graph = None;
    for (index, thread) in scene.living() {
        let found = stuck(
            scene,
            &places,
            (index, thread),
            scene.thresholds.loop_blocked,
        );
        if let Some(found) = found.filter(Stuck::is_proven) {
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
    if stuck.proof == Proof::Concluded {
        finding.confidence = Confidence::Inferred;
    }
    finding.about = vec![Subject::Thread(thread.tid)];
    let place = stuck
        .stack
        .and_then(|stack| scene.capture.stacks.get(stack));
    let task = task(scene, thread);
    finding.summary = summary(graph, (index, thread), stuck);
    let who = match &task {
        Some(task) => format!("{} ({})", words::thread(thread), clean(&task.name)),
        None => words::thread(thread),
    };
    if let Kind::Orphan(fd) = stuck.kind {
        let line = format!("epoll fd {fd} has events, and no thread waits on it");
        finding = finding.fact(Topic::Reason, line);
    }
    if stuck.blocked {
        let line = (who.as_str(), " instead of epoll_wait");
        finding = waiting::evidence(graph, (index, thread), line, finding);
        let is_asyncio = stuck.kind == Kind::Framework("asyncio");
        finding.next = waiting::next(graph, index, thread, is_asyncio);
    } else if in_sleep(scene, index, stuck) {
        let line = format!("{who} sleeps again and again in one callback");
        finding = finding.fact(Topic::Reason, line);
        let at = words::at(place.and_then(words::place).as_deref());
        let timer = match stuck.kind == Kind::Framework("asyncio") {
            true => "`await asyncio.sleep()`",
            false => "the loop's own timer",
        };
        finding.next = format!("Replace the sleep{at} with {timer}.");
    } else {
        let used = share(thread.on_cpu, thread.observed);
        let line = format!("{who} is in {}; it uses {used} of one CPU", work(stuck));
        finding = finding.fact(Topic::Reason, line);
        if let Proof::Counted(polls) = stuck.proof {
            let line = format!(
                "{} in {}, none since {}",
                counted(polls.polls, "poll"),
                duration(polls.watched),
                duration(polls.open),
            );
            finding = finding.fact(Topic::Polls, line);
        }
        let at = words::at(place.and_then(words::place).as_deref());
        finding.next = format!(
            "Move the work{at} to a worker thread or process. If it is expected: --threshold loop-blocked=TIME."
        );
    }
    if let Some(code) = place.and_then(words::code) {
        finding = finding.fact(Topic::Where, code);
    }
    if let Some(ready) = ready_tasks(scene, thread) {
        finding = finding.fact(Topic::Loop, ready);
    }
    if let Some(task) = &task {
        finding = finding.fact(Topic::Task, task_words(task));
    }
    for socket in unread(scene, thread).take(SHOWN) {
        let unread = queue_bytes(socket.unread_bytes().into());
        let queue = format!("{}: {unread} unread", words::socket(scene, socket));
        finding = finding.fact(Topic::Queue, queue);
    }
    if stuck.proof == Proof::Concluded {
        let line = "this thread should wait on that epoll set: it is the one that is not idle";
        finding = finding.fact(Topic::Inferred, line);
    }
    finding
}

/// Whether the frames behind that of the loop are those of a callback, and not only the loop's own machinery.
fn names_callbacks(kind: Kind) -> bool {
    matches!(kind, Kind::Framework("asyncio" | "trio"))
}

/// `one callback, all of 290 samples`, or `one iteration`, where several callbacks are seen or none can be told.
fn work(stuck: Stuck) -> String {
    match stuck.samples.filter(|_| names_callbacks(stuck.kind)) {
        None => "one iteration".to_owned(),
        Some(0) => "one callback, each of its waits".to_owned(),
        Some(samples) => format!("one callback, all of {}", counted(samples, "sample")),
    }
}

fn summary(graph: &Graph<'_>, (index, thread): (usize, &Thread), stuck: Stuck) -> String {
    let time = words::since(stuck.since, stuck.at_least);
    let sleeps = match stuck.blocked {
        true => thread.now.reason == Some(Reason::Sleep),
        false => in_sleep(graph.scene(), index, stuck),
    };
    let what = match sleeps {
        true => format!("blocked for {time} by a sleep"),
        false => format!("blocked for {time}"),
    };
    let detail = match stuck.blocked {
        _ if sleeps => String::new(),
        true => waiting::phrase(graph, index, thread),
        false => {
            let on_cpu = thread.on_cpu.as_secs_f64() * 2.0 >= thread.observed.as_secs_f64();
            let what = match stuck.samples {
                Some(_) if names_callbacks(stuck.kind) => "one callback",
                _ => "one iteration",
            };
            format!("{what}{}", if on_cpu { " on CPU" } else { "" })
        }
    };
    let headline = Headline {
        who: &loop_name(stuck.kind),
        of: &graph.scene().process_name(thread.pid),
        what: &what,
        detail: &detail,
    };
    headline.fitted()
}

/// The place where it is, again and again, is a sleep: it may be awake for a moment just now.
fn in_sleep(scene: &Scene<'_>, index: usize, stuck: Stuck) -> bool {
    let there = scene.capture.waits.iter().filter(|wait| {
        let at = match wait.site {
            Site::Stack(at) => Some(at),
            _ => None,
        };
        wait.thread == index && at.is_some() && at == stuck.stack
    });
    let asleep = there.filter(|wait| wait.reason == Reason::Sleep);
    let asleep: Duration = asleep.map(|wait| wait.total).sum();
    let watched = scene.capture.threads.get(index).map(|it| it.observed);
    watched.is_some_and(|watched| asleep.as_secs_f64() * 2.0 >= watched.as_secs_f64())
}

pub(crate) fn loop_name(kind: Kind) -> String {
    match kind {
        Kind::Framework(name) => format!("{name} loop"),
        Kind::Epoll | Kind::Orphan(_) => "event loop".to_owned(),
    }
}

/// `3 tasks ready, not running`.
fn ready_tasks(scene: &Scene<'_>, thread: &Thread) -> Option<String> {
    let (tasks, own) = task_loop(scene, thread)?;
    let ready = tasks.tasks.iter();
    let ready = ready.filter(|task| task.loop_id == own.id && task.state == TaskState::Ready);
    let ready = ready.count();
    (ready > 0).then(|| format!("{} ready, not running", counted(ready as u64, "task")))
}

/// The task that the loop is in the middle of.
fn task<'a>(scene: &Scene<'a>, thread: &Thread) -> Option<&'a Task> {
    let (tasks, own) = task_loop(scene, thread)?;
    let current = own.current?;
    tasks.tasks.iter().find(|task| task.id == current)
}

/// `"Task-1" running: pump (feed.py:41)`.
fn task_words(task: &Task) -> String {
    let mut words = format!("\"{}\" running", clean(&task.name));
    if let Some(place) = words::task_place(task) {
        words.push_str(&format!(": {place}"));
    }
    words
}

/// Sockets of its process with unread bytes that this loop, or nobody, waits for.
fn unread<'a>(scene: &Scene<'a>, thread: &'a Thread) -> impl Iterator<Item = &'a Socket> {
    let sockets = scene.capture.sockets.iter();
    sockets.filter(|socket| {
        let watched =
            |watch: &remora_model::Watch| watch.tids.is_empty() || watch.tids.contains(&thread.tid);
        socket.open
            && socket.pid == thread.pid
            && socket.unread_bytes() > 0
            && socket.backlog.is_none()
            && socket.watched_by.iter().any(watched)
    })
}

#[cfg(test)]
mod tests;
