//! Names: of stacks, and of who woke whom.

use super::{
    Threads,
    losses::add_all,
    python::{self, Placed},
};
use crate::{
    inspect::interpreters::Interpreters,
    store::{
        aggregates::{AggregateStore, Wakes},
        spaces::{SpaceKey, Spaces},
    },
};
use remora_model::{FrameKind, Losses, Outcome, PythonFrame, RawStack, Reason, Stack, Wake, Walk};
use remora_probe::Waker;
use remora_process as process;
use remora_process::symbol::{self, Limits, Symbolizer, is_thread_start};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Wakers whose name is looked up at the most: each costs a file read.
const MAX_WAKERS_NAMED: usize = 4096;

/// Distinct (address space, stack) pairs, numbered in the order of their first use.
#[derive(Default)]
pub(crate) struct StackIndex {
    order: Vec<(SpaceKey, Option<usize>)>,
    places: HashMap<(SpaceKey, Option<usize>), usize>,
}

impl StackIndex {
    /// The number of a stack of this address space; `stack` is an index in what was gathered,
    /// `None` stands for a stack that was lost: an empty one.
    pub(crate) fn of(&mut self, tgid: u32, generation: u32, stack: Option<usize>) -> usize {
        let pair = (SpaceKey { tgid, generation }, stack);
        let next = self.order.len();
        let index = *self.places.entry(pair).or_insert(next);
        if index == next {
            self.order.push(pair);
        }
        index
    }

    /// Names every stack, in the order of the index. `frames` are those of the recording.
    pub(crate) fn name(
        &self,
        frames: &[Arc<RawStack>],
        spaces: &Spaces,
        interpreters: &mut Interpreters,
        losses: &mut Losses,
    ) -> Vec<Stack> {
        let empty = Arc::new(RawStack::default());
        let unnamed: Vec<(SpaceKey, Arc<RawStack>)> = self
            .order
            .iter()
            .map(|(space, stack)| {
                let unnamed = stack.and_then(|at| frames.get(at));
                (*space, Arc::clone(unnamed.unwrap_or(&empty)))
            })
            .collect();
        // Of the last moments; most are known from the beats.
        let mut learned: HashMap<SpaceKey, Vec<PythonFrame>> = HashMap::new();
        for (space, unnamed) in &unnamed {
            let python = unnamed.python.iter().flat_map(|python| &python.frames);
            learned.entry(*space).or_default().extend(python);
        }
        for (space, frames) in &learned {
            interpreters.learn(*space, frames);
        }
        let placed: Vec<Placed> = unnamed
            .iter()
            .map(|(space, unnamed)| python::place(unnamed, interpreters.get(*space)))
            .collect();
        let wanted: Vec<symbol::RawStack<'_>> = unnamed
            .iter()
            .zip(&placed)
            .map(|((space, unnamed), placed)| symbol::RawStack {
                space: spaces.get(*space),
                user: &unnamed.user,
                kernel: &unnamed.kernel,
                stand_ins: &placed.stand_ins,
                truncated: root_is_missing(unnamed.outcome),
            })
            .collect();
        let mut symbolizer = Symbolizer::new(Limits::default());
        let mut stacks = symbolizer.symbolize_all(&wanted);
        for ((stack, (_, unnamed)), placed) in stacks.iter_mut().zip(&unnamed).zip(&placed) {
            stack.walk = unnamed.outcome.map(|outcome| Walk {
                outcome: judged(outcome, stack),
                python: placed.walk,
            });
            stack.truncated = root_is_missing(stack.walk.map(|walk| walk.outcome));
        }
        add_all(losses, &symbolizer.losses().by_name());
        add_all(losses, &interpreters.losses());
        add_all(losses, &spaces.losses());
        stacks
    }
}

/// A walk that ended in doubt is complete where it ended at a function that nothing calls: files
/// without call frame information, or with rules of their own, do not mark it.
fn judged(outcome: Outcome, stack: &Stack) -> Outcome {
    let root = stack.frames.first();
    let starts = root.is_some_and(|root| {
        root.kind == FrameKind::Native && root.named && is_thread_start(&root.name)
    });
    match outcome {
        Outcome::FramePointers | Outcome::NoRow | Outcome::Unsupported | Outcome::Broken
            if starts =>
        {
            Outcome::Complete
        }
        other => other,
    }
}

/// Whether a walk ended before the thread's start. One by frame pointers alone cannot tell.
fn root_is_missing(outcome: Option<Outcome>) -> bool {
    !matches!(
        outcome,
        None | Some(Outcome::Complete | Outcome::FramePointers | Outcome::NoTable | Outcome::Lost)
    )
}

/// Who woke whom, with the names of those that still live.
pub(crate) fn wakes(aggregates: &AggregateStore, threads: &Threads) -> Vec<Wake> {
    let mut names: HashMap<u32, String> = HashMap::new();
    let mut name = |tid: u32| {
        if tid == 0 || (names.len() >= MAX_WAKERS_NAMED && !names.contains_key(&tid)) {
            return String::new();
        }
        names
            .entry(tid)
            .or_insert_with(|| process::name(tid).unwrap_or_default())
            .clone()
    };
    let mut wakes: HashMap<(usize, Reason, Waker), Wake> = HashMap::new();
    for Wakes {
        place,
        wait,
        waker,
        times,
        ..
    } in aggregates.wakes()
    {
        let Some((thread, _)) = threads.find(place.serial) else {
            continue;
        };
        let reason = wait.reason;
        let wake = wakes
            .entry((thread, reason, waker))
            .or_insert_with(|| Wake {
                thread,
                reason,
                waker_tid: waker.tid,
                waker_pid: waker.pid,
                // Of threads that were summed the process is known.
                waker: name(if waker.tid == 0 { waker.pid } else { waker.tid }),
                count: 0,
                blocked: Duration::ZERO,
            });
        wake.count += times.count;
        wake.blocked += Duration::from_nanos(times.total_ns);
    }
    let mut wakes: Vec<Wake> = wakes.into_values().collect();
    wakes.sort_by_key(|wake| (wake.thread, std::cmp::Reverse(wake.blocked), wake.waker_tid));
    wakes
}
