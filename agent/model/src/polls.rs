//! Polls for events that were counted exactly for a moment, for whoever seemed not to come back to them.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The polls of one thread while they were counted. A stretch is the time from a poll, or from the return of one that
/// slept, to the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PollCount {
    /// For how long they were counted.
    pub watched: Duration,
    /// How many there were.
    pub polls: u64,
    /// The longest stretch that a poll ended.
    pub longest: Duration,
    /// Time in stretches that a poll ended and that were as long as a late iteration.
    pub late: Duration,
    /// The stretch that had not ended when the counting did; zero for a thread that slept in its wait.
    pub open: Duration,
}

impl PollCount {
    /// The longest stretch, ended or not.
    pub fn stretch(&self) -> Duration {
        self.longest.max(self.open)
    }
}

/// What counting them cost the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PollCost {
    /// For how long each system call of the host took the slow way in and out.
    pub length: Duration,
    /// System calls that entered meanwhile; 0 where they could not be counted.
    pub runs: u64,
    /// Time in the program that counts (without the cost of the dispatch, as of all programs).
    pub run: Duration,
}
