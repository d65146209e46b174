//! Which event loops have not come back to their wait, and how that is known.
//!
//! A thread that sits in one other wait all the time shows it by itself. One that runs may poll again and again without
//! sleeping, and where such polls are not seen, samples are no proof: a loop that spends 3 ms in each callback and a
//! microsecond in its poll looks the same. So there the polls were counted for a moment
//! ([`PollCount`](remora_model::PollCount)), and a loop of which they were not is not said to be stuck.

use super::{
    Kind, Place, Places, framework, is_in_call, is_in_epoll, is_nested, kind, sampled, task_loop,
    total,
};
use crate::Scene;
use remora_model::{FrameKind, PollCount, Reason, Stack, State, Thread};
use std::time::Duration;

/// Frames behind the one of the loop that all its stacks share when it is in one callback: what calls
/// callbacks, and the callback.
const SHARED_FRAMES: usize = 2;

/// CPU samples from which it is said that none lies elsewhere.
const ENOUGH_SAMPLES: u64 = 30;

/// Share of the samples of a handler that serves no input: more system calls than that may be a loop
/// that never runs dry.
const FEW_CALLS: f64 = 0.05;

/// Frames of tokio's scheduler, which runs many tasks from one poll to the next.
const TOKIO: &str = "tokio::runtime::";
/// How many at the most, by default (`event_interval` of its builder).
const TOKIO_TASKS: u32 = 61;

/// A loop that has not come back to its wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stuck {
    /// What makes it a loop.
    pub kind: Kind,
    /// For how long.
    pub since: Duration,
    /// That is a bound.
    pub at_least: bool,
    /// It sits in one wait that is not the loop's; else it runs, or waits now and then.
    pub blocked: bool,
    /// How that is known.
    pub proof: Proof,
    /// A stack that shows what it does.
    pub stack: Option<usize>,
    /// CPU samples that lie in one callback, all that there are; `None`: they do not, or it cannot be told.
    pub samples: Option<u64>,
}

/// How it is known that a loop has not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It was seen.
    Seen,
    /// Polls were counted for a while, and it made none.
    Counted(PollCount),
    /// This thread should wait where nobody does.
    Concluded,
    /// It is not known: no sample lies in a poll, and polls were not counted.
    Unknown,
    /// Nor here: it made no poll, but does many pieces of work between two.
    Batches,
}

impl Stuck {
    /// Whether it may be told as a fact.
    pub(crate) fn is_proven(&self) -> bool {
        !matches!(self.proof, Proof::Unknown | Proof::Batches)
    }
}

/// Whether a thread is an event loop, and stuck for at least `threshold`.
pub(crate) fn stuck(
    scene: &Scene<'_>,
    places: &Places,
    (index, thread): (usize, &Thread),
    threshold: Duration,
) -> Option<Stuck> {
    let now = &thread.now;
    let in_wait = now.state == State::Blocked && now.reason == Some(Reason::Epoll);
    let is_nested = in_wait && scene.stack_now(thread).is_some_and(is_nested);
    if (in_wait && !is_nested) || now.reason == Some(Reason::Stopped) || now.state == State::Exited
    {
        return None;
    }
    let condition = scene.capture.conditions.of(thread.pid);
    if condition.is_some_and(|it| it.inherited_loops) {
        return None;
    }
    let own = scene
        .event_loop(index)
        .filter(|own| own.kind == Reason::Epoll && own.waits > 0);
    let kind = kind(scene, places, (index, thread), own)?;
    let came_back = own.is_some()
        || thread
            .waits
            .iter()
            .any(|waits| waits.reason == Reason::Epoll && waits.count > 0);
    let (since, at_least) = match own {
        _ if is_nested => (now.since, now.since_inferred),
        Some(own) => (own.busy_now?, false),
        None if came_back => return None,
        None if now.state == State::Blocked && now.since >= thread.observed => {
            (now.since, now.since_inferred)
        }
        None => (thread.observed, true),
    };
    if since < threshold || is_in_selector(scene, thread) || has_left(scene, thread, kind) {
        return None;
    }
    let blocked = now.state == State::Blocked && now.since >= threshold;
    let stuck = Stuck {
        kind,
        since,
        at_least,
        blocked,
        proof: Proof::Seen,
        stack: now.stack,
        samples: None,
    };
    if blocked {
        let idle = !matches!(kind, Kind::Framework(_)) && scene.is_idle_now(index);
        let proof = match kind {
            Kind::Orphan(_) => Proof::Concluded,
            _ => Proof::Seen,
        };
        return (!idle).then_some(Stuck { proof, ..stuck });
    }
    let exact = own.map_or_else(|| scene.sees_each_poll(), |own| own.exact);
    let turns = task_loop(scene, thread).is_some_and(|(_, own)| own.turns);
    let work = Work {
        turns,
        ..Work::of(scene, places.of(index), kind, own.is_some())
    };
    on_cpu(
        scene.polls(index).filter(|_| !exact),
        exact,
        &work,
        stuck,
        threshold,
    )
}

/// Of a loop that is not in one wait: whether it does not come back, as far as that can be told.
fn on_cpu(
    polls: Option<PollCount>,
    exact: bool,
    work: &Work,
    stuck: Stuck,
    threshold: Duration,
) -> Option<Stuck> {
    let (proof, since, at_least) = match polls {
        _ if exact => (Proof::Seen, stuck.since, stuck.at_least),
        Some(polls) if polls.open >= threshold => (Proof::Counted(polls), polls.open, true),
        _ if work.polls => return None,
        // Nothing was seen to the contrary for as long as it was looked for.
        Some(polls) if polls.polls == 0 && threshold > polls.watched && work.one.is_some() => {
            (Proof::Unknown, stuck.since, stuck.at_least)
        }
        Some(_) => return None,
        None if work.one.is_some() => (Proof::Unknown, stuck.since, stuck.at_least),
        None => return None,
    };
    if work.turns {
        // Many callbacks in one iteration: that is its length, and no callback that does not end.
        return None;
    }
    if work.one.is_none() && !matches!(stuck.kind, Kind::Framework(_)) {
        // A worker that waits for its jobs in epoll, and does one.
        return None;
    }
    let batches = work.batches && since < threshold.saturating_mul(TOKIO_TASKS);
    Some(Stuck {
        proof: if batches { Proof::Batches } else { proof },
        since,
        at_least,
        stack: work.most,
        samples: work.one,
        ..stuck
    })
}

/// What a loop's thread does, by its samples and waits.
struct Work {
    /// The place with the most of it.
    most: Option<usize>,
    /// All of it lies in one callback: how many samples say so.
    one: Option<u64>,
    /// Some of it is in the poll.
    polls: bool,
    /// It runs many pieces of work between two polls.
    batches: bool,
    /// It was seen to: many callbacks in one iteration.
    turns: bool,
}

impl Work {
    /// `late`: by what was in late iterations.
    fn of(scene: &Scene<'_>, places: &[Place], kind: Kind, late: bool) -> Self {
        let weight = |place: &Place| match late {
            true => (place.late_samples, place.late_blocked),
            false => (place.samples, place.blocked),
        };
        let stacks: Vec<(usize, u64, Duration, &Stack)> = places
            .iter()
            .filter_map(|place| {
                let (samples, blocked) = weight(place);
                let stack = scene.capture.stacks.get(place.stack)?;
                (samples > 0 || !blocked.is_zero()).then_some((
                    place.stack,
                    samples,
                    blocked,
                    stack,
                ))
            })
            .collect();
        let time = |it: &(usize, u64, Duration, &Stack)| sampled(scene, it.1).saturating_add(it.2);
        let frames = |stack: &Stack, start: &str| {
            let mut frames = stack.frames.iter();
            frames.any(|frame| frame.name.starts_with(start))
        };
        Self {
            most: stacks.iter().max_by_key(|it| time(it)).map(|it| it.0),
            one: in_one_callback(scene, &stacks, kind),
            polls: stacks.iter().any(|it| is_in_epoll(it.3)),
            batches: stacks.iter().any(|it| frames(it.3, TOKIO)),
            turns: false,
        }
    }
}

/// Whether a thread is in the wait of a Python loop that does not use epoll.
fn is_in_selector(scene: &Scene<'_>, thread: &Thread) -> bool {
    let Some(stack) = scene.stack_now(thread) else {
        return false;
    };
    let mut python = stack
        .frames
        .iter()
        .rev()
        .filter(|frame| frame.kind == FrameKind::Python);
    let leaf = python.next();
    let caller = python.next();
    leaf.is_some_and(|frame| {
        frame
            .file
            .as_ref()
            .is_some_and(|file| file.ends_with("selectors.py"))
    }) && caller.is_some_and(|frame| frame.name.ends_with("_run_once"))
}

/// Whether a thread stands outside of the loop that it ran: the loop has ended.
fn has_left(scene: &Scene<'_>, thread: &Thread, kind: Kind) -> bool {
    let outside = |stack: &Stack| !stack.truncated && framework(stack).is_none();
    matches!(kind, Kind::Framework(_))
        && task_loop(scene, thread).is_none()
        && scene.stack_now(thread).is_some_and(outside)
}

/// Whether everything that a thread did was in one callback; then the samples that say so.
fn in_one_callback(
    scene: &Scene<'_>,
    stacks: &[(usize, u64, Duration, &Stack)],
    kind: Kind,
) -> Option<u64> {
    let samples = stacks
        .iter()
        .fold(0_u64, |sum, it| sum.saturating_add(it.1));
    let blocked = total(stacks.iter().map(|it| it.2));
    let on_cpu = sampled(scene, samples);
    if samples < ENOUGH_SAMPLES && blocked < on_cpu.max(Duration::from_millis(500)) {
        return None;
    }
    let shared = match kind {
        Kind::Framework(_) => share_callback(stacks.iter().map(|it| it.3)),
        Kind::Epoll | Kind::Orphan(_) => {
            let calls = stacks
                .iter()
                .filter(|it| is_in_call(it.3))
                .fold(0_u64, |sum, it| sum.saturating_add(it.1));
            calls as f64 <= FEW_CALLS * samples as f64
        }
    };
    shared.then_some(samples)
}

/// Whether the stacks go the same way from the loop's frame to a callback.
fn share_callback<'a>(stacks: impl Iterator<Item = &'a Stack>) -> bool {
    let mut first: Option<Vec<&str>> = None;
    for stack in stacks {
        let Some((at, _)) = framework(stack) else {
            return false;
        };
        let python = matches!(stack.frames.get(at), Some(frame) if frame.kind == FrameKind::Python);
        let behind = stack.frames.iter().skip(at + 1);
        let behind = behind.filter(|frame| !python || frame.kind == FrameKind::Python);
        let way: Vec<&str> = behind
            .map(|frame| &*frame.name)
            .take(SHARED_FRAMES)
            .collect();
        if way.len() < SHARED_FRAMES {
            return false;
        }
        match &first {
            None => first = Some(way),
            Some(first) if *first == way => {}
            Some(_) => return false,
        }
    }
    first.is_some()
}
