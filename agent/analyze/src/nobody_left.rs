//! `deadlock` without a cycle of locks: every thread of a process waits for another thread of it, and nobody is left
//! who could wake anybody.
//!
//! All workers of a pool wait for results that only a worker of the same pool could make; all workers of a runtime
//! drive a future in `block_on`, and none polls the network; a notification came before the wait for it. No thread
//! of such a process runs, none waits for time, input, a signal or a child. A process at rest looks similar: its workers
//! wait for work, its main thread for their end. What tells it apart is at least one thread that waits for the
//! result of another one, or from inside a job.

use super::waits::{Kind, Waiting, Waits};
use super::{Findings, Scene, graph::Graph, graph::Node, words};
use remora_model::display::text::counted;
use remora_model::{
    Confidence, Fact, Finding, FindingKind, Process, Severity, State, Subject, Topic,
};
use std::time::Duration;

/// Threads that are shown one by one.
const SHOWN: usize = 4;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let graph = Graph::of(scene);
    let waits = Waits::of(&graph);
    for process in scene.capture.processes.iter().filter(|it| it.is_target()) {
        if let Some(stuck) = stuck(scene, &graph, &waits, process) {
            findings.push(finding(scene, &graph, process, &stuck));
        }
    }
}

/// Whether all threads of a process wait for each other: then that is told, and not what follows from it.
pub(super) fn is_closed(graph: &Graph<'_>, waits: &Waits<'_>, pid: u32) -> bool {
    let scene = graph.scene();
    let process = scene.process(pid);
    process.is_some_and(|process| stuck(scene, graph, waits, process).is_some())
}

/// The threads that wait for the result of another one, where every thread of the process waits for another one.
fn stuck<'w, 'a>(
    scene: &Scene<'_>,
    graph: &Graph<'_>,
    waits: &'w Waits<'a>,
    process: &Process,
) -> Option<Vec<&'w Waiting<'a>>> {
    let mut own = scene.living().filter(|(_, it)| it.pid == process.pid);
    let closed = own.all(|(_, thread)| thread.now.state == State::Blocked);
    let all: Vec<_> = waits.of_process(process.pid).collect();
    let within = |it: &&Waiting<'_>| it.kind.wants_a_thread() && !it.timed && !is_shared(graph, it);
    if !closed || all.is_empty() || !all.iter().all(within) {
        return None;
    }
    let threshold = scene.thresholds.lock_stuck;
    if all.iter().any(|it| it.since() < threshold) {
        return None;
    }
    let wants = |it: &&Waiting<'_>| {
        matches!(it.kind, Kind::Future)
            || (it.reading.job && matches!(it.kind, Kind::Runtime | Kind::Condition | Kind::Queue))
    };
    let wanting: Vec<_> = all.into_iter().filter(wants).collect();
    (!wanting.is_empty()).then_some(wanting)
}

/// Whether another process could end the wait.
fn is_shared(graph: &Graph<'_>, waiting: &Waiting<'_>) -> bool {
    graph.lock(waiting.index).is_some_and(|lock| lock.shared)
}

fn finding(
    scene: &Scene<'_>,
    graph: &Graph<'_>,
    process: &Process,
    stuck: &[&Waiting<'_>],
) -> Finding {
    let name = scene.process_name(process.pid);
    let youngest = stuck.iter().min_by_key(|it| it.since());
    let (since, at_least) = youngest.map_or((Duration::ZERO, false), |it| {
        (it.since(), it.thread.now.since_inferred)
    });
    let threads: Vec<_> = scene
        .living()
        .filter(|(_, it)| it.pid == process.pid)
        .collect();
    let mut finding = scene.about_process(FindingKind::Deadlock, Severity::Critical, process.pid);
    finding.confidence = Confidence::Inferred;
    finding.since = Some(since);
    finding.since_at_least = at_least;
    let number = counted(threads.len() as u64, "thread");
    finding.summary = words::Headline {
        who: &format!("all {number}"),
        of: &name,
        what: &format!("wait for each other for {}", words::since(since, at_least)),
        detail: "nobody is left to wake them",
    }
    .fitted();
    for waiting in stuck.iter().take(SHOWN) {
        let value = super::waits::line(waiting);
        finding.evidence.push(Fact {
            what: Topic::Waits,
            value,
        });
    }
    if stuck.len() > SHOWN {
        finding = finding.fact(Topic::Waits, format!("and {} more", stuck.len() - SHOWN));
    }
    for code in graph.code_of(stuck.iter().map(|it| it.index), 2) {
        finding = finding.fact(Topic::Where, code);
    }
    let how = "no thread of the process runs, or waits for time, input, a signal, a child or another process";
    finding = finding.fact(Topic::Inferred, how);
    let place = stuck
        .first()
        .and_then(|it| graph.place(Node::Thread(it.index)));
    let at = place
        .map(|place| format!(" at {place}"))
        .unwrap_or_default();
    finding.next = format!(
        "Restart {name} to recover. Then do not wait{at} for what only the same threads can do: use a second pool, or await instead of blocking."
    );
    let threads = threads.iter().map(|(_, it)| Subject::Thread(it.tid));
    finding.about = threads.collect();
    finding
}

#[cfg(test)]
mod tests;
