//! `pool_exhausted`: a thread has waited for longer than the threshold for a free connection or other slot of a pool,
//! or jobs wait for an executor all of whose threads are stuck ([`executor`]).
//!
//! That a pool is empty for a moment is what it is there for. A wait of ten seconds says that who has the slots does
//! not give them back: jobs that ask for a second slot while they hold one, jobs that hang. Who waits where is read
//! from the stacks. The pool's size, and who holds its slots, is read from the objects of Python's pools ([`slots`]);
//! of others it is not known, so the other threads of the process that wait in the middle of something are shown.

mod executor;
mod slots;

pub(crate) use slots::of as slot_pool;

use super::lock_stuck::is_semaphore;
use super::waits::{Kind, Rest, Waiting, Waits, someone_works};
use super::{Findings, Scene, graph::Graph, graph::Node, words};
use remora_model::display::text::{counted, duration};
use remora_model::{Confidence, Finding, FindingKind, Severity, Subject, Topic};
use std::collections::BTreeMap;

/// Other threads that are shown.
const SHOWN: usize = 4;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let graph = Graph::of(scene);
    let waits = Waits::of(&graph);
    // By process, and by pool object where that is known.
    let mut by_pool: BTreeMap<(u32, Option<u64>), Vec<&Waiting<'_>>> = BTreeMap::new();
    for waiting in waits.of_targets(scene) {
        let long = waiting.since() >= scene.thresholds.lock_stuck;
        let pool = slots::of(scene, waiting.thread);
        // One that somebody wrote may limit how many work at a time, as a semaphore does.
        let limits =
            pool.is_some_and(|it| it.by_hand) && someone_works(scene, &waits, waiting.thread.pid);
        if long && waiting.kind == Kind::Slot && !is_semaphore(scene, waiting) && !limits {
            by_pool
                .entry((waiting.thread.pid, pool.map(|it| it.object)))
                .or_default()
                .push(waiting);
        }
    }
    for ((pid, _), mut waiters) in by_pool {
        waiters.sort_by_key(|it| (std::cmp::Reverse(it.since()), it.index));
        let pool = waiters.first().and_then(|it| slots::of(scene, it.thread));
        let found = match pool {
            Some(pool) => slots::finding(&graph, &waits, pool, &waiters),
            None => {
                let holders = waits.of_process(pid).filter(|it| may_hold(it));
                let holders: Vec<_> = holders.collect();
                finding(&graph, &waiters, &holders)
            }
        };
        if let Some(found) = found {
            findings.push(found);
        }
    }
    executor::analyze(&graph, &waits, findings);
}

/// Waits in the middle of something.
fn may_hold(waiting: &Waiting<'_>) -> bool {
    !matches!(waiting.kind, Kind::Rest(_) | Kind::Slot | Kind::Timer)
        || (waiting.kind == Kind::Rest(Rest::Bottom) && waiting.reading.job)
}

/// What is said of any pool: who waits, since when, where.
fn waits_for_slot(graph: &Graph<'_>, waiters: &[&Waiting<'_>], detail: &str) -> Option<Finding> {
    let scene = graph.scene();
    let first = waiters.first()?;
    let (thread, now) = (first.thread, &first.thread.now);
    let mut finding = scene.about_thread(FindingKind::PoolExhausted, Severity::Critical, thread);
    finding.confidence = Confidence::Inferred;
    finding.since = Some(now.since);
    finding.since_at_least = now.since_inferred;
    finding.summary = words::Headline {
        who: &counted(waiters.len() as u64, "thread"),
        of: &scene.process_name(thread.pid),
        what: &format!("waited ≥ {} for a free pool slot", duration(now.since)),
        detail,
    }
    .fitted();
    for waiting in waiters.iter().take(SHOWN) {
        finding = finding.fact(Topic::Waits, super::waits::line(waiting));
    }
    if let Some(code) = graph.code(Node::Thread(first.index)) {
        finding = finding.fact(Topic::Where, code);
    }
    finding.about = waiters
        .iter()
        .map(|it| Subject::Thread(it.thread.tid))
        .collect();
    Some(finding)
}

/// Where the first of them waits, in words.
fn place(graph: &Graph<'_>, waiters: &[&Waiting<'_>]) -> String {
    let place = waiters
        .first()
        .and_then(|it| graph.place(Node::Thread(it.index)));
    place
        .map(|place| format!(" at {place}"))
        .unwrap_or_default()
}

fn finding(
    graph: &Graph<'_>,
    waiters: &[&Waiting<'_>],
    holders: &[&Waiting<'_>],
) -> Option<Finding> {
    let mut finding = waits_for_slot(graph, waiters, "")?;
    for holder in holders.iter().take(SHOWN) {
        let words = format!("{} (may hold a slot)", super::waits::line(holder));
        finding = finding.fact(Topic::Holder, words);
    }
    finding = finding.fact(
        Topic::Inferred,
        "the pool is known by the function on the stack",
    );
    let at = place(graph, waiters);
    finding.next = format!(
        "Find who holds the slots that are waited for{at}. A job must not ask for a second slot while it holds one."
    );
    finding.because_of = holders
        .iter()
        .map(|it| Subject::Thread(it.thread.tid))
        .collect();
    Some(finding)
}

#[cfg(test)]
mod tests;
