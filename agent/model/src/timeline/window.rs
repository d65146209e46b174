//! One window of the flight recorder, as it is while the capture goes on.

use super::{ACTIVITIES, LoopPoint};
use crate::MemoryReading;

/// A thread in a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadWindow {
    /// Unique number of the thread in the capture: thread ids are recycled.
    pub serial: u32,
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub pid: u32,
    /// Time by activity, in microseconds. Of the sum of many threads it may be longer than the window.
    pub time_us: [u64; ACTIVITIES],
    /// Iterations of its event loop, where any ended.
    pub event_loop: Option<Box<LoopPoint>>,
}

/// Depths of a socket's queues in a window, in bytes. Of a listening socket: connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketWindow {
    /// [`crate::Socket::id`].
    pub id: u32,
    /// Receive queue in the last sample.
    pub receive_last: u32,
    /// And the largest of the window.
    pub receive_max: u32,
    /// Send queue in the last sample.
    pub send_last: u32,
    /// And the largest of the window.
    pub send_max: u32,
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
    /// Sockets in whose queues something was, by id.
    pub sockets: Vec<SocketWindow>,
    /// The latest readings of the processes' memory, by pid.
    pub processes: Vec<(u32, MemoryReading)>,
}

impl Window {
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
        for socket in next.sockets {
            match self
                .sockets
                .binary_search_by_key(&socket.id, |socket| socket.id)
            {
                Ok(at) => {
                    let before = self.sockets[at];
                    self.sockets[at] = SocketWindow {
                        receive_max: socket.receive_max.max(before.receive_max),
                        send_max: socket.send_max.max(before.send_max),
                        ..socket
                    };
                }
                Err(at) => self.sockets.insert(at, socket),
            }
        }
        for (pid, reading) in next.processes {
            match self.processes.binary_search_by_key(&pid, |(pid, _)| *pid) {
                Ok(at) => self.processes[at].1 = reading,
                Err(at) => self.processes.insert(at, (pid, reading)),
            }
        }
    }
}

impl ThreadWindow {
    /// Adds what it, or another thread, did besides.
    pub fn add(&mut self, next: Self) {
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
