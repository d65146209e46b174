//! Which chunks of the pool are free. What a table gave back is not used again at once: a walk that
//! began before may still be reading it.

use remora_common::unwind::SEGMENT_CHUNKS;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How long a walk that began before may take: programs run for microseconds, virtual CPUs may be
/// descheduled for longer.
pub(super) const GRACE: Duration = Duration::from_millis(100);

/// The pool's free list.
#[derive(Debug)]
pub(super) struct Chunks {
    free: Vec<u32>,
    given_back: VecDeque<(Instant, Vec<u32>)>,
    made: u32,
    budget: u32,
}

impl Chunks {
    /// A pool that may grow to `budget` chunks.
    pub(super) fn new(budget: u32) -> Self {
        Self {
            free: Vec::new(),
            given_back: VecDeque::new(),
            made: 0,
            budget,
        }
    }

    /// Chunks that could be had at once, after growing.
    pub(super) fn available(&mut self, now: Instant) -> usize {
        self.reclaim(now);
        self.free.len() + self.budget.saturating_sub(self.made) as usize
    }

    /// Whether so many chunks can be had at all, with everything else given up.
    pub(super) fn could_hold(&self, count: usize) -> bool {
        count <= self.budget as usize
    }

    /// Chunks that were given back lately and are not available yet.
    pub(super) fn resting(&self) -> usize {
        self.given_back.iter().map(|(_, chunks)| chunks.len()).sum()
    }

    /// Segments that must be added before `count` chunks can be taken.
    pub(super) fn segments_missing(&self, count: usize) -> u32 {
        let missing = count.saturating_sub(self.free.len());
        (missing as u32).div_ceil(SEGMENT_CHUNKS)
    }

    /// A segment was added.
    pub(super) fn grew(&mut self) {
        let first = self.made;
        self.made += SEGMENT_CHUNKS;
        // The last one in is the first one out: low numbers first.
        self.free.extend((first..self.made).rev());
    }

    /// Takes a chunk.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Gives chunks back that no new walk will read.
    pub(super) fn give_back(&mut self, chunks: Vec<u32>, now: Instant) {
        if !chunks.is_empty() {
            self.given_back.push_back((now, chunks));
        }
    }

    /// Bytes that tables take now.
    pub(super) fn used_bytes(&self) -> u64 {
        let unused = self.free.len() + self.resting();
        (u64::from(self.made) - unused as u64) * 4096
    }

    fn reclaim(&mut self, now: Instant) {
        while let Some((since, _)) = self.given_back.front() {
            if now.saturating_duration_since(*since) < GRACE {
                break;
            }
            if let Some((_, chunks)) = self.given_back.pop_front() {
                self.free.extend(chunks);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_rests_before_it_is_taken_again() {
        let start = Instant::now();
        let mut chunks = Chunks::new(SEGMENT_CHUNKS);
        assert_eq!(chunks.available(start), SEGMENT_CHUNKS as usize);
        assert_eq!(chunks.segments_missing(3), 1);
        chunks.grew();
        let taken: Vec<u32> = (0..3).filter_map(|_| chunks.take()).collect();
        assert_eq!(
            (taken.clone(), chunks.used_bytes()),
            (vec![0, 1, 2], 3 * 4096)
        );
        chunks.give_back(taken, start);
        assert_eq!(chunks.available(start), SEGMENT_CHUNKS as usize - 3);
        assert_eq!(chunks.used_bytes(), 0);
        assert_eq!(chunks.available(start + GRACE), SEGMENT_CHUNKS as usize);
    }

    #[test]
    fn the_budget_is_kept() {
        let mut chunks = Chunks::new(SEGMENT_CHUNKS);
        chunks.grew();
        let taken = (0..SEGMENT_CHUNKS + 5)
            .filter_map(|_| chunks.take())
            .count();
        assert_eq!(taken, SEGMENT_CHUNKS as usize);
        assert_eq!(chunks.available(Instant::now()), 0);
    }
}
