//! One window of the flight recorder, as it is while the capture goes on.

use super::{ACTIVITIES, LoopPoint};

/// A thread in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadWindow {
    /// Unique number of the thread in the capture: thread ids are recycled.
    pub serial: u32,
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub pid: u32,
    /// Time by activity, in microseconds.
    pub time_us: [u32; ACTIVITIES],
    /// Iterations of its event loop, where any ended.
    pub event_loop: Option<Box<LoopPoint>>,
}

/// What happened in a stretch of time.
#[derive(Clone, Debug)]
pub struct Window {
    /// Since the beginning of the capture.
    pub start_ns: u64,
    /// How long.
    pub length_ns: u64,
    /// How many times two became this one, in a row.
    pub merged: u32,
    /// The threads, by serial.
    pub threads: Vec<ThreadWindow>,
}

impl Window {
    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let loops = self
            .threads
            .iter()
            .filter_map(|thread| thread.event_loop.as_ref());
        size_of::<Self>()
            + self.threads.len() * size_of::<ThreadWindow>()
            + loops
                .map(|point| size_of::<LoopPoint>() + point.lengths.bytes())
                .sum::<usize>()
    }

    /// Takes the window that follows in.
    pub fn take(&mut self, next: Self) {
        self.length_ns = (next.start_ns + next.length_ns).saturating_sub(self.start_ns);
        self.merged = self.merged.max(next.merged) + 1;
        for thread in next.threads {
            match self
                .threads
                .binary_search_by_key(&thread.serial, |thread| thread.serial)
            {
                Ok(at) => self.threads[at].add(thread),
                Err(at) => self.threads.insert(at, thread),
            }
        }
    }
}

impl ThreadWindow {
    fn add(&mut self, next: Self) {
        for (us, more) in self.time_us.iter_mut().zip(next.time_us) {
            *us = us.saturating_add(more);
        }
        match (&mut self.event_loop, next.event_loop) {
            (Some(point), Some(more)) => {
                point.lengths.merge(&more.lengths);
                point.longest = point.longest.max(more.longest);
                point.late += more.late;
            }
            (none @ None, more) => *none = more,
            (Some(_), None) => {}
        }
    }
}
