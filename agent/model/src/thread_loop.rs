//! One thread's event loop: its waits and its iterations.

use super::histogram::Histogram;
use remora_common::reason::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The event loop of a thread.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ThreadLoop {
    /// Index in [`super::Capture::threads`].
    pub thread: usize,
    /// What it waits in: epoll or poll.
    pub kind: Reason,
    /// Its epoll descriptor, where a wait of its was seen to block.
    pub epoll_fd: Option<u32>,
    /// Every iteration was told; else those that end with a wait that blocks, and a figure of iterations
    /// is an upper bound: polls in between that found something at once were not seen.
    pub exact: bool,
    /// Waits for events; where not exact: those that blocked.
    pub waits: u64,
    /// Waits that ended without an event, where exact.
    pub timeouts: Option<u64>,
    /// Events returned, where exact.
    pub events: Option<u64>,
    /// Time blocked in them.
    pub blocked: Duration,
    /// Iterations that ended in the capture.
    pub iterations: u64,
    /// Time in them.
    pub busy: Duration,
    /// The longest.
    pub longest: Duration,
    /// Those that took at least [`ThreadLoop::late_from`].
    pub late: u64,
    /// Time in those.
    pub late_time: Duration,
    /// Of that, ready but without a CPU.
    pub late_queued: Duration,
    /// From this length on an iteration is late.
    pub late_from: Duration,
    /// Their lengths.
    pub lengths: Histogram,
    /// How long the iteration lasts that had not ended when the capture did.
    pub busy_now: Option<Duration>,
}
