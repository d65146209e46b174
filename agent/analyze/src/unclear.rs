//! Notices: waits of which it is not known who could end them, and whether that is wrong.
//!
//! A thread at rest is none ([`waits`](super::waits)), nor is a wait that a finding explains, nor one for the result of
//! others while somebody works. What is left has waited for longer than the threshold in the middle of the program,
//! for a condition, a queue, a result. Nothing is proven wrong, and `healthy` would be a guess. And loops that may be
//! stuck (`loops`).

mod loops;

use super::waits::java::is_behind_rest;
use super::waits::{Kind, Waiting, Waits, always, always_for_locks, line, someone_works};
use super::{Scene, graph::Graph, graph::Node, lock_stuck, words};
use remora_model::display::text::clean;
use remora_model::places::{self, Meaning};
use remora_model::{Fact, Finding, Notice, NoticeKind, Subject, Topic};
use std::collections::BTreeSet;

/// Notices that are told, of all processes.
const MAX_NOTICES: usize = 8;
/// Longest waits that are listed.
const LONGEST: usize = 3;

/// The waits that nobody can explain.
pub(crate) fn notices(scene: &Scene<'_>, found: &[Finding]) -> Vec<Notice> {
    let graph = Graph::of(scene);
    let waits = Waits::of(&graph);
    let told: BTreeSet<Subject> = found
        .iter()
        .flat_map(|it| it.about.iter().chain(&it.because_of))
        .copied()
        .collect();
    let mut unclear: Vec<_> = waits
        .of_targets(scene)
        .filter(|it| !told.contains(&Subject::Thread(it.thread.tid)))
        .filter(|it| {
            let is_long = it.since() >= scene.thresholds.unclear;
            let is_stuck = it.since() >= scene.thresholds.lock_stuck;
            asks_again(scene, it)
                || asks_for_result(scene, &waits, it)
                || (is_stuck && is_behind_rest(&graph, &waits, it))
                || (is_long && is_unclear(scene, &graph, &waits, it))
        })
        .collect();
    unclear.sort_by_key(|it| (std::cmp::Reverse(it.since()), it.index));
    let loops = loops::notices(scene, found);
    let waits = unclear.iter().map(|it| notice(&graph, it));
    loops.into_iter().chain(waits).take(MAX_NOTICES).collect()
}

/// A lock whose waiters wake up by themselves to ask again, as a monitor of HotSpot does after a second at most: no
/// single wait is long, and the thread did nothing else in the whole capture.
fn asks_again(scene: &Scene<'_>, waiting: &Waiting<'_>) -> bool {
    waiting.kind == Kind::Lock && waiting.timed && always_for_locks(scene, waiting.index)
}

/// A job that waits for the result of another by asking again and again, as a client of a broker does: no single wait is
/// long, and the thread did nothing else for as long as a wait has to last.
fn asks_for_result(scene: &Scene<'_>, waits: &Waits<'_>, waiting: &Waiting<'_>) -> bool {
    waiting.kind == Kind::Future
        && waiting.reading.job
        && waiting.thread.observed >= scene.thresholds.unclear
        && always(scene, waiting.index, |stack| {
            let reading = places::read(stack);
            reading.job && reading.what == Some(Meaning::Future)
        })
        && !someone_works(scene, waits, waiting.thread.pid)
}

fn is_unclear(
    scene: &Scene<'_>,
    graph: &Graph<'_>,
    waits: &Waits<'_>,
    waiting: &Waiting<'_>,
) -> bool {
    // Somebody is known who can end it.
    if graph.wait(Node::Thread(waiting.index)).is_some() {
        return false;
    }
    match waiting.kind {
        Kind::Future | Kind::Join | Kind::Slot => {
            (waiting.kind != Kind::Join || waiting.reading.job)
                && !someone_works(scene, waits, waiting.thread.pid)
        }
        Kind::Runtime | Kind::Condition | Kind::Queue | Kind::Unexplained => {
            !waiting.reading.gaps || waiting.reading.job
        }
        _ => false,
    }
}

fn notice(graph: &Graph<'_>, waiting: &Waiting<'_>) -> Notice {
    let scene = graph.scene();
    let thread = waiting.thread;
    let asks = waiting.since() < scene.thresholds.unclear;
    let (time, at_least) = match asks {
        true => (thread.observed, true),
        false => (waiting.since(), waiting.at_least()),
    };
    let since = words::since(time, at_least);
    let name = scene.process_name(thread.pid);
    let node = Node::Thread(waiting.index);
    let mut evidence = vec![Fact {
        what: Topic::Waits,
        value: format!(
            "{} waits for {} for {since}",
            words::thread(thread),
            waiting.kind.words()
        ),
    }];
    let code = graph.code(node).map(|value| Fact {
        what: Topic::Where,
        value,
    });
    evidence.extend(code);
    let chain = graph.chain(waiting.index);
    evidence.extend(chain.facts(graph));
    evidence.push(Fact {
        what: Topic::Unknown,
        value: match chain.steps.is_empty() {
            true => unknown(waiting.kind),
            false => "whether its holder waits for work, or for what only those behind it can do",
        }
        .to_owned(),
    });
    let place = graph.place(node);
    let place = place.as_deref().map_or("its place", |place| place);
    Notice {
        kind: NoticeKind::UnexplainedWait,
        pid: thread.pid,
        tid: Some(thread.tid),
        thread: thread.comm.clone(),
        since: Some(time),
        since_at_least: at_least,
        summary: format!(
            "cannot tell whether {name} is healthy: {} blocked for {since}",
            words::thread(thread)
        ),
        evidence,
        next: match lock_stuck::database::of(scene, waiting) {
            Some(server) => server.next(thread),
            None => format!(
                "Check whether {} should wait at {} now. Watch longer: remora triage --pid {} --duration 30s",
                words::thread(thread),
                clean(place),
                thread.pid
            ),
        },
    }
}

const fn unknown(kind: Kind) -> &'static str {
    match kind {
        Kind::Future => "who should make the result: no thread of the process works",
        Kind::Queue => "who should use the other end of the queue",
        Kind::Runtime => "who should wake the future: the thread drives it from inside a job",
        Kind::Slot => "who holds the slots",
        Kind::Lock => "who holds it, and whether it is passed on: its waiters wake up to ask again",
        Kind::Unexplained => "whether it is a lock, and who holds it: its memory names nobody",
        _ => "who should notify it: a condition names nobody",
    }
}

/// What the threads of targets wait for that have not moved for longest.
pub(crate) fn longest(scene: &Scene<'_>) -> Vec<String> {
    let graph = Graph::of(scene);
    let waits = Waits::of(&graph);
    let mut all: Vec<_> = waits.of_targets(scene).collect();
    all.sort_by_key(|it| (std::cmp::Reverse(it.since()), it.index));
    let shown = all.iter().take(LONGEST);
    shown
        .map(|it| match graph.place(Node::Thread(it.index)) {
            Some(place) => format!("{}: {place}", line(it)),
            None => line(it),
        })
        .collect()
}

#[cfg(test)]
mod tests;
