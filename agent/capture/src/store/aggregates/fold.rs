//! Threads that come and go without end: beyond a number of them, those that ended and did least are added
//! up by process and name. Their times, samples, waits and stacks stay; which of them it was does not.

use super::{
    AggregateStore,
    sums::{Key, Sum, What},
};
use crate::store::threads::observed_ns;
use remora_common::{
    event_loop::EventLoop,
    thread::{MIGRATIONS_UNKNOWN, ThreadSlot},
};
use remora_probe::WaitForm;
use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

/// Ended threads that are kept one by one where threads are summed; that is done from twice as many on.
const ALONE: usize = 1024;

/// The same where over half of [`super::MAX_SUMS`] are taken: each may have some fifty of them.
const ALONE_WHEN_TIGHT: usize = 128;

/// Ended threads from which on the kernel's tables are emptied early: a thread can be summed when
/// everything of it has been read.
const MANY: usize = 4096;

/// Sums of threads: from there on a process has one for all names.
const MAX_GROUPS: usize = 1024;

/// Aggregates of summed threads from which on those lose what would tell them from each other: the
/// futex, its owner, the waker.
const MAX_FINE: usize = 32_768;

/// Bytes of a thread's name.
const COMM: usize = 16;

/// What a sum of threads is, beside its [`ThreadSlot`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summed {
    /// How many threads.
    pub(crate) threads: u64,
    /// How long they were watched, together, in nanoseconds.
    pub(crate) observed_ns: u64,
}

/// The sums, each with its slot at the same place of [`AggregateStore::ended`].
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: HashMap<(u32, [u8; COMM]), usize>,
    summed: Vec<Summed>,
    /// Ended threads, sums among them, that were left the last time.
    left: usize,
}

impl Groups {
    /// The sum's serial: counted down, as those of threads are counted up.
    fn serial(at: usize) -> u32 {
        u32::MAX - at as u32
    }

    fn has(&self, serial: u32) -> bool {
        ((u32::MAX - serial) as usize) < self.summed.len()
    }
}

impl AggregateStore {
    /// What stands behind a serial that is a sum of threads; `None` for a thread.
    pub(crate) fn summed(&self, serial: u32) -> Option<Summed> {
        let at = (u32::MAX - serial) as usize;
        self.groups.summed.get(at).copied()
    }

    /// Threads that stand in sums only.
    pub(crate) fn threads_summed(&self) -> u64 {
        self.groups.summed.iter().map(|sum| sum.threads).sum()
    }

    /// Whether so many threads ended since [`AggregateStore::fold`] that the tables are to be emptied for it.
    pub(crate) fn is_crowded(&self) -> bool {
        self.ended.len() >= self.groups.left + MANY
    }

    /// Adds ended threads up, where there are many of them: of the first `complete` ended ones there is
    /// nothing left in the kernel's tables. Returns the sum's serial for the serial of each.
    pub(crate) fn fold(&mut self, complete: usize) -> HashMap<u32, u32> {
        let sums = self.groups.summed.len();
        let mut alone: Vec<ThreadSlot> = self.ended.drain(sums..complete.max(sums)).collect();
        let late = self.ended.split_off(sums);
        let mut into = HashMap::new();
        let mut ids = HashSet::new();
        let tight = self.sums.len() > super::MAX_SUMS / 2;
        let kept = if tight { ALONE_WHEN_TIGHT } else { ALONE };
        if alone.len() > 2 * kept {
            alone.sort_by_key(|slot| Reverse(used_ns(slot)));
            let rest = alone.split_off(kept);
            for slot in self.alone_in_name(&rest, &mut alone) {
                match self.group(&slot) {
                    Some(at) => {
                        self.join_thread(at, &slot);
                        into.insert(slot.serial, Groups::serial(at));
                        ids.insert(slot.tid);
                    }
                    None => alone.push(slot),
                }
            }
        }
        self.ended.extend(alone);
        self.ended.extend(late);
        self.groups.left = self.ended.len();
        if !into.is_empty() {
            self.join_sums(&into, &ids);
            self.join_loops(&into);
        }
        into
    }

    /// The threads that others share process and name with. A process's first thread, and one that
    /// there is no other like, take no less room in a sum: they go back to `alone`.
    fn alone_in_name(&self, rest: &[ThreadSlot], alone: &mut Vec<ThreadSlot>) -> Vec<ThreadSlot> {
        let mut names: HashMap<(u32, [u8; COMM]), usize> = HashMap::new();
        for slot in rest {
            *names.entry(name(slot)).or_default() += 1;
        }
        let (alike, others): (Vec<_>, Vec<_>) = rest.iter().partition(|slot| {
            let name = name(slot);
            let known = self.groups.by_name.contains_key(&name);
            slot.tid != slot.tgid && (known || names.get(&name).is_some_and(|count| *count > 1))
        });
        alone.extend(others);
        alike
    }

    /// Where the sum is that the thread belongs to; a new one where there is room.
    fn group(&mut self, slot: &ThreadSlot) -> Option<usize> {
        let groups = &mut self.groups;
        let mut name = name(slot);
        if let Some(at) = groups.by_name.get(&name) {
            return Some(*at);
        }
        if groups.summed.len() >= MAX_GROUPS {
            name.1 = *b"*\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
            if let Some(at) = groups.by_name.get(&name) {
                return Some(*at);
            }
            if groups.summed.len() >= 2 * MAX_GROUPS {
                return None;
            }
        }
        let at = groups.summed.len();
        groups.by_name.insert(name, at);
        groups.summed.push(Summed::default());
        // Only the sums are in it at this time.
        self.ended.push(ThreadSlot {
            tid: 0,
            tgid: slot.tgid,
            serial: Groups::serial(at),
            state: slot.state,
            enlisted_ns: slot.enlisted_ns,
            comm: name.1,
            ..bytemuck::Zeroable::zeroed()
        });
        Some(at)
    }

    fn join_thread(&mut self, at: usize, slot: &ThreadSlot) {
        let (Some(sum), Some(summed)) = (self.ended.get_mut(at), self.groups.summed.get_mut(at))
        else {
            return;
        };
        summed.threads += 1;
        summed.observed_ns += observed_ns(slot, slot.since_ns);
        add(sum, slot);
    }

    /// Gives the aggregates of summed threads to their sums, and has a waker that is in one (`ids`) known
    /// by its process alone.
    fn join_sums(&mut self, into: &HashMap<u32, u32>, ids: &HashSet<u32>) {
        let groups = &self.groups;
        let fine = self.serials().filter(|serial| groups.has(*serial));
        let coarse = fine.count() > MAX_FINE;
        // All of them out and in again: places that single ones leave behind are not free for others, and
        // a table in which they add up is doubled, though there is room.
        let all: Vec<(Key, Sum)> = self.sums.drain().collect();
        for ((mut place, mut what), sum) in all {
            let is_sum = into.contains_key(&place.serial) || self.groups.has(place.serial);
            if !is_sum {
                self.sums.insert((place, what), sum);
                continue;
            }
            place.serial = into.get(&place.serial).copied().unwrap_or(place.serial);
            let mut merged = |wait: &mut WaitForm| {
                self.futexes_merged += u64::from(coarse && wait.futex != 0);
                wait.futex = if coarse { 0 } else { wait.futex };
            };
            match &mut what {
                What::Wakes {
                    wait,
                    waker,
                    lock_owner,
                } => {
                    merged(wait);
                    if coarse {
                        *lock_owner = 0;
                    }
                    if coarse || ids.contains(&waker.tid) {
                        waker.tid = 0;
                    }
                }
                What::Waits(wait) => merged(wait),
                _ => {}
            }
            let known = self.sums.entry((place, what)).or_default();
            known.merge(what, &sum);
        }
        let faults = self.sums.keys();
        let faults = faults.filter(|(_, what)| matches!(what, What::Faults { .. }));
        self.fault_rows = faults.count();
    }

    fn join_loops(&mut self, into: &HashMap<u32, u32>) {
        let moved: Vec<(u32, EventLoop)> = self
            .ended_loops
            .extract_if(|serial, _| into.contains_key(serial))
            .collect();
        for (serial, event_loop) in moved {
            let Some(sum) = into.get(&serial) else {
                continue;
            };
            self.ended_loops
                .entry(*sum)
                .and_modify(|all| add_loop(all, &event_loop))
                .or_insert(event_loop);
        }
    }
}

/// Process and name of a thread, without the number at the name's end that tells it from others.
fn name(slot: &ThreadSlot) -> (u32, [u8; COMM]) {
    let end = slot.comm.iter().position(|byte| *byte == 0);
    let full = slot.comm.get(..end.unwrap_or(COMM)).unwrap_or_default();
    let digits = full.iter().rev().take_while(|byte| byte.is_ascii_digit());
    let digits = digits.count();
    let mut comm = [0; COMM];
    let kept = full.iter().take(full.len() - digits);
    let star = (digits > 0).then_some(&b'*');
    for (to, byte) in comm.iter_mut().zip(kept.chain(star)) {
        *to = *byte;
    }
    (slot.tgid, comm)
}

/// Time that a thread was on a CPU or wanted one.
const fn used_ns(slot: &ThreadSlot) -> u64 {
    slot.on_cpu_ns
        .saturating_add(slot.woken_wait_ns)
        .saturating_add(slot.preempted_wait_ns)
}

fn add(sum: &mut ThreadSlot, slot: &ThreadSlot) {
    sum.generation = sum.generation.max(slot.generation);
    sum.since_ns = sum.since_ns.max(slot.since_ns);
    sum.enlisted_ns = sum.enlisted_ns.min(slot.enlisted_ns);
    sum.on_cpu_ns += slot.on_cpu_ns;
    sum.woken_wait_ns += slot.woken_wait_ns;
    sum.preempted_wait_ns += slot.preempted_wait_ns;
    sum.longest_run_queue_ns = sum.longest_run_queue_ns.max(slot.longest_run_queue_ns);
    sum.woken_count = sum.woken_count.saturating_add(slot.woken_count);
    sum.preempted_count = sum.preempted_count.saturating_add(slot.preempted_count);
    match (sum.migrations(), slot.migrations()) {
        // The sum starts at none: what it has is what its threads had.
        (Some(_), Some(more)) => sum.migrations_last = sum.migrations_last.saturating_add(more),
        _ => sum.migrations_before = MIGRATIONS_UNKNOWN,
    }
    sum.faults += slot.faults;
    for (waits, more) in sum.waits.iter_mut().zip(&slot.waits) {
        waits.long_ns += more.long_ns;
        waits.short_ns += more.short_ns;
        waits.long_count = waits.long_count.saturating_add(more.long_count);
        waits.short_count = waits.short_count.saturating_add(more.short_count);
    }
}

fn add_loop(sum: &mut EventLoop, more: &EventLoop) {
    sum.waits += more.waits;
    sum.timeouts += more.timeouts;
    sum.events += more.events;
    sum.iterations += more.iterations;
    sum.late += more.late;
    sum.busy_ns += more.busy_ns;
    sum.max_ns = sum.max_ns.max(more.max_ns);
    sum.late_ns += more.late_ns;
    sum.late_queued_ns += more.late_queued_ns;
    for (count, more) in sum.buckets.iter_mut().zip(more.buckets) {
        *count = count.saturating_add(more);
    }
}

#[cfg(test)]
mod tests;
