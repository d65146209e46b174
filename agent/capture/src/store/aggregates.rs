//! What came out of the kernel's tables, joined over all their fillings, before it has names.

mod fold;

use remora_common::{
    aggregate::{AggregateKey, KIND_FAULT, KIND_HEAP, KIND_HOLD, KIND_WAIT, KIND_WAKE},
    event_loop::EventLoop,
    reason::Reason,
    thread::{
        STATE_BLOCKED, STATE_EXITED, STATE_PREEMPTED, STATE_RUNNING, STATE_WOKEN, ThreadSlot,
    },
};
use remora_model::RawStack;
use remora_probe::{Drained, RawAggregate};
use remora_process::symbol::trim;
use std::{collections::HashMap, ops::Range, sync::Arc};

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

/// Count and time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Samples, waits or wake-ups.
    pub count: u64,
    /// Time in them, in nanoseconds; of page faults the sum of their weights.
    pub total_ns: u64,
    /// The longest of them, in nanoseconds.
    pub max_ns: u64,
    /// Those inside of late iterations of an event loop.
    pub late_count: u64,
    /// Their time, in nanoseconds; of wake-ups, when the last of them was (`CLOCK_MONOTONIC`).
    pub late_ns: u64,
}

impl Sum {
    /// Adds another of the same `kind`.
    fn merge(&mut self, kind: u8, more: &Self) {
        self.count += more.count;
        self.total_ns += more.total_ns;
        self.max_ns = self.max_ns.max(more.max_ns);
        self.late_count += more.late_count;
        self.late_ns = match kind {
            KIND_WAKE => self.late_ns.max(more.late_ns),
            _ => self.late_ns + more.late_ns,
        };
    }
}

/// An aggregate whose stack is an index in [`AggregateStore::stacks`].
///
/// The key's own stack ids are cleared: they are of a table that was emptied since.
pub type Entry = (AggregateKey, Option<usize>);

/// Everything that was taken from the tables so far.
#[derive(Debug, Default)]
pub struct AggregateStore {
    /// Distinct stacks.
    pub stacks: Vec<Arc<RawStack>>,
    /// Their places.
    interned: HashMap<Arc<RawStack>, usize>,
    /// Stacks beyond the limit: their time counts as lost.
    pub stacks_dropped: u64,
    /// Sums by key and stack.
    pub sums: HashMap<Entry, Sum>,
    /// Sums beyond the limit: what was in them counts as lost, the threads' totals are right.
    pub sums_dropped: u64,
    /// Threads that ended during the capture; before them the sums of such, see [`fold`].
    pub ended: Vec<ThreadSlot>,
    /// Event loops of threads that ended, by the thread's serial.
    pub ended_loops: HashMap<u32, EventLoop>,
    /// Those that were dropped.
    pub ended_loops_dropped: u64,
    /// Ended threads whose record was dropped.
    pub ended_dropped: u64,
    /// Stacks that could not be read out of the table.
    pub stacks_unreadable: u64,
    /// Sampled faults whose region was not kept: there were too many.
    pub fault_regions_merged: u64,
    /// Sampled faults that were not kept at all.
    pub fault_samples_dropped: u64,
    fault_rows: usize,
    /// Stacks of sampled allocations, by the number that blocks name them by.
    pub heap_sites: HashMap<u64, Option<usize>>,
    /// Those that were too many: their blocks have no stack.
    pub heap_sites_dropped: u64,
    /// Waits and wake-ups of summed threads whose futex was not kept: there were too many.
    pub futexes_merged: u64,
    groups: fold::Groups,
}

impl AggregateStore {
    /// Takes in one filling of the tables. The stacks of waits end where they call the scheduler,
    /// whose code lies in `scheduler`.
    pub fn add(&mut self, drained: Drained, scheduler: Option<&Range<u64>>) {
        self.stacks_unreadable += drained.stacks_unreadable;
        for aggregate in drained.aggregates {
            let RawAggregate {
                mut key,
                stack,
                count,
                total_ns,
                max_ns,
                late_count,
                late_ns,
            } = aggregate;
            if key.kind != KIND_WAKE {
                (key.user, key.kernel) = (0, 0);
            }
            key.python = 0;
            let stack = stack.and_then(|mut stack| {
                if is_wait(&key, total_ns)
                    && let Some(text) = scheduler
                {
                    trim::scheduler(&mut stack.kernel, text);
                }
                self.intern(stack)
            });
            if key.kind == KIND_HEAP {
                self.heap_site(key.object, stack);
                continue;
            }
            if key.kind == KIND_FAULT && !self.has_room(&mut key, stack, count) {
                continue;
            }
            if self.sums.len() >= MAX_SUMS && !self.sums.contains_key(&(key, stack)) {
                self.sums_dropped += 1;
                continue;
            }
            if self.sums.len() == MANY_SUMS {
                self.sums.reserve(MAX_SUMS - MANY_SUMS);
            }
            self.sums.entry((key, stack)).or_default().merge(
                key.kind,
                &Sum {
                    count,
                    total_ns,
                    max_ns,
                    late_count,
                    late_ns,
                },
            );
        }
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
    fn has_room(&mut self, key: &mut AggregateKey, stack: Option<usize>, count: u64) -> bool {
        if self.sums.contains_key(&(*key, stack)) {
            return true;
        }
        if self.fault_rows >= MAX_FAULT_REGIONS && key.object != 0 {
            key.object = 0;
            self.fault_regions_merged += count;
            if self.sums.contains_key(&(*key, stack)) {
                return true;
            }
        }
        if self.fault_rows >= MAX_FAULT_ROWS {
            self.fault_samples_dropped += count;
            return false;
        }
        self.fault_rows += 1;
        true
    }

    /// Takes in the record of a thread that ended.
    pub fn end(&mut self, thread: ThreadSlot, event_loop: Option<EventLoop>) {
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
    pub fn intern(&mut self, stack: RawStack) -> Option<usize> {
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

/// Whether an aggregate's stack ends in the scheduler: that of a wait does, also where the wait counts for
/// the lock that its thread held. A sample's holds what ran, be it the scheduler.
fn is_wait(key: &AggregateKey, total_ns: u64) -> bool {
    match key.kind {
        KIND_WAIT => true,
        // Samples have neither reason nor time.
        KIND_HOLD => key.reason != Reason::Unknown as u8 || total_ns != 0,
        _ => false,
    }
}

/// Adds what is still going on at the end of the capture, as far as it lies inside. Returns the
/// length of the wait that the thread has not come back from, if it is a long one.
pub fn close(slot: &mut ThreadSlot, end_ns: u64, min_block_ns: u64) -> Option<u64> {
    let from = slot.since_ns.max(slot.enlisted_ns);
    let lasted = end_ns.saturating_sub(from);
    match slot.state {
        STATE_RUNNING => slot.on_cpu_ns += lasted,
        STATE_WOKEN => queue(slot, lasted, |slot| &mut slot.woken_wait_ns),
        STATE_PREEMPTED => queue(slot, lasted, |slot| &mut slot.preempted_wait_ns),
        STATE_BLOCKED if slot.is_woken() => {
            let ready = end_ns.saturating_sub(slot.woken_ns);
            let waited = lasted.saturating_sub(ready);
            queue(slot, ready, |slot| &mut slot.woken_wait_ns);
            return wait(slot, waited, min_block_ns).then_some(waited);
        }
        STATE_BLOCKED => return wait(slot, lasted, min_block_ns).then_some(lasted),
        _ => {}
    }
    None
}

fn queue(slot: &mut ThreadSlot, ns: u64, sum: impl Fn(&mut ThreadSlot) -> &mut u64) {
    *sum(slot) += ns;
    slot.longest_run_queue_ns = slot.longest_run_queue_ns.max(ns);
}

/// Adds a wait to its reason; returns whether it is a long one.
fn wait(slot: &mut ThreadSlot, ns: u64, min_block_ns: u64) -> bool {
    let Some(totals) = slot.waits.get_mut(slot.reason as usize) else {
        return false;
    };
    let long = ns >= min_block_ns;
    if long {
        totals.long_ns += ns;
        totals.long_count += 1;
    } else {
        totals.short_ns += ns;
        totals.short_count += 1;
    }
    long
}

/// How long a thread was watched, in nanoseconds.
pub fn observed_ns(slot: &ThreadSlot, end_ns: u64) -> u64 {
    let until = if slot.state == STATE_EXITED {
        slot.since_ns
    } else {
        end_ns
    };
    until.saturating_sub(slot.enlisted_ns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use remora_common::aggregate::KIND_CPU;

    fn slot(state: u32, since_ns: u64, enlisted_ns: u64) -> ThreadSlot {
        let reason = Reason::Futex as u32;
        ThreadSlot {
            state,
            since_ns,
            enlisted_ns,
            reason,
            ..Zeroable::zeroed()
        }
    }

    #[test]
    fn a_wait_that_spans_the_whole_capture_counts_with_the_part_inside() {
        let mut asleep = slot(STATE_BLOCKED, 100, 1_000);
        assert_eq!(close(&mut asleep, 5_000, 10), Some(4_000));
        let futex = asleep.waits[Reason::Futex as usize];
        assert_eq!((futex.long_ns, futex.long_count), (4_000, 1));
    }

    #[test]
    fn a_wait_below_the_threshold_at_the_end_is_short() {
        let mut asleep = slot(STATE_BLOCKED, 4_995, 1_000);
        assert_eq!(close(&mut asleep, 5_000, 10), None);
        let futex = asleep.waits[Reason::Futex as usize];
        assert_eq!(
            (futex.short_ns, futex.short_count, futex.long_count),
            (5, 1, 0)
        );
    }

    #[test]
    fn a_woken_thread_waited_until_then_and_queues_since() {
        let mut woken = ThreadSlot {
            woken_ns: 4_000,
            ..slot(STATE_BLOCKED, 2_000, 1_000)
        };
        assert_eq!(close(&mut woken, 5_000, 10), Some(2_000));
        assert_eq!(woken.waits[Reason::Futex as usize].long_ns, 2_000);
        assert_eq!(
            (woken.woken_wait_ns, woken.longest_run_queue_ns),
            (1_000, 1_000)
        );
    }

    #[test]
    fn every_state_adds_to_its_own_time_only() {
        let mut running = slot(STATE_RUNNING, 2_000, 1_000);
        let mut woken = slot(STATE_WOKEN, 2_000, 1_000);
        let mut preempted = slot(STATE_PREEMPTED, 2_000, 1_000);
        for slot in [&mut running, &mut woken, &mut preempted] {
            assert_eq!(close(slot, 5_000, 10), None);
        }
        let times = |s: &ThreadSlot| (s.on_cpu_ns, s.woken_wait_ns, s.preempted_wait_ns);
        assert_eq!(times(&running), (3_000, 0, 0));
        assert_eq!(times(&woken), (0, 3_000, 0));
        assert_eq!(times(&preempted), (0, 0, 3_000));
    }

    #[test]
    fn a_reason_that_nobody_defined_is_no_panic() {
        let mut odd = ThreadSlot {
            reason: 999,
            ..slot(STATE_BLOCKED, 0, 0)
        };
        assert_eq!(close(&mut odd, 5_000, 10), None);
    }

    #[test]
    fn an_ended_thread_was_watched_until_its_end() {
        assert_eq!(observed_ns(&slot(STATE_EXITED, 3_000, 1_000), 9_000), 2_000);
        assert_eq!(
            observed_ns(&slot(STATE_BLOCKED, 3_000, 1_000), 9_000),
            8_000
        );
    }

    #[test]
    fn the_scheduler_is_trimmed_off_what_waited_and_off_nothing_that_ran() {
        let kernel_frames = |kind: u8, reason: Reason, total_ns: u64| {
            let mut aggregates = AggregateStore::default();
            let stack = RawStack {
                kernel: vec![7, 150, 30],
                ..RawStack::default()
            };
            let aggregate = RawAggregate {
                key: AggregateKey {
                    kind,
                    reason: reason as u8,
                    ..Zeroable::zeroed()
                },
                stack: Some(stack),
                count: 1,
                total_ns,
                max_ns: total_ns,
                late_count: 0,
                late_ns: 0,
            };
            let drained = Drained {
                aggregates: vec![aggregate],
                stacks_unreadable: 0,
            };
            aggregates.add(drained, Some(&(100..200)));
            aggregates.stacks[0].kernel.clone()
        };
        assert_eq!(kernel_frames(KIND_WAIT, Reason::Futex, 9), [30]);
        assert_eq!(kernel_frames(KIND_HOLD, Reason::Sleep, 9), [30]);
        assert_eq!(kernel_frames(KIND_HOLD, Reason::Unknown, 9), [30]);
        let sampled = [7, 150, 30];
        assert_eq!(kernel_frames(KIND_HOLD, Reason::Unknown, 0), sampled);
        assert_eq!(kernel_frames(KIND_CPU, Reason::Unknown, 0), sampled);
        assert_eq!(kernel_frames(KIND_FAULT, Reason::Unknown, 61), sampled);
    }

    #[test]
    fn of_wake_ups_the_last_is_kept_and_of_waits_the_late_time_is_summed() {
        let mut aggregates = AggregateStore::default();
        let of = |kind: u8, late_ns: u64| RawAggregate {
            key: AggregateKey {
                kind,
                ..Zeroable::zeroed()
            },
            stack: None,
            count: 1,
            total_ns: 1,
            max_ns: 1,
            late_count: 0,
            late_ns,
        };
        for (wake, wait) in [(900, 7), (500, 8)] {
            let drained = Drained {
                aggregates: vec![of(KIND_WAKE, wake), of(KIND_WAIT, wait)],
                stacks_unreadable: 0,
            };
            aggregates.add(drained, None);
        }
        let late_ns = |kind: u8| aggregates.sums[&(of(kind, 0).key, None)].late_ns;
        assert_eq!((late_ns(KIND_WAKE), late_ns(KIND_WAIT)), (900, 15));
    }

    #[test]
    fn faults_without_end_are_bounded_and_counted() {
        let mut aggregates = AggregateStore::default();
        let fault = |serial: u32, object: u64| RawAggregate {
            key: AggregateKey {
                serial,
                kind: KIND_FAULT,
                object,
                ..Zeroable::zeroed()
            },
            stack: None,
            count: 1,
            total_ns: 61,
            max_ns: 0,
            late_count: 0,
            late_ns: 0,
        };
        let one_thread = (1..=MAX_FAULT_REGIONS as u64 + 9).map(|region| fault(1, region));
        let many = (2..=MAX_FAULT_ROWS as u32).map(|serial| fault(serial, 1));
        let drained = Drained {
            aggregates: one_thread.chain(many).collect(),
            stacks_unreadable: 0,
        };
        aggregates.add(drained, None);
        assert_eq!(aggregates.sums.len(), MAX_FAULT_ROWS);
        let merged = aggregates.fault_regions_merged;
        assert_eq!(merged, 9 + MAX_FAULT_ROWS as u64 - 1);
        // One row took the nine; the others began with the thread.
        let dropped =
            MAX_FAULT_REGIONS as u64 + 1 + MAX_FAULT_ROWS as u64 - 1 - MAX_FAULT_ROWS as u64;
        assert_eq!(aggregates.fault_samples_dropped, dropped);
    }
}
