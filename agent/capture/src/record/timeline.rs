//! The flight recorder: what each thread did in each window, kept in bounded memory. Old windows are
//! merged into longer ones, never dropped.

mod packed;

pub(crate) use packed::Windows;

use crate::store::threads;
use remora_common::{
    event_loop::{EventLoop, LOOP_BUCKETS},
    reason::Reason,
    thread::ThreadSlot,
};
use remora_model::{
    Histogram, MemoryReading,
    timeline::{ACTIVITIES, Activity, LoopPoint, SocketWindow, ThreadWindow, Window},
};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use packed::Packed;

/// Memory that windows may take.
const BUDGET_BYTES: usize = 32 << 20;

/// Windows of one length that are kept, of those older than what is kept whole, before two become one.
const OLD_OF_A_LENGTH: usize = 60;

/// From one cleaning of all windows to the next: sockets that will not be in the report are left out.
const CLEAN_EVERY: u32 = 32;

/// Sockets that wait for it, at the most.
const MAX_GONE: usize = 65_536;

/// What a thread had used up when it was looked at last.
struct Seen {
    /// By activity.
    time_ns: [u64; ACTIVITIES],
    loop_max_ns: u64,
    loop_late: u64,
    /// Counters of the loop's histogram, where it has one.
    buckets: Option<Box<[u32; LOOP_BUCKETS]>>,
}

/// How finely the past is kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Length of the finest windows.
    pub window: Duration,
    /// For how long those are kept.
    pub whole: Duration,
}

/// What else belongs to a window: see [`Window`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Others {
    pub sockets: Vec<SocketWindow>,
    /// Sockets of earlier windows that will not be in the report.
    pub sockets_gone: Vec<u32>,
    pub processes: Vec<(u32, MemoryReading)>,
}

/// Records windows.
pub(crate) struct Recorder {
    keep: Keep,
    start_ns: u64,
    /// End of the last window.
    last_ns: u64,
    min_block_ns: u64,
    seen: HashMap<u32, Seen>,
    /// Threads that ended in the present window.
    ended: Vec<ThreadWindow>,
    /// All but the newest.
    windows: VecDeque<Packed>,
    newest: Option<Window>,
    /// Memory of the packed ones.
    bytes: usize,
    budget_bytes: usize,
    coarsened: u64,
    /// Sockets that packed windows may still name in vain, and when they are looked through next.
    gone: HashSet<u32>,
    clean_in: u32,
}

impl Recorder {
    /// Records from `start_ns` on.
    pub(crate) fn new(keep: Keep, start_ns: u64, min_block_ns: u64) -> Self {
        Self {
            keep,
            start_ns,
            last_ns: start_ns,
            min_block_ns,
            seen: HashMap::new(),
            ended: Vec::new(),
            windows: VecDeque::new(),
            newest: None,
            bytes: 0,
            budget_bytes: BUDGET_BYTES,
            coarsened: 0,
            gone: HashSet::new(),
            clean_in: CLEAN_EVERY,
        }
    }

    /// Takes the last figures of a thread that ended.
    pub(crate) fn end(&mut self, slot: &ThreadSlot, event_loop: Option<&EventLoop>) {
        let now_ns = slot.since_ns;
        let last = self.read(slot, event_loop, now_ns);
        self.seen.remove(&slot.serial);
        self.ended.push(last);
    }

    /// Ends the present window at `now_ns`, with the figures of all threads that are there. Gives it.
    pub(crate) fn close(
        &mut self,
        now_ns: u64,
        threads: &[ThreadSlot],
        event_loop: impl Fn(&ThreadSlot) -> Option<EventLoop>,
        others: Others,
    ) -> &Window {
        let mut windows = std::mem::take(&mut self.ended);
        for slot in threads {
            windows.push(self.read(slot, event_loop(slot).as_ref(), now_ns));
        }
        windows.sort_by_key(|thread| thread.serial);
        let mut sockets = others.sockets;
        sockets.sort_by_key(|socket| socket.id);
        self.forget_sockets(others.sockets_gone);
        let window = Window {
            start_ns: self.last_ns - self.start_ns,
            length_ns: now_ns.saturating_sub(self.last_ns),
            merged: 0,
            threads: windows,
            sockets,
            processes: others.processes,
        };
        self.last_ns = now_ns.max(self.last_ns);
        self.pack();
        self.coarsen();
        self.newest.insert(window)
    }

    /// Adds threads that ended to sums: `into` names the sum's serial for the serial of each.
    pub(crate) fn fold(&mut self, into: &HashMap<u32, u32>) {
        if into.is_empty() {
            return;
        }
        self.ended = packed::fold(std::mem::take(&mut self.ended), into);
        if let Some(newest) = &mut self.newest {
            newest.threads = packed::fold(std::mem::take(&mut newest.threads), into);
        }
        self.change_all(|window| window.fold(into));
    }

    fn pack(&mut self) {
        if let Some(newest) = self.newest.take() {
            let packed = Packed::new(newest);
            self.bytes += packed.bytes();
            self.windows.push_back(packed);
        }
    }

    /// Sockets that come and go within a window or two are most of those that are gone: the newest window
    /// is rid of them at once, the others now and then.
    fn forget_sockets(&mut self, gone: Vec<u32>) {
        self.gone.extend(gone);
        if let Some(newest) = &mut self.newest {
            newest
                .sockets
                .retain(|socket| !self.gone.contains(&socket.id));
        }
        self.clean_in -= 1;
        if self.clean_in == 0 || self.gone.len() > MAX_GONE {
            self.clean_in = CLEAN_EVERY;
            let gone = std::mem::take(&mut self.gone);
            if !gone.is_empty() {
                self.change_all(|window| window.forget_sockets(&gone));
            }
        }
    }

    fn change_all(&mut self, change: impl Fn(&mut Packed)) {
        self.windows.iter_mut().for_each(change);
        self.bytes = self.windows.iter().map(Packed::bytes).sum();
    }

    /// The windows, oldest first, and how many were merged.
    pub(crate) fn finish(mut self) -> (Windows, u64) {
        self.pack();
        (Windows(self.windows), self.coarsened)
    }

    /// What a thread did since it was looked at last.
    fn read(
        &mut self,
        slot: &ThreadSlot,
        event_loop: Option<&EventLoop>,
        now_ns: u64,
    ) -> ThreadWindow {
        let time_ns = times(slot, now_ns, self.min_block_ns);
        let before = self.seen.remove(&slot.serial);
        let mut time_us = [0; ACTIVITIES];
        for (activity, us) in time_us.iter_mut().enumerate() {
            let was = before.as_ref().map_or(0, |seen| seen.time_ns[activity]);
            *us = micros(time_ns[activity].saturating_sub(was));
        }
        let point = event_loop.map(|now| iterations(now, before.as_ref()));
        let seen = Seen {
            time_ns,
            loop_max_ns: event_loop.map_or(0, |event_loop| event_loop.max_ns),
            loop_late: event_loop.map_or(0, |event_loop| event_loop.late),
            buckets: event_loop.map(|event_loop| Box::new(event_loop.buckets)),
        };
        self.seen.insert(slot.serial, seen);
        ThreadWindow {
            serial: slot.serial,
            tid: slot.tid,
            pid: slot.tgid,
            time_us,
            event_loop: point
                .filter(|point| point.lengths.count() > 0)
                .map(Box::new),
        }
    }

    /// Keeps what is older than asked for, and what is beyond the budget, in fewer and longer windows.
    fn coarsen(&mut self) {
        let whole_ns = u64::try_from(self.keep.whole.as_nanos()).unwrap_or(u64::MAX);
        let end_ns = self.last_ns - self.start_ns;
        let is_old = |window: &Packed| end_ns.saturating_sub(window.start_ns) > whole_ns;
        let old = self
            .windows
            .iter()
            .take_while(|window| is_old(window))
            .count();
        if let Some(at) = crowded(self.windows.iter().take(old)) {
            self.merge(at);
        }
        while self.bytes > self.budget_bytes && self.windows.len() > 1 {
            // The shortest of the oldest pairs: recent windows stay fine for as long as possible.
            let at = crowded_most(&self.windows);
            self.merge(at);
        }
    }

    /// Makes one window of this and the next.
    fn merge(&mut self, at: usize) {
        let Some(next) = self.windows.remove(at + 1) else {
            return;
        };
        let Some(packed) = self.windows.get_mut(at) else {
            return;
        };
        self.bytes = self.bytes.saturating_sub(packed.bytes() + next.bytes());
        let mut window = packed.unpack();
        window.take(next.unpack());
        *packed = Packed::new(window);
        self.bytes += packed.bytes();
        self.coarsened += 1;
    }
}

/// The first of the oldest pair among windows that were merged as often, where there are many of them.
fn crowded<'a>(windows: impl Iterator<Item = &'a Packed>) -> Option<usize> {
    let mut first_of: HashMap<u32, (usize, usize)> = HashMap::new();
    for (at, window) in windows.enumerate() {
        let (_, count) = first_of.entry(window.merged).or_insert((at, 0));
        *count += 1;
    }
    first_of
        .into_values()
        .filter(|(_, count)| *count > OLD_OF_A_LENGTH)
        .map(|(at, _)| at)
        .min()
}

/// The first of the oldest pair that was merged least often, of two windows at least.
fn crowded_most(windows: &VecDeque<Packed>) -> usize {
    let pairs = windows.len().saturating_sub(1);
    (0..pairs)
        .min_by_key(|at| (windows[*at].merged + windows[at + 1].merged, *at))
        .unwrap_or(0)
}

/// All of a thread's time so far by activity, with what lasts.
fn times(slot: &ThreadSlot, now_ns: u64, min_block_ns: u64) -> [u64; ACTIVITIES] {
    let mut slot = *slot;
    threads::close(&mut slot, now_ns, min_block_ns);
    let mut time_ns = [0; ACTIVITIES];
    time_ns[Activity::OnCpu as usize] = slot.on_cpu_ns;
    time_ns[Activity::RunQueue as usize] = slot.woken_wait_ns + slot.preempted_wait_ns;
    for (reason, waits) in Reason::ALL.iter().zip(&slot.waits) {
        time_ns[Activity::of(*reason) as usize] += waits.long_ns + waits.short_ns;
    }
    time_ns
}

/// The iterations that ended since.
fn iterations(now: &EventLoop, before: Option<&Seen>) -> LoopPoint {
    const NONE: [u32; LOOP_BUCKETS] = [0; LOOP_BUCKETS];
    let buckets = before.and_then(|seen| seen.buckets.as_deref());
    let lengths = Histogram::between(buckets.unwrap_or(&NONE), &now.buckets);
    let longest_ns = if before.is_none_or(|seen| now.max_ns > seen.loop_max_ns) {
        now.max_ns
    } else {
        lengths.longest_ns().min(now.max_ns)
    };
    LoopPoint {
        lengths,
        longest: Duration::from_nanos(longest_ns),
        late: now
            .late
            .saturating_sub(before.map_or(0, |seen| seen.loop_late)),
    }
}

const fn micros(ns: u64) -> u64 {
    ns / 1000
}

#[cfg(test)]
mod tests;
