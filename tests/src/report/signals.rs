//! Event loops, locks and the timeline, as a reader sees them.

use serde::Deserialize;
use std::time::Duration;

/// A thread's event loop.
#[derive(Clone, Debug, Deserialize)]
pub struct EventLoop {
    /// Thread id.
    pub tid: u32,
    /// `epoll` or `poll`.
    pub kind: String,
    /// `exact` or `blocked`.
    pub mode: String,
    /// Waits for events.
    pub waits: u64,
    /// Time in them.
    pub blocked_ns: u64,
    /// Those without an event.
    pub timeouts: Option<u64>,
    /// Events.
    pub events: Option<u64>,
    /// Iterations that ended.
    pub iterations: u64,
    /// Time in them.
    pub busy_ns: u64,
    /// Those over the threshold.
    pub late: u64,
    /// Time in those.
    pub late_ns: u64,
    /// The threshold.
    pub threshold_s: f64,
    /// Median.
    pub p50_s: Option<f64>,
    /// 95 % are at most this long.
    pub p95_s: Option<f64>,
    /// 99 % are.
    pub p99_s: Option<f64>,
    /// The longest.
    pub max_s: Option<f64>,
    /// An iteration that had not ended.
    pub busy_now_s: Option<f64>,
}

/// A futex.
#[derive(Clone, Debug, Deserialize)]
pub struct Lock {
    /// A process that waits for it.
    pub pid: u32,
    /// Its address there.
    pub address: String,
    /// Where that lies.
    pub place: String,
    /// It is waited for as shared by processes.
    pub shared: bool,
    /// What it is.
    pub kind: String,
    /// That is a guess.
    pub kind_inferred: bool,
    /// By which operations threads wait for it.
    pub operations: Vec<String>,
    /// Waits.
    pub waits: u64,
    /// Time in them.
    pub total_ns: u64,
    /// The longest.
    pub worst_ns: u64,
    /// Who waited.
    pub waiters: Vec<LockWaiter>,
    /// Who holds it.
    pub owner: Option<LockOwner>,
    /// Who woke most of its waiters.
    pub last_waker: Option<LockWaker>,
    /// Who held it when waits began.
    pub holders: Vec<LockHolder>,
    /// Stacks of waits.
    pub waiter_stacks: Vec<LockStack>,
    /// What holders did.
    pub holder_stacks: Vec<LockStack>,
}

/// A waiter.
#[derive(Clone, Debug, Deserialize)]
pub struct LockWaiter {
    /// Thread id.
    pub tid: u32,
    /// Waits.
    pub waits: u64,
    /// Time in them.
    pub total_ns: u64,
    /// It waits at the end.
    pub waits_now: bool,
}

/// A waker.
#[derive(Clone, Debug, Deserialize)]
pub struct LockWaker {
    /// Thread id, 0 for an interrupt.
    pub tid: u32,
}

/// An owner.
#[derive(Clone, Debug, Deserialize)]
pub struct LockOwner {
    /// Thread id.
    pub tid: u32,
    /// `certain` or `inferred`.
    pub certainty: String,
}

/// A thread that held a lock when waits began.
#[derive(Clone, Debug, Deserialize)]
pub struct LockHolder {
    /// Thread id.
    pub tid: u32,
    /// Those waits.
    pub waits: u64,
    /// Time in them.
    pub total_ns: u64,
}

/// A stack and the time in it.
#[derive(Clone, Debug, Deserialize)]
pub struct LockStack {
    /// Thread id.
    pub tid: u32,
    /// Time.
    pub total_ns: u64,
    /// Leaf first.
    pub stack: Vec<String>,
}

/// Columns over windows.
#[derive(Clone, Debug, Deserialize)]
pub struct Timeline {
    /// Length of the finest windows.
    pub window_s: f64,
    /// Windows that were merged.
    pub coarsened_windows: u64,
    /// Beginning of each window.
    pub start_s: Vec<f64>,
    /// Its length.
    pub length_s: Vec<f64>,
    /// By thread.
    pub threads: Vec<ThreadColumns>,
}

/// A thread over the windows.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadColumns {
    /// Thread id.
    pub tid: u32,
    /// The window in which the columns begin.
    pub first: usize,
    /// Shares of each window.
    pub on_cpu_pct: Vec<f64>,
    /// The same.
    pub run_queue_pct: Vec<f64>,
    /// The same.
    pub lock_pct: Vec<f64>,
    /// The same.
    pub event_wait_pct: Vec<f64>,
    /// The same.
    pub socket_pct: Vec<f64>,
    /// The same.
    pub disk_pct: Vec<f64>,
    /// The same.
    pub sleep_pct: Vec<f64>,
    /// The same.
    pub other_pct: Vec<f64>,
    /// Iterations of its event loop.
    #[serde(rename = "loop")]
    pub event_loop: Option<LoopColumns>,
}

/// Iterations over the windows.
#[derive(Clone, Debug, Deserialize)]
pub struct LoopColumns {
    /// Those that ended.
    pub iterations: Vec<u64>,
    /// The late ones.
    pub late: Vec<u64>,
    /// The longest.
    pub max_s: Vec<Option<f64>>,
}

impl ThreadColumns {
    /// Time in a column over all windows.
    pub fn time(&self, column: &[f64], lengths_s: &[f64]) -> Duration {
        let lengths = &lengths_s[self.first..];
        let seconds = column
            .iter()
            .zip(lengths)
            .map(|(pct, length)| pct / 100.0 * length);
        Duration::from_secs_f64(seconds.sum())
    }
}
