//! Loops that seem stuck where it is not known whether they are: polls that find something at once were not seen, and
//! not counted; or the loop does many pieces of work from one poll to the next.

use crate::event_loops::{Places, Proof, Stuck, stuck};
use crate::{Scene, loop_blocked::loop_name, words};
use remora_model::display::text::{counted, share};
use remora_model::{Fact, Finding, Notice, NoticeKind, Process, Subject, Thread, Topic};

/// Those of targets of which no finding tells already.
pub(super) fn notices(scene: &Scene<'_>, found: &[Finding]) -> Vec<Notice> {
    let places = Places::new(scene);
    let told = |tid: u32| {
        let mut findings = found.iter();
        findings.any(|it| it.about.contains(&Subject::Thread(tid)))
    };
    let living = scene.living().filter(|(_, thread)| {
        let process = scene.process(thread.pid);
        process.is_some_and(Process::is_target) && !told(thread.tid)
    });
    living
        .filter_map(|(index, thread)| {
            let threshold = scene.thresholds.loop_blocked;
            let found = stuck(scene, &places, (index, thread), threshold)?;
            (!found.is_proven()).then(|| notice(scene, thread, found))
        })
        .collect()
}

fn notice(scene: &Scene<'_>, thread: &Thread, stuck: Stuck) -> Notice {
    let name = scene.process_name(thread.pid);
    let since = words::since(stuck.since, true);
    let used = share(thread.on_cpu, thread.observed);
    let samples = counted(stuck.samples.unwrap_or(0), "sample");
    let mut evidence = vec![Fact {
        what: Topic::Reason,
        value: format!(
            "{} uses {used} of one CPU; of {samples} none is in a poll",
            words::thread(thread)
        ),
    }];
    let stack = stuck.stack.and_then(|at| scene.capture.stacks.get(at));
    let code = stack.and_then(words::code);
    evidence.extend(code.map(|value| Fact {
        what: Topic::Where,
        value,
    }));
    let (unknown, next) = match stuck.proof {
        Proof::Batches => (
            "one long task, or many: tokio polls for events once in up to 61 tasks",
            "Check how long one poll of a task takes (tokio-console).",
        ),
        _ => (
            "whether it polls in between: a poll that finds an event at once was not seen",
            "Look again with --loop exact, which sees each poll.",
        ),
    };
    evidence.push(Fact {
        what: Topic::Unknown,
        value: unknown.to_owned(),
    });
    Notice {
        kind: NoticeKind::UnconfirmedLoop,
        pid: thread.pid,
        tid: Some(thread.tid),
        thread: thread.comm.clone(),
        since: Some(stuck.since),
        since_at_least: true,
        summary: format!(
            "cannot tell whether the {} of {name} is blocked: no wait seen for {since}",
            loop_name(stuck.kind)
        ),
        evidence,
        next: next.to_owned(),
    }
}
