//! Names: of stacks, and of who woke whom.

use super::{Recorded, Threads};
use crate::{
    capture::spaces::SpaceKey,
    model::{Losses, RawStack, Reason, Stack, Wake},
    stack::{self, Limits, Symbolizer},
    target,
};
use remora_common::aggregate::{KIND_WAKE, MAX_FRAMES};
use std::{collections::HashMap, time::Duration};

/// Wakers whose name is looked up at the most: each costs a file read.
const MAX_WAKERS_NAMED: usize = 4096;

/// Distinct (address space, stack) pairs, numbered in the order of their first use.
#[derive(Default)]
pub struct StackIndex {
    order: Vec<(SpaceKey, Option<usize>)>,
    places: HashMap<(SpaceKey, Option<usize>), usize>,
}

impl StackIndex {
    /// The number of a stack of this address space; `stack` is an index in what was gathered,
    /// `None` stands for a stack that was lost: an empty one.
    pub fn of(&mut self, tgid: u32, generation: u32, stack: Option<usize>) -> usize {
        let pair = (SpaceKey { tgid, generation }, stack);
        let next = self.order.len();
        let index = *self.places.entry(pair).or_insert(next);
        if index == next {
            self.order.push(pair);
        }
        index
    }
}

/// Names every stack, in the order of the index.
pub fn stacks(recorded: &Recorded, index: &StackIndex, losses: &mut Losses) -> Vec<Stack> {
    let empty = RawStack::default();
    let raw: Vec<stack::RawStack<'_>> = index
        .order
        .iter()
        .map(|(space, stack)| {
            let frames = stack
                .and_then(|at| recorded.gathered.stacks.get(at))
                .map_or(&empty, |raw| raw.as_ref());
            stack::RawStack {
                space: recorded.spaces.get(*space),
                user: &frames.user,
                kernel: &frames.kernel,
                truncated: frames.user.len() >= MAX_FRAMES,
            }
        })
        .collect();
    let mut symbolizer = Symbolizer::new(Limits::default());
    let stacks = symbolizer.symbolize_all(&raw);
    symbolizer
        .losses()
        .by_name()
        .iter()
        .for_each(|(name, count)| losses.add(name, *count));
    stacks
}

/// Who woke whom, with the names of those that still live.
pub fn wakes(recorded: &Recorded, threads: &Threads) -> Vec<Wake> {
    let mut names: HashMap<u32, String> = HashMap::new();
    let mut name = |tid: u32| {
        if tid == 0 || (names.len() >= MAX_WAKERS_NAMED && !names.contains_key(&tid)) {
            return String::new();
        }
        names
            .entry(tid)
            .or_insert_with(|| target::name(tid).unwrap_or_default())
            .clone()
    };
    let sums = recorded
        .gathered
        .sums
        .iter()
        .filter(|((key, _), _)| key.kind == KIND_WAKE);
    let mut wakes: HashMap<(usize, Reason, u32), Wake> = HashMap::new();
    for ((key, _), sum) in sums {
        let Some((thread, _)) = threads.find(key.serial) else {
            continue;
        };
        let reason = Reason::from_u8(key.reason);
        let wake = wakes
            .entry((thread, reason, key.user))
            .or_insert_with(|| Wake {
                thread,
                reason,
                waker_tid: key.user,
                waker_pid: key.kernel,
                waker: name(key.user),
                count: 0,
                blocked: Duration::ZERO,
            });
        wake.count += sum.count;
        wake.blocked += Duration::from_nanos(sum.total_ns);
    }
    let mut wakes: Vec<Wake> = wakes.into_values().collect();
    wakes.sort_by_key(|wake| (wake.thread, std::cmp::Reverse(wake.blocked), wake.waker_tid));
    wakes
}
