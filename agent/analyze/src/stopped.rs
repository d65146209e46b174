//! `stopped`: a process does not run because somebody stopped it.
//!
//! Three ways lead there: job control (SIGSTOP and its like), a tracer that holds it, a frozen cgroup. What looks similar and is none: a process under `strace` or a profiler that lets it run, which
//! stops for microseconds at a time. So a stop counts only when it lasts, and a tracer alone is nothing.

use super::{
    Findings, Scene,
    words::{self, Headline},
};
use remora_model::display::text::{clean, counted};
use remora_model::{
    Finding, FindingKind, Process, Reason, Severity, State, Subject, Thread, Topic,
};
use std::time::Duration;

/// Threads that a finding names as its subjects.
const MAX_SUBJECTS: usize = 4096;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
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

/// Frozen with its cgroup.
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
    let group = clean(group);
    finding.summary = Headline {
        who: &scene.process_name(process.pid),
        what: &format!(
            "frozen for {} by cgroup {group}",
            words::since(since.0, since.1)
        ),
        ..Headline::default()
    }
    .fitted();
    let all = counted(threads.len() as u64, "thread");
    finding = finding.fact(
        Topic::Cgroup,
        format!("{group}, frozen, {all} of this process"),
    );
    finding.next = format!("Thaw {group} (docker unpause, systemctl thaw).");
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
    let time = words::since(since.0, since.1);
    let tracer = scene
        .capture
        .conditions
        .of(process.pid)
        .and_then(|it| it.tracer.as_ref());
    let by = match tracer {
        Some(tracer) => format!("tracer {} ({})", clean(&tracer.comm), tracer.pid),
        None => "a job-control signal".to_owned(),
    };
    finding.summary = Headline {
        who: &scene.process_name(process.pid),
        what: &format!("stopped for {time} by {by}"),
        ..Headline::default()
    }
    .fitted();
    if let Some(tracer) = tracer {
        let name = format!("{} ({})", clean(&tracer.comm), tracer.pid);
        finding = finding.fact(Topic::Tracer, name.as_str());
        finding.next = format!("Detach or continue {name}.");
        finding.because_of.push(Subject::Process(tracer.pid));
    } else {
        finding = finding.fact(
            Topic::Signal,
            "SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU; no tracer",
        );
        finding.next = format!(
            "Resume: kill -CONT {}. Then find the sender (shell, operator, supervisor).",
            process.pid
        );
    }
    finding = finding.fact(
        Topic::Threads,
        format!("{} of {} stopped", stopped.len(), threads.len()),
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
    use crate::{Thresholds, judge};
    use remora_model::{
        Actor, Capture, Constraint,
        fixture::{Builder, ms},
    };

    fn capture(reason: Reason, since: Duration, condition: Constraint) -> Capture {
        let mut capture = Builder::new(7, "feedd").finish();
        capture.threads[0].now.state = State::Blocked;
        capture.threads[0].now.reason = Some(reason);
        capture.threads[0].now.since = since;
        capture.conditions.processes = vec![Constraint {
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

    fn traced() -> Constraint {
        Constraint {
            tracer: Some(Actor {
                pid: 9,
                comm: "gdb".into(),
            }),
            ..Constraint::default()
        }
    }

    #[test]
    fn a_stop_is_told_with_who_did_it() {
        let by_signal = summaries(&capture(Reason::Stopped, ms(60_000), Constraint::default()));
        assert_eq!(
            by_signal,
            ["feedd (7) stopped for 60.0 s by a job-control signal"]
        );
        let by_tracer = summaries(&capture(Reason::Stopped, ms(60_000), traced()));
        assert_eq!(
            by_tracer,
            ["feedd (7) stopped for 60.0 s by tracer gdb (9)"]
        );
        let frozen = Constraint {
            frozen: Some("/box".into()),
            ..Constraint::default()
        };
        let frozen = summaries(&capture(Reason::Epoll, ms(60_000), frozen));
        assert_eq!(frozen, ["feedd (7) frozen for 60.0 s by cgroup /box"]);
    }

    #[test]
    fn a_tracer_that_lets_it_run_and_a_stop_of_a_moment_are_nothing() {
        assert!(summaries(&capture(Reason::Epoll, ms(60_000), traced())).is_empty());
        assert!(summaries(&capture(Reason::Stopped, ms(20), traced())).is_empty());
    }
}
