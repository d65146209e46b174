//! `cycle_overrun`: iterations of an event loop take longer than their target, too often.
//!
//! What looks similar and is none: one long iteration among thousands (a start, a collection); a loop that
//! is meant to work so long at a time (declared by `--threshold cycle=…`); a database server that waits
//! for its one client in epoll and then runs a query; a loop that never runs dry where polls that do not
//! block are not seen, so that many iterations look like one: there the samples of the long iterations
//! have to show that they are one piece of work.

mod counted;

use super::event_loops::{Kind, Place, Places, is_in_call, is_in_epoll, kind, sampled, total};
use super::{
    Findings, Scene, Thresholds,
    words::{self, Headline},
};
use remora_model::display::text::{count, duration, percent};
use remora_model::{
    Confidence, Finding, FindingKind, PollCount, Severity, Subject, Thread, ThreadLoop, Topic,
};
use std::time::Duration;

/// One is none.
const LEAST: u64 = 2;
/// Overruns that take up this share of the time count however many short iterations lie between them.
const TIME_SHARE: f64 = 0.2;
/// Samples of long iterations in system calls: more may be a loop that never runs dry.
const FEW_CALLS: f64 = 0.05;
/// It takes so many samples to say so.
const ENOUGH: u64 = 20;
/// Polls that show that a loop turns.
const MANY: u64 = 5;
/// Stacks that are shown.
const SHOWN: usize = 2;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    counted::analyze(scene, findings);
    let mut places = None;
    for own in &scene.capture.loops {
        let over = own.lengths.count_from(scene.thresholds.cycle);
        if !is_too_often(scene, own, over) {
            continue;
        }
        let Some(thread) = scene.capture.threads.get(own.thread) else {
            continue;
        };
        let places = places.get_or_insert_with(|| Places::new(scene));
        let declared = scene.thresholds.cycle != Thresholds::default().cycle;
        let kind = kind(scene, places, (own.thread, thread), Some(own));
        let turns = scene
            .polls(own.thread)
            .is_some_and(|polls| turns(scene, polls));
        let is_work = || !turns && is_work(scene, places.of(own.thread));
        if (kind.is_some() || declared) && (own.exact || is_work()) {
            findings.push(finding(
                scene,
                (thread, own),
                kind,
                over,
                places.of(own.thread),
            ));
        }
    }
}

/// Whether a loop that did not sleep in its wait was seen coming back to it in time, again and again.
fn turns(scene: &Scene<'_>, polls: PollCount) -> bool {
    polls.polls >= MANY && polls.stretch() < scene.thresholds.cycle / 2
}

fn is_too_often(scene: &Scene<'_>, own: &ThreadLoop, over: u64) -> bool {
    let share = over as f64 / own.iterations.max(1) as f64;
    let time = over as f64 * scene.thresholds.cycle.as_secs_f64();
    // Without a CPU: that is another finding.
    let starved = own.late_queued > own.late_time / 2;
    over >= LEAST
        && !starved
        && (share > scene.thresholds.cycle_overruns
            || time >= TIME_SHARE * scene.capture.duration.as_secs_f64())
}

/// Whether long iterations are pieces of work, and not many short ones between which nothing blocked.
fn is_work(scene: &Scene<'_>, places: &[Place]) -> bool {
    let late: Vec<&Place> = places
        .iter()
        .filter(|place| place.late_samples > 0 || !place.late_blocked.is_zero())
        .collect();
    let stack = |place: &Place| scene.capture.stacks.get(place.stack);
    if late
        .iter()
        .any(|place| stack(place).is_some_and(is_in_epoll))
    {
        return false;
    }
    let samples = count_of(late.iter().copied());
    let blocked = total(late.iter().map(|place| place.late_blocked));
    let in_calls = late
        .iter()
        .filter(|place| stack(place).is_some_and(is_in_call));
    let in_calls = count_of(in_calls.copied());
    let on_cpu = sampled(scene, samples);
    let few = samples >= ENOUGH && in_calls as f64 <= FEW_CALLS * samples as f64;
    few || blocked > on_cpu
}

fn count_of<'a>(places: impl Iterator<Item = &'a Place>) -> u64 {
    places.fold(0, |sum, place| sum.saturating_add(place.late_samples))
}

fn finding(
    scene: &Scene<'_>,
    (thread, own): (&Thread, &ThreadLoop),
    kind: Option<Kind>,
    over: u64,
    places: &[Place],
) -> Finding {
    let mut finding = scene.about_thread(FindingKind::CycleOverrun, Severity::Warning, thread);
    finding.since = Some(thread.observed);
    finding.since_at_least = true;
    finding.about = vec![Subject::Thread(thread.tid)];
    // Where it is blocked now, or its thread is starved, that explains it.
    finding.because_of = vec![Subject::Thread(thread.tid)];
    let target = duration(scene.thresholds.cycle);
    let name = match kind {
        Some(Kind::Framework(name)) => format!("{name} loop"),
        _ => "event loop".to_owned(),
    };
    finding.summary = Headline {
        who: &name,
        of: &scene.process_name(thread.pid),
        what: &format!(
            "had {} of {} iterations over {target}, max {}",
            count(over),
            count(own.iterations),
            duration(own.longest)
        ),
        ..Headline::default()
    }
    .fitted();
    let seconds = scene.capture.duration.as_secs_f64().max(1e-3);
    let a_minute = over as f64 / seconds * 60.0;
    finding = finding.fact(Topic::Cycle, distribution(own));
    finding = finding.fact(
        Topic::Overruns,
        format!(
            "{a_minute:.0}/min over {target} ({})",
            percent(over as f64, own.iterations as f64)
        ),
    );
    if !own.late_queued.is_zero() {
        finding = finding.fact(
            Topic::RunQueue,
            format!("{} of the slow iterations", duration(own.late_queued)),
        );
    }
    finding = stacks(scene, places, finding);
    if !own.exact {
        finding.confidence = Confidence::Inferred;
        finding = finding.fact(
            Topic::Inferred,
            "polls that return at once are not seen; the samples show single pieces of work",
        );
    }
    let at = words::at(worst_place(scene, places).as_deref());
    finding.next =
        format!("Shorten the work{at}. If it is expected: --threshold cycle=TIME (now {target}).");
    finding
}

/// Where the slow iterations spent most.
fn worst_place(scene: &Scene<'_>, places: &[Place]) -> Option<String> {
    let worst = places.iter().max_by_key(|place| late_time(scene, place))?;
    words::place(scene.capture.stacks.get(worst.stack)?)
}

/// Time of a place in slow iterations.
fn late_time(scene: &Scene<'_>, place: &Place) -> Duration {
    let sampled = sampled(scene, place.late_samples);
    place.late_blocked.saturating_add(sampled)
}

fn distribution(own: &ThreadLoop) -> String {
    let shortest = duration(Duration::from_nanos(own.lengths.shortest_ns()));
    let Some(found) = own.lengths.quantiles(own.longest) else {
        return format!("max {}", duration(own.longest));
    };
    format!(
        "min {shortest}, p50 {}, p95 {}, p99 {}, max {}",
        duration(found.p50),
        duration(found.p95),
        duration(found.p99),
        duration(own.longest)
    )
}

/// What long iterations did most.
fn stacks(scene: &Scene<'_>, places: &[Place], mut finding: Finding) -> Finding {
    let time = |place: &Place| late_time(scene, place);
    let all = total(places.iter().map(time));
    let mut by_code: Vec<(Duration, String)> = Vec::new();
    for place in places.iter().filter(|place| !time(place).is_zero()) {
        let Some(code) = scene.capture.stacks.get(place.stack).and_then(words::code) else {
            continue;
        };
        match by_code.iter_mut().find(|(_, known)| *known == code) {
            Some((sum, _)) => *sum = sum.saturating_add(time(place)),
            None => by_code.push((time(place), code)),
        }
    }
    by_code.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    for (time, code) in by_code.into_iter().take(SHOWN) {
        let share = percent(time.as_secs_f64(), all.as_secs_f64());
        finding = finding.fact(Topic::Where, format!("{share}: {code}"));
    }
    finding
}

#[cfg(test)]
mod tests;
