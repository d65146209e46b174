//! What came out of the kernel's tables, joined over all their fillings, before it has names.

mod fold;
mod sums;

pub(crate) use sums::{Doing, Faults, OwnerDid, Place, Samples, Waits, Wakes};

use remora_common::{event_loop::EventLoop, thread::ThreadSlot};
use remora_model::RawStack;
use remora_probe::{Drained, Tally, ThreadTally};
use remora_process::symbol::trim;
use std::{collections::HashMap, ops::Range, sync::Arc};
use sums::{Key, Sum, What};

/// Records of threads that ended, kept at the most.
const MAX_ENDED: usize = 16_384;

/// Event loops of ended threads, kept at the most: 10 MiB.
const MAX_ENDED_LOOPS: usize = 4096;

/// Sums kept at the most, over all fillings: as many as a table of 131,072 places, 12 MiB, takes before it
/// would be doubled, but for a few.
const MAX_SUMS: usize = 112_000;

/// From so many sums on there is room for all at once: a table that is doubled step by step leaves holes
/// behind, and is there twice while it is.
const MANY_SUMS: usize = 14_336;

/// Distinct stacks kept at the most, over all fillings of the tables.
const MAX_STACKS: usize = 131_072;

/// Sums of page faults that are kept by region; from there on by thread and stack alone.
const MAX_FAULT_REGIONS: usize = 32_768;

/// Sums of page faults that are kept at all: 13 MiB.
const MAX_FAULT_ROWS: usize = 65_536;

/// Stacks of allocations that are kept, each by the number that blocks name it by.
const MAX_HEAP_SITES: usize = 65_536;

/// Everything that was taken from the tables so far.
#[derive(Debug, Default)]
pub(crate) struct AggregateStore {
    /// Distinct stacks.
    pub(crate) stacks: Vec<Arc<RawStack>>,
    /// Their places.
    interned: HashMap<Arc<RawStack>, usize>,
    /// Stacks beyond the limit: their time counts as lost.
    pub(crate) stacks_dropped: u64,
    /// Sums by place and kind.
    sums: HashMap<Key, Sum>,
    /// Sums beyond the limit: what was in them counts as lost, the threads' totals are right.
    pub(crate) sums_dropped: u64,
    /// Threads that ended during the capture; before them the sums of such, see [`fold`].
    pub(crate) ended: Vec<ThreadSlot>,
    /// Event loops of threads that ended, by the thread's serial.
    pub(crate) ended_loops: HashMap<u32, EventLoop>,
    /// Those that were dropped.
    pub(crate) ended_loops_dropped: u64,
    /// Ended threads whose record was dropped.
    pub(crate) ended_dropped: u64,
    /// Aggregates of a kind that nobody knows.
    pub(crate) unknown_kinds: u64,
    /// Stacks that could not be read out of the table.
    pub(crate) stacks_unreadable: u64,
    /// Sampled faults whose region was not kept: there were too many.
    pub(crate) fault_regions_merged: u64,
    /// Sampled faults that were not kept at all.
    pub(crate) fault_samples_dropped: u64,
    fault_rows: usize,
    /// Stacks of sampled allocations, by the number that blocks name them by.
    pub(crate) heap_sites: HashMap<u64, Option<usize>>,
    /// Those that were too many: their blocks have no stack.
    pub(crate) heap_sites_dropped: u64,
    /// Waits and wake-ups of summed threads whose futex was not kept: there were too many.
    pub(crate) futexes_merged: u64,
    groups: fold::Groups,
}

impl AggregateStore {
    /// Takes in one filling of the tables. The stacks of waits end where they call the scheduler,
    /// whose code lies in `scheduler`.
    pub(crate) fn add(&mut self, drained: Drained, scheduler: Option<&Range<u64>>) {
        self.stacks_unreadable += drained.stacks_unreadable;
        self.unknown_kinds += drained.unknown_kinds;
        for tally in drained.tallies {
            self.take(tally, scheduler);
        }
    }

    fn take(&mut self, counted: ThreadTally, scheduler: Option<&Range<u64>>) {
        if let Tally::Allocations { site, stack } = counted.tally {
            let stack = stack.and_then(|stack| self.intern(stack));
            self.heap_site(site, stack);
        } else if let Some((what, stack, sum)) = sum_of(counted.tally, scheduler) {
            let place = Place {
                serial: counted.serial,
                generation: counted.generation,
                stack: stack.and_then(|stack| self.intern(stack)),
            };
            self.sum_up((place, what), &sum);
        }
    }

    fn sum_up(&mut self, (place, mut what): Key, sum: &Sum) {
        if let What::Faults { region } = &mut what
            && !self.has_room(place, region, sum.count)
        {
            return;
        }
        let key = (place, what);
        if self.sums.len() >= MAX_SUMS && !self.sums.contains_key(&key) {
            self.sums_dropped += 1;
            return;
        }
        if self.sums.len() == MANY_SUMS {
            self.sums.reserve(MAX_SUMS - MANY_SUMS);
        }
        self.sums.entry(key).or_default().merge(what, sum);
    }

    fn heap_site(&mut self, site: u64, stack: Option<usize>) {
        if self.heap_sites.len() < MAX_HEAP_SITES || self.heap_sites.contains_key(&site) {
            self.heap_sites.insert(site, stack);
        } else {
            self.heap_sites_dropped += 1;
        }
    }

    /// A process that grows over many regions, or by many threads that come and go, must not fill the
    /// agent's memory: from a limit on the region of its faults is left out, in the end the faults.
    fn has_room(&mut self, place: Place, region: &mut u64, samples: u64) -> bool {
        let known =
            |sums: &HashMap<Key, Sum>, region| sums.contains_key(&(place, What::Faults { region }));
        if known(&self.sums, *region) {
            return true;
        }
        if self.fault_rows >= MAX_FAULT_REGIONS && *region != 0 {
            *region = 0;
            self.fault_regions_merged += samples;
            if known(&self.sums, 0) {
                return true;
            }
        }
        if self.fault_rows >= MAX_FAULT_ROWS {
            self.fault_samples_dropped += samples;
            return false;
        }
        self.fault_rows += 1;
        true
    }

    /// Takes in the record of a thread that ended.
    pub(crate) fn end(&mut self, thread: ThreadSlot, event_loop: Option<EventLoop>) {
        if let Some(event_loop) = event_loop {
            if self.ended_loops.len() < MAX_ENDED_LOOPS {
                self.ended_loops.insert(thread.serial, event_loop);
            } else {
                self.ended_loops_dropped += 1;
            }
        }
        if self.ended.len() < MAX_ENDED {
            self.ended.push(thread);
        } else {
            self.ended_dropped += 1;
        }
    }

    /// The index of a stack; `None` when there are too many.
    pub(crate) fn intern(&mut self, stack: RawStack) -> Option<usize> {
        if let Some(index) = self.interned.get(&stack) {
            return Some(*index);
        }
        let next = self.stacks.len();
        if next >= MAX_STACKS {
            self.stacks_dropped += 1;
            return None;
        }
        let stack = Arc::new(stack);
        self.interned.insert(Arc::clone(&stack), next);
        self.stacks.push(stack);
        Some(next)
    }
}

/// What goes into the table of sums, and under which stack; `None` of allocations, which are there for their stack.
fn sum_of(tally: Tally, scheduler: Option<&Range<u64>>) -> Option<(What, Option<RawStack>, Sum)> {
    Some(match tally {
        Tally::Samples { stack, count, late } => {
            (What::Samples, stack, Sum::of_samples(count, 0, late))
        }
        Tally::Waits {
            wait,
            stack,
            times,
            late_count,
            late_ns,
        } => {
            let sum = Sum::of(times, late_count, late_ns);
            (What::Waits(wait), asleep(stack, scheduler), sum)
        }
        Tally::Wakes {
            wait,
            waker,
            lock_owner,
            times,
            last_ns,
        } => {
            let what = What::Wakes {
                wait,
                waker,
                lock_owner,
            };
            (what, None, Sum::of(times, 0, last_ns))
        }
        Tally::Faults {
            region,
            stack,
            samples,
            faults,
        } => {
            let sum = Sum::of_samples(samples, faults, 0);
            (What::Faults { region }, stack, sum)
        }
        Tally::OwnerRan {
            lock,
            stack,
            samples,
        } => {
            let sum = Sum::of_samples(samples, 0, 0);
            (What::OwnerRan { lock }, stack, sum)
        }
        Tally::OwnerWaited {
            lock,
            reason: _,
            stack,
            times,
        } => {
            let stack = asleep(stack, scheduler);
            (What::OwnerWaited { lock }, stack, Sum::of(times, 0, 0))
        }
        Tally::Allocations { .. } => return None,
    })
}

/// A stack that ends in the scheduler, without it: that of a wait does, also where the wait counts for the lock that
/// its thread holds. A sample's holds what ran, be it the scheduler.
fn asleep(stack: Option<RawStack>, scheduler: Option<&Range<u64>>) -> Option<RawStack> {
    let mut stack = stack?;
    if let Some(text) = scheduler {
        trim::scheduler(&mut stack.kernel, text);
    }
    Some(stack)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_common::reason::{NO_SYSCALL, Reason};
    use remora_probe::{Times, WaitForm, Waker};

    const TIMES: Times = Times {
        count: 1,
        total_ns: 1,
        max_ns: 1,
    };

    const WAIT: WaitForm = WaitForm {
        reason: Reason::Futex,
        syscall: NO_SYSCALL,
        detail: 0,
        futex: 0,
    };

    fn filled(tallies: impl IntoIterator<Item = (u32, Tally)>) -> Drained {
        let counted = |(serial, tally)| ThreadTally {
            serial,
            generation: 0,
            tally,
        };
        Drained {
            tallies: tallies.into_iter().map(counted).collect(),
            ..Drained::default()
        }
    }

    #[test]
    fn the_scheduler_is_trimmed_off_what_waited_and_off_nothing_that_ran() {
        let kernel_frames = |tally: fn(Option<RawStack>) -> Tally| {
            let mut store = AggregateStore::default();
            let stack = RawStack {
                kernel: vec![7, 150, 30],
                ..RawStack::default()
            };
            let drained = filled([(1, tally(Some(stack)))]);
            store.add(drained, Some(&(100..200)));
            store.stacks[0].kernel.clone()
        };
        let waits = kernel_frames(|stack| Tally::Waits {
            wait: WAIT,
            stack,
            times: TIMES,
            late_count: 0,
            late_ns: 0,
        });
        let owner_waited = kernel_frames(|stack| Tally::OwnerWaited {
            lock: 64,
            reason: Reason::Unknown,
            stack,
            times: TIMES,
        });
        assert_eq!([waits, owner_waited], [[30], [30]]);
        let ran = [
            kernel_frames(|stack| Tally::OwnerRan {
                lock: 64,
                stack,
                samples: 1,
            }),
            kernel_frames(|stack| Tally::Samples {
                stack,
                count: 1,
                late: 0,
            }),
            kernel_frames(|stack| Tally::Faults {
                region: 1,
                stack,
                samples: 1,
                faults: 61,
            }),
        ];
        assert_eq!(ran, [[7, 150, 30]; 3]);
    }

    #[test]
    fn of_wake_ups_the_last_is_kept_and_of_waits_the_late_time_is_summed() {
        let mut store = AggregateStore::default();
        for (last_ns, late_ns) in [(900, 7), (500, 8)] {
            let wakes = Tally::Wakes {
                wait: WAIT,
                waker: Waker { tid: 5, pid: 5 },
                lock_owner: 0,
                times: TIMES,
                last_ns,
            };
            let waits = Tally::Waits {
                wait: WAIT,
                stack: None,
                times: TIMES,
                late_count: 0,
                late_ns,
            };
            store.add(filled([(1, wakes), (1, waits)]), None);
        }
        let wakes: Vec<_> = store.wakes().map(|it| (it.times, it.last_ns)).collect();
        let waits: Vec<_> = store.waits().map(|it| (it.times, it.late_ns)).collect();
        let twice = Times {
            count: 2,
            total_ns: 2,
            max_ns: 1,
        };
        assert_eq!((wakes, waits), (vec![(twice, 900)], vec![(twice, 15)]));
    }

    #[test]
    fn what_is_of_an_unknown_kind_is_counted() {
        let mut store = AggregateStore::default();
        for _ in 0..2 {
            let drained = Drained {
                unknown_kinds: 3,
                ..Drained::default()
            };
            store.add(drained, None);
        }
        assert_eq!(store.unknown_kinds, 6);
    }

    #[test]
    fn faults_without_end_are_bounded_and_counted() {
        let mut store = AggregateStore::default();
        let fault = |region: u64| Tally::Faults {
            region,
            stack: None,
            samples: 1,
            faults: 61,
        };
        let one_thread = (1..=MAX_FAULT_REGIONS as u64 + 9).map(|region| (1, fault(region)));
        let many = (2..=MAX_FAULT_ROWS as u32).map(|serial| (serial, fault(1)));
        store.add(filled(one_thread.chain(many)), None);
        assert_eq!(store.sums.len(), MAX_FAULT_ROWS);
        let merged = store.fault_regions_merged;
        assert_eq!(merged, 9 + MAX_FAULT_ROWS as u64 - 1);
        // One row took the nine; the others began with the thread.
        let dropped =
            MAX_FAULT_REGIONS as u64 + 1 + MAX_FAULT_ROWS as u64 - 1 - MAX_FAULT_ROWS as u64;
        assert_eq!(store.fault_samples_dropped, dropped);
    }
}
