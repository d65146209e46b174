//! The judgement: one file a finding, each a pure function of a `Scene`.
//!
//! An analyzer answers one question about the end of a capture, with what the capture saw as
//! evidence. It knows neither clocks nor files, and it has no memory: the same capture gives the same
//! findings. What is wrong in one place is often the reason for what is wrong in another;
//! `incident` puts the findings together that have one cause.
//!
//! A false alarm costs more than a missed one. So every analyzer asks for evidence of harm, not only for an
//! unusual figure, and says in its file which healthy programs look similar and what tells them apart.

mod blocked_syscall;
mod busy_spin;
mod close_wait;
mod connections;
mod cycle_overrun;
mod deadlock;
mod event_loops;
mod fd_leak;
mod feed_gap;
pub mod graph;
mod heartbeat;
mod incident;
mod limits;
mod lock_contention;
mod lock_stuck;
mod loop_blocked;
mod memory_leak;
mod no_answer;
mod nobody_left;
mod not_consuming;
mod peer_not_consuming;
mod pool_exhausted;
mod readers;
mod rise;
mod scene;
mod starved;
mod stopped;
mod tasks;
mod thread_leak;
pub mod thresholds;
mod unclear;
mod unsampled;
mod waiting;
mod waits;
mod words;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;

pub use heartbeat::{Heartbeat, MAX_HEARTBEATS, Pulse};
pub use memory_leak::evidence as leak_evidence;
pub use thresholds::Thresholds;

use remora_model::{
    Capture, Finding, FindingKind, Incident, Judgement, MemoryTrend, Notice, Process, SkipReason,
    Skipped, Subject, Verdict,
};
use scene::Scene;
use std::time::Duration;

/// What an analyzer says.
#[derive(Debug, Default)]
struct Findings {
    found: Vec<Finding>,
    /// What could not be judged, and why.
    skipped: Vec<Skipped>,
    /// How the memory of each process moved.
    memory_trends: Vec<MemoryTrend>,
    /// What may be wrong and cannot be told yet.
    notices: Vec<Notice>,
}

impl Findings {
    fn skip(&mut self, kind: FindingKind, why: SkipReason) {
        self.skipped.push(Skipped { kind, why });
    }

    fn push(&mut self, finding: Finding) {
        self.found.push(finding);
    }
}

/// One question.
type Analyzer = fn(&Scene<'_>, &mut Findings);

/// All of them.
const ANALYZERS: &[Analyzer] = &[
    stopped::analyze,
    deadlock::analyze,
    nobody_left::analyze,
    lock_stuck::analyze,
    pool_exhausted::analyze,
    loop_blocked::analyze,
    not_consuming::analyze,
    peer_not_consuming::analyze,
    blocked_syscall::analyze,
    no_answer::analyze,
    heartbeat::analyze,
    busy_spin::analyze,
    lock_contention::analyze,
    cycle_overrun::analyze,
    starved::analyze,
    feed_gap::analyze,
    fd_leak::analyze,
    thread_leak::analyze,
    memory_leak::analyze,
    close_wait::analyze,
    unsampled::analyze,
];

/// A process that used less than this share of a CPU had nothing to do.
const IDLE_CPU: f64 = 0.01;

/// Judges a capture.
pub fn judge(capture: &Capture, thresholds: &Thresholds) -> Judgement {
    judge_with(capture, thresholds, &[])
}

/// Judges a capture in which something was declared to move.
pub fn judge_with(
    capture: &Capture,
    thresholds: &Thresholds,
    heartbeats: &[Heartbeat],
) -> Judgement {
    let mut scene = Scene::new(capture, thresholds);
    scene.heartbeats = heartbeats;
    let mut findings = Findings::default();
    for analyze in ANALYZERS {
        analyze(&scene, &mut findings);
    }
    let mut notices = unclear::notices(&scene, &findings.found);
    notices.append(&mut findings.notices);
    let found = without_heirs(&scene, findings.found);
    let mut incidents = incident::group(found);
    incidents.retain(|incident| concerns_target(&scene, incident));
    let verdict = match incidents.first() {
        Some(worst) => Verdict::Sick(worst.cause.kind),
        None if !notices.is_empty() => Verdict::Unclear,
        None if is_idle(capture) => Verdict::Idle,
        None => Verdict::Healthy,
    };
    Judgement {
        verdict,
        incidents,
        notices,
        longest: unclear::longest(&scene),
        skipped: findings.skipped,
        limits: limits::of(&scene),
        memory_trends: findings.memory_trends,
    }
}

/// Findings without those of children that were followed, about what they have in common with the process that was named: a
/// socket that a fork handed on is one socket.
fn without_heirs(scene: &Scene<'_>, found: Vec<Finding>) -> Vec<Finding> {
    let is_followed = |pid: u32| {
        let process = scene.process(pid);
        process.is_some_and(|process| process.followed.is_some())
    };
    let named: Vec<(FindingKind, Vec<Subject>)> = found
        .iter()
        .filter(|it| !it.about.is_empty() && !is_followed(it.pid))
        .map(|it| (it.kind, it.about.clone()))
        .collect();
    let is_told = |it: &Finding| {
        let mut named = named.iter();
        named.any(|(kind, about)| *kind == it.kind && *about == it.about)
    };
    let found = found.into_iter();
    found
        .filter(|it| !is_followed(it.pid) || !is_told(it))
        .collect()
}

/// Whether a target is in it: others are only looked at because a target waits for them.
fn concerns_target(scene: &Scene<'_>, incident: &Incident) -> bool {
    let is_target = |pid: u32| scene.process(pid).is_none_or(Process::is_target);
    let concerns = |subject: &Subject| match subject {
        Subject::Thread(tid) => scene
            .thread(*tid)
            .is_some_and(|(_, thread)| is_target(thread.pid)),
        _ => false,
    };
    incident
        .findings()
        .any(|finding| is_target(finding.pid) || finding.about.iter().any(concerns))
}

fn is_idle(capture: &Capture) -> bool {
    let related = |pid: u32| {
        let mut processes = capture.processes.iter();
        processes.any(|process| process.pid == pid && !process.is_target())
    };
    let own = capture.threads.iter().filter(|thread| !related(thread.pid));
    let used = own.map(|thread| thread.on_cpu);
    let used = used.fold(Duration::ZERO, Duration::saturating_add);
    used.as_secs_f64() < IDLE_CPU * capture.duration.as_secs_f64()
}
