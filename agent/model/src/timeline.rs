//! What each thread, socket and process did, window by window.

mod window;

pub use window::{SocketWindow, ThreadWindow, Window};

use super::{histogram::Histogram, memory::MemoryReading};
use remora_common::reason::Reason;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// What a thread spends its time with, as the timeline shows it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case", suffix = "_pct")]
#[repr(usize)]
pub enum Activity {
    /// On a CPU.
    OnCpu = 0,
    /// Ready, without a CPU.
    RunQueue = 1,
    /// Waits for a futex.
    Lock = 2,
    /// Waits for events: epoll, poll, select.
    EventWait = 3,
    /// Waits for a socket.
    Socket = 4,
    /// Waits for storage or a file.
    Disk = 5,
    /// Sleeps for a time, or until a signal.
    Sleep = 6,
    /// Anything else.
    Other = 7,
}

/// How many there are.
pub const ACTIVITIES: usize = Activity::ALL.len();

impl Activity {
    /// All, in the order of their numbers.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Name of its share of a window in `report.json` and in the stream of windows.
    pub fn share_key(self) -> &'static str {
        self.into()
    }

    /// Where a wait belongs.
    pub const fn of(reason: Reason) -> Self {
        match reason {
            Reason::Futex => Self::Lock,
            Reason::Epoll | Reason::Poll => Self::EventWait,
            Reason::SocketReceive
            | Reason::SocketSend
            | Reason::SocketAccept
            | Reason::SocketConnect => Self::Socket,
            Reason::Disk | Reason::FileRead | Reason::FileWrite => Self::Disk,
            Reason::Sleep | Reason::SignalWait => Self::Sleep,
            _ => Self::Other,
        }
    }
}

/// Iterations of a thread's event loop that ended in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct LoopPoint {
    /// Their lengths.
    pub lengths: Histogram,
    /// The longest: at least; a longer one that began earlier is known to the bucket only.
    pub longest: Duration,
    /// Those that were late.
    pub late: u64,
}

/// A thread in one window.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct ThreadPoint {
    /// Time by activity, in microseconds.
    pub time_us: [u64; ACTIVITIES],
    /// Its event loop, where an iteration ended.
    pub event_loop: Option<Box<LoopPoint>>,
}

/// A thread through the windows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ThreadSeries {
    /// Index in [`super::Capture::threads`].
    pub thread: usize,
    /// Index of the first window in which it was there.
    pub first: usize,
    /// One a window from there on.
    pub points: Vec<ThreadPoint>,
}

/// A socket through the windows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct SocketSeries {
    /// Index in [`super::Capture::sockets`].
    pub socket: usize,
    /// Index of the first window in which something was in its queues.
    pub first: usize,
    /// The largest depth of the receive queue, one a window from there on, in bytes.
    pub receive: Vec<u32>,
    /// The same of the send queue.
    pub send: Vec<u32>,
}

/// A process's memory through the windows.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ProcessSeries {
    /// Process id.
    pub pid: u32,
    /// Index of the first window with a reading.
    pub first: usize,
    /// The latest reading of each window from there on.
    pub readings: Vec<MemoryReading>,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Span {
    /// Since the beginning of the capture.
    pub start: Duration,
    /// How long.
    pub length: Duration,
}

/// All windows of a capture.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Timeline {
    /// Length of the finest windows.
    pub window: Duration,
    /// How many windows were merged into longer ones, because they were old or many.
    pub coarsened: u64,
    /// The windows, oldest first.
    pub spans: Vec<Span>,
    /// The threads.
    pub threads: Vec<ThreadSeries>,
    /// Sockets in whose queues something was.
    pub sockets: Vec<SocketSeries>,
    /// The processes' memory.
    pub processes: Vec<ProcessSeries>,
}
