//! An executor all of whose threads are in jobs that do not move, while other jobs are queued: nobody will take those.
//!
//! Size, threads and queue are read from the interpreter's memory. A job that sleeps for a while, computes, reads
//! from storage or waits for a child moves by itself: an executor with one such job is only busy, and so is one whose
//! jobs wait for what others of the process still work at.

use crate::graph::{Graph, Node};
use crate::nobody_left;
use crate::waits::{Kind, Waiting, Waits, line};
use crate::{Findings, Scene, words};
use remora_model::display::text::{counted, duration};
use remora_model::{Confidence, Finding, FindingKind, PythonPool, Severity, Subject, Topic};

/// Threads that are shown.
const SHOWN: usize = 4;

pub(super) fn analyze(graph: &Graph<'_>, waits: &Waits<'_>, findings: &mut Findings) {
    let scene = graph.scene();
    for pool in &scene.capture.python_pools {
        let closed = || nobody_left::is_closed(graph, waits, pool.pid);
        if let Some(workers) = stuck(scene, waits, pool)
            && !closed()
        {
            findings.push(finding(graph, pool, &workers));
        }
    }
}

/// The threads of an executor, if none is left for the jobs in its queue.
fn stuck<'w, 'a>(
    scene: &'w Scene<'_>,
    waits: &'w Waits<'a>,
    pool: &PythonPool,
) -> Option<Vec<&'w Waiting<'a>>> {
    let full = pool.size > 0 && pool.workers.len() as u64 == pool.size;
    if pool.queued == 0 || !full {
        return None;
    }
    let own = waits
        .of_targets(scene)
        .filter(|it| it.thread.pid == pool.pid && pool.workers.contains(&it.thread.tid));
    let mut own: Vec<_> = own.collect();
    let all = own.len() == pool.workers.len() && own.iter().all(|it| is_stuck(scene, it));
    own.sort_by_key(|it| (it.since(), it.index));
    all.then_some(own)
}

fn is_stuck(scene: &Scene<'_>, waiting: &Waiting<'_>) -> bool {
    let limit = match waiting.kind {
        Kind::Lock | Kind::Condition | Kind::Queue | Kind::Future | Kind::Runtime | Kind::Slot => {
            scene.thresholds.lock_stuck
        }
        Kind::Answer | Kind::Handshake | Kind::Data => scene.thresholds.no_answer,
        _ => return false,
    };
    !waiting.timed && waiting.since() >= limit
}

fn finding(graph: &Graph<'_>, pool: &PythonPool, workers: &[&Waiting<'_>]) -> Finding {
    let scene = graph.scene();
    let name = scene.process_name(pool.pid);
    let mut finding = scene.about_process(FindingKind::PoolExhausted, Severity::Critical, pool.pid);
    finding.confidence = Confidence::Inferred;
    // Since the last of them stopped.
    if let Some(last) = workers.first() {
        finding.since = Some(last.since());
        finding.since_at_least = last.thread.now.since_inferred;
    }
    let since = finding.since.unwrap_or_default();
    finding.summary = words::Headline {
        who: &format!("all {}", counted(pool.size, "executor thread")),
        of: &name,
        what: &format!("blocked for ≥ {}", duration(since)),
        detail: &format!("{} queued", counted(pool.queued, "job")),
    }
    .fitted();
    let waits = format!(
        "{} in the queue of ThreadPoolExecutor {:#x}, size {}",
        counted(pool.queued, "job"),
        pool.object,
        pool.size
    );
    finding = finding.fact(Topic::Waits, waits);
    for worker in workers.iter().take(SHOWN) {
        finding = finding.fact(Topic::Holder, line(worker));
    }
    for code in graph.code_of(workers.iter().map(|it| it.index), 2) {
        finding = finding.fact(Topic::Where, code);
    }
    let how = "each of its threads is inside a job that has not moved since";
    finding = finding.fact(Topic::Inferred, how);
    let place = workers
        .first()
        .and_then(|it| graph.place(Node::Thread(it.index)));
    let at = place
        .map(|place| format!(" at {place}"))
        .unwrap_or_default();
    finding.next = format!(
        "Find what should end the wait{at}. Give such waits a timeout, or an executor of their own."
    );
    finding.because_of = workers
        .iter()
        .map(|it| Subject::Thread(it.thread.tid))
        .collect();
    finding
}

#[cfg(test)]
mod tests;
