//! `stopped`: a process does not run because somebody stopped it.
//!
//! Three ways lead there: job control (SIGSTOP and its like), a tracer that holds it, a frozen control
//! group. What looks similar and is none: a process under `strace` or a profiler that lets it run, which
//! stops for microseconds at a time. So a stop counts only when it lasts, and a tracer alone is nothing.

use super::{Findings, Scene, words};
use crate::model::{
    Finding, FindingKind, Process, Reason, Severity, State, Subject, Thread, Topic,
};
use crate::words::text::clean;
use std::time::Duration;

/// Threads that a finding names as its subjects.
const MAX_SUBJECTS: usize = 4096;

pub fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    for process in &scene.capture.processes {
        let threads: Vec<&Thread> = scene
            .living()
            .map(|(_, thread)| thread)
            .filter(|thread| thread.pid == process.pid)
            .collect();
        if let Some(finding) = frozen(scene, process, &threads) {
            findings.push(finding);
        } else if let Some(finding) = halted(scene, process, &threads) {
            findings.push(finding);
        }
    }
}

/// Whether a thread stands still by a stop.
fn is_stopped(thread: &Thread) -> bool {
    thread.now.state == State::Blocked && thread.now.reason == Some(Reason::Stopped)
}

/// How long something holds for all of these threads, and whether that is a bound.
fn since(threads: &[&Thread]) -> Option<(Duration, bool)> {
    let shortest = threads.iter().min_by_key(|thread| thread.now.since)?;
    Some((shortest.now.since, shortest.now.since_inferred))
}

/// Held by the freezer of its control group.
fn frozen(scene: &Scene<'_>, process: &Process, threads: &[&Thread]) -> Option<Finding> {
    let group = scene
        .capture
        .conditions
        .of(process.pid)?
        .frozen
        .as_deref()?;
    let since = since(threads)?;
    if since.0 < scene.thresholds.stopped {
        return None;
    }
    let mut finding = start(scene, process, threads, since);
    finding.summary = format!(
        "{} does not run: its control group has been frozen for {}",
        scene.process_name(process.pid),
        words::since(since.0, since.1)
    );
    let group = clean(group);
    finding = finding.fact(
        Topic::Cgroup,
        format!(
            "{group} is frozen, with {} threads of this process in it",
            threads.len()
        ),
    );
    finding.next = "find who froze the control group (docker pause, systemctl freeze, a checkpoint), and thaw it".into();
    Some(finding)
}

/// Stopped by a signal or a tracer.
fn halted(scene: &Scene<'_>, process: &Process, threads: &[&Thread]) -> Option<Finding> {
    let stopped: Vec<&Thread> = threads
        .iter()
        .copied()
        .filter(|thread| is_stopped(thread) && thread.now.since >= scene.thresholds.stopped)
        .collect();
    let since = since(&stopped)?;
    let mut finding = start(scene, process, &stopped, since);
    let name = scene.process_name(process.pid);
    let time = words::since(since.0, since.1);
    let who = match stopped.len() == threads.len() {
        true => format!("{name} is stopped"),
        false => format!(
            "{name} has {} of {} threads stopped",
            stopped.len(),
            threads.len()
        ),
    };
    let tracer = scene
        .capture
        .conditions
        .of(process.pid)
        .and_then(|it| it.tracer.as_ref());
    if let Some(tracer) = tracer {
        let by = format!("{} ({})", clean(&tracer.comm), tracer.pid);
        finding.summary = format!("{who} by {by}, which traces it, for {time}");
        finding = finding.fact(Topic::Tracer, format!("{by} traces it and holds it"));
        finding.next =
            format!("let {by} go on or detach; nothing in this process moves before that");
        finding.because_of.push(Subject::Process(tracer.pid));
    } else {
        finding.summary = format!("{who} by job control for {time}");
        finding = finding.fact(
            Topic::Signal,
            "SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU; no tracer",
        );
        finding.next = format!(
            "find who sent the signal (a shell's job control, an operator, a supervisor); kill -CONT {} lets it go on",
            process.pid
        );
    }
    finding = finding.fact(
        Topic::Threads,
        format!("{} of {} do not run", stopped.len(), threads.len()),
    );
    Some(finding)
}

fn start(
    scene: &Scene<'_>,
    process: &Process,
    threads: &[&Thread],
    since: (Duration, bool),
) -> Finding {
    let mut finding = scene.about_process(FindingKind::Stopped, Severity::Critical, process.pid);
    finding.since = Some(since.0);
    finding.since_at_least = since.1;
    let threads = threads
        .iter()
        .take(MAX_SUBJECTS)
        .map(|thread| Subject::Thread(thread.tid));
    finding.about = std::iter::once(Subject::Process(process.pid))
        .chain(threads)
        .collect();
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Thresholds, judge};
    use crate::model::{
        Actor, Capture, Condition,
        fixture::{Builder, ms},
    };

    fn capture(reason: Reason, since: Duration, condition: Condition) -> Capture {
        let mut capture = Builder::new(7, "feedd").finish();
        capture.threads[0].now.state = State::Blocked;
        capture.threads[0].now.reason = Some(reason);
        capture.threads[0].now.since = since;
        capture.conditions.processes = vec![Condition {
            pid: 7,
            ..condition
        }];
        capture
    }

    fn summaries(capture: &Capture) -> Vec<String> {
        let judgement = judge(capture, &Thresholds::default());
        judgement
            .findings()
            .map(|finding| finding.summary.clone())
            .collect()
    }

    fn traced() -> Condition {
        Condition {
            tracer: Some(Actor {
                pid: 9,
                comm: "gdb".into(),
            }),
            ..Condition::default()
        }
    }

    #[test]
    fn a_stop_is_told_with_who_did_it() {
        let by_signal = summaries(&capture(Reason::Stopped, ms(60_000), Condition::default()));
        assert_eq!(
            by_signal,
            ["feedd (7) is stopped by job control for 60.0 s"]
        );
        let by_tracer = summaries(&capture(Reason::Stopped, ms(60_000), traced()));
        assert_eq!(
            by_tracer,
            ["feedd (7) is stopped by gdb (9), which traces it, for 60.0 s"]
        );
        let frozen = Condition {
            frozen: Some("/box".into()),
            ..Condition::default()
        };
        let frozen = summaries(&capture(Reason::Epoll, ms(60_000), frozen));
        assert!(frozen[0].contains("frozen"), "{frozen:?}");
    }

    #[test]
    fn a_tracer_that_lets_it_run_and_a_stop_of_a_moment_are_nothing() {
        assert!(summaries(&capture(Reason::Epoll, ms(60_000), traced())).is_empty());
        assert!(summaries(&capture(Reason::Stopped, ms(20), traced())).is_empty());
    }
}
