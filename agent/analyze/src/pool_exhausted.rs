//! `pool_exhausted`: a thread has waited for longer than the threshold for a free connection or other slot of a pool,
//! or jobs wait for an executor all of whose threads are stuck ([`executor`]).
//!
//! That a pool is empty for a moment is what it is there for. A wait of ten seconds says that who has the slots does
//! not give them back: jobs that ask for a second slot while they hold one, jobs that hang. Who waits where is read
//! from the stacks; the pool's size and who holds the slots is not, so the other threads of the process that wait in
//! the middle of something are shown.

mod executor;

use super::lock_stuck::is_semaphore;
use super::waits::{Kind, Rest, Waiting, Waits};
use super::{Findings, Scene, graph::Graph, graph::Node, words};
use remora_model::display::text::counted;
use remora_model::{Confidence, Finding, FindingKind, Severity, Subject, Topic};
use std::collections::BTreeMap;

/// Other threads that are shown.
const SHOWN: usize = 4;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let graph = Graph::of(scene);
    let waits = Waits::of(&graph);
    let mut by_process: BTreeMap<u32, Vec<&Waiting<'_>>> = BTreeMap::new();
    for waiting in waits.of_targets(scene) {
        let long = waiting.since() >= scene.thresholds.lock_stuck;
        if long && waiting.kind == Kind::Slot && !is_semaphore(scene, waiting) {
            by_process
                .entry(waiting.thread.pid)
                .or_default()
                .push(waiting);
        }
    }
    for (pid, mut waiters) in by_process {
        waiters.sort_by_key(|it| (std::cmp::Reverse(it.since()), it.index));
        let holders = waits.of_process(pid).filter(|it| may_hold(it));
        let holders: Vec<_> = holders.collect();
        if let Some(first) = waiters.first() {
            findings.push(finding(&graph, first, &waiters, &holders));
        }
    }
    executor::analyze(&graph, &waits, findings);
}

/// Waits in the middle of something.
fn may_hold(waiting: &Waiting<'_>) -> bool {
    !matches!(waiting.kind, Kind::Rest(_) | Kind::Slot | Kind::Timer)
        || (waiting.kind == Kind::Rest(Rest::Bottom) && waiting.reading.job)
}

fn finding(
    graph: &Graph<'_>,
    first: &Waiting<'_>,
    waiters: &[&Waiting<'_>],
    holders: &[&Waiting<'_>],
) -> Finding {
    let scene = graph.scene();
    let thread = first.thread;
    let now = &thread.now;
    let name = scene.process_name(thread.pid);
    let mut finding = scene.about_thread(FindingKind::PoolExhausted, Severity::Critical, thread);
    finding.confidence = Confidence::Inferred;
    finding.since = Some(now.since);
    finding.since_at_least = now.since_inferred;
    finding.summary = words::Headline {
        who: &counted(waiters.len() as u64, "thread"),
        of: &name,
        what: &format!(
            "waited ≥ {} for a free pool slot",
            remora_model::display::text::duration(now.since)
        ),
        detail: "",
    }
    .fitted();
    for waiting in waiters.iter().take(SHOWN) {
        finding = finding.fact(Topic::Waits, super::waits::line(waiting));
    }
    if let Some(code) = graph.code(Node::Thread(first.index)) {
        finding = finding.fact(Topic::Where, code);
    }
    for holder in holders.iter().take(SHOWN) {
        let words = format!("{} (may hold a slot)", super::waits::line(holder));
        finding = finding.fact(Topic::Holder, words);
    }
    finding = finding.fact(
        Topic::Inferred,
        "the pool is known by the function on the stack",
    );
    let place = graph.place(Node::Thread(first.index));
    let at = place
        .map(|place| format!(" at {place}"))
        .unwrap_or_default();
    finding.next = format!(
        "Find who holds the slots that are waited for{at}. A job must not ask for a second slot while it holds one."
    );
    finding.about = waiters
        .iter()
        .map(|it| Subject::Thread(it.thread.tid))
        .collect();
    finding.because_of = holders
        .iter()
        .map(|it| Subject::Thread(it.thread.tid))
        .collect();
    finding
}

#[cfg(test)]
mod tests;
