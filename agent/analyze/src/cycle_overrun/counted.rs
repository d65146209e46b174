//! Long iterations of a loop that never sleeps in its wait, from the polls that were counted: where polls that find
//! something at once are not seen, no iteration of such a loop was seen to end.

use super::{TIME_SHARE, stacks, worst_place};
use crate::event_loops::{Kind, Place, Places, kind, task_loop};
use crate::{
    Findings, Scene,
    loop_blocked::loop_name,
    words::{self, Headline},
};
use remora_model::display::text::{counted, duration, percent};
use remora_model::{
    Confidence, Finding, FindingKind, PollCount, Severity, State, Subject, Task, TaskState, Thread,
    Topic,
};
use std::time::Duration;

/// Share of the counted time in long stretches: one of them by chance is none.
const LONG: f64 = 0.7;
/// Counted for less, it says nothing.
const LEAST: Duration = Duration::from_secs(1);

pub(super) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let mut made = None;
    for (index, polls) in &scene.capture.polls {
        let Some(thread) = scene.capture.threads.get(*index) else {
            continue;
        };
        let loops = task_loop(scene, thread);
        let turns = loops.is_some_and(|(_, own)| own.turns);
        if !is_slow(scene, *polls, turns) || thread.now.state == State::Exited {
            continue;
        }
        let places = made.get_or_insert_with(|| Places::new(scene));
        let own = scene.event_loop(*index);
        // It slept now and then: its iterations are judged by their lengths.
        if own.is_some_and(|own| own.lengths.count_from(scene.thresholds.cycle) > 0) {
            continue;
        }
        if let Some(kind) = kind(scene, places, (*index, thread), own) {
            // Where nothing was seen to begin, nothing was seen to be late.
            let all = |place: &Place| Place {
                late_samples: place.samples,
                late_blocked: place.blocked,
                ..*place
            };
            let places: Vec<Place> = places.of(*index).iter().map(all).collect();
            findings.push(finding(scene, thread, kind, *polls, &places));
        }
    }
}

/// Whether a loop was away from its polls for too long, most of the time. One that made none at all is blocked, or
/// no loop, but for one that went from callback to callback (`turns`).
fn is_slow(scene: &Scene<'_>, polls: PollCount, turns: bool) -> bool {
    let cycle = scene.thresholds.cycle;
    let long = polls.late.saturating_add(polls.open);
    let ends = polls.polls > 0 && polls.open < scene.thresholds.loop_blocked;
    (ends || turns)
        && polls.watched >= LEAST
        && polls.stretch() >= cycle
        && long.as_secs_f64() >= LONG.max(TIME_SHARE) * polls.watched.as_secs_f64()
}

fn finding(
    scene: &Scene<'_>,
    thread: &Thread,
    kind: Kind,
    polls: PollCount,
    places: &[Place],
) -> Finding {
    let mut finding = scene.about_thread(FindingKind::CycleOverrun, Severity::Warning, thread);
    finding.since = Some(polls.watched);
    finding.since_at_least = true;
    finding.about = vec![Subject::Thread(thread.tid)];
    finding.because_of = vec![Subject::Thread(thread.tid)];
    finding.confidence = Confidence::Inferred;
    let target = duration(scene.thresholds.cycle);
    finding.summary = Headline {
        who: &loop_name(kind),
        of: &scene.process_name(thread.pid),
        what: &format!("had an iteration of ≥ {}", duration(polls.stretch())),
        detail: &format!(
            "{} in {}",
            counted(polls.polls, "poll"),
            duration(polls.watched)
        ),
    }
    .fitted();
    let long = polls.late.saturating_add(polls.open);
    finding = finding.fact(
        Topic::Polls,
        format!(
            "{} in {}, longest time without one {}; long ones take {} of the time",
            counted(polls.polls, "poll"),
            duration(polls.watched),
            duration(polls.stretch()),
            percent(long.as_secs_f64(), polls.watched.as_secs_f64()),
        ),
    );
    if let Some(many) = many(scene, thread) {
        finding = finding.fact(Topic::Loop, many);
    }
    finding = stacks(scene, places, finding);
    let line = format!("polls were counted for {} only", duration(polls.watched));
    finding = finding.fact(Topic::Inferred, line);
    let at = words::at(worst_place(scene, places).as_deref());
    finding.next =
        format!("Shorten the work{at}. If it is expected: --threshold cycle=TIME (now {target}).");
    finding
}

/// That it does many things in one iteration, where that was seen.
fn many(scene: &Scene<'_>, thread: &Thread) -> Option<String> {
    let (tasks, own) = task_loop(scene, thread).filter(|(_, own)| own.turns)?;
    let ready = |task: &&Task| task.loop_id == own.id && task.state == TaskState::Ready;
    let ready = tasks.tasks.iter().filter(ready).count();
    let ready = counted(ready as u64, "task");
    Some(format!("many callbacks in one iteration; {ready} ready"))
}
