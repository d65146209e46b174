//! All tracked descriptors. One is known by process, number and inode: where a number has another inode
//! in the next sample, the socket was closed and the number used again.

use super::entry::Entry;
use remora_common::socket::{SOCKET_LAST_SEND, SocketRecord};
use remora_model::timeline::SocketWindow;
use remora_model::{Socket, SocketCounts};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

/// Sockets that are tracked at a time.
const MAX_SOCKETS: usize = 65_536;

/// Sockets that were closed, kept for the report.
const MAX_CLOSED: usize = 4096;

/// A sender that sent nothing for so long although there is something to send may be stuck.
const STUCK: Duration = Duration::from_millis(100);

/// Process, descriptor, inode.
type Key = (u32, u32, u64);

/// The sockets of the targets, from sample to sample.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    open: HashMap<Key, Entry>,
    closed: Vec<Entry>,
    /// Numbers that were opened in the present pass.
    opened_now: Vec<(u32, u32)>,
    next_id: u32,
    counts: SocketCounts,
    /// Closed sockets that were not kept.
    pub closed_dropped: u64,
    /// Those of them that windows of the timeline name.
    gone: Vec<u32>,
    /// Sockets beyond the limit: in the present pass, and the most of all passes.
    untracked_now: u64,
    pub untracked: u64,
    /// Length of a timer tick.
    tick_ns: u64,
}

impl Tracker {
    /// `tick_ns`: length of the kernel's timer tick.
    pub(super) fn new(tick_ns: u64) -> Self {
        Self {
            tick_ns,
            ..Self::default()
        }
    }

    /// Takes in one pass over all descriptors of the targets.
    ///
    /// `whole` is `false` for a pass that broke off: what it did not show is not gone.
    pub(super) fn pass<'a>(
        &mut self,
        records: impl Iterator<Item = (SocketRecord, &'a [u8])>,
        whole: bool,
        took: Duration,
    ) {
        self.counts.samples += 1;
        self.counts.sampling += took;
        self.counts.longest_sample = self.counts.longest_sample.max(took);
        self.untracked_now = 0;
        self.opened_now.clear();
        for (record, name) in records {
            self.record(&record, name);
        }
        self.untracked = self.untracked.max(self.untracked_now);
        if self.counts.samples == 1 {
            self.counts.at_start = self.opened_now.len() as u64;
        } else {
            self.counts.opened += self.opened_now.len() as u64;
        }
        if whole {
            self.close();
        }
    }

    fn record(&mut self, record: &SocketRecord, name: &[u8]) {
        let key = (record.tgid, record.fd, record.inode);
        let pass = self.counts.samples;
        if let Some(entry) = self.open.get_mut(&key) {
            // Threads that share descriptors may be shown one by one.
            if entry.pass != pass {
                entry.sample(pass, record, self.tick_ns);
                if *entry.name != *name {
                    entry.name = name.into();
                }
            }
        } else if self.open.len() < MAX_SOCKETS {
            self.next_id += 1;
            let entry = Entry::new(self.next_id, pass, record, name, self.tick_ns);
            self.open.insert(key, entry);
            self.opened_now.push((record.tgid, record.fd));
        } else {
            self.untracked_now += 1;
        }
    }

    /// What the pass did not show has been closed.
    fn close(&mut self) {
        let pass = self.counts.samples;
        let gone = self.open.extract_if(|_, entry| entry.pass != pass);
        let opened: HashSet<_> = self.opened_now.iter().collect();
        for ((pid, fd, _), entry) in gone {
            self.counts.closed += 1;
            self.counts.reused += u64::from(opened.contains(&(pid, fd)));
            if self.closed.len() < MAX_CLOSED {
                self.closed.push(entry);
            } else {
                self.closed_dropped += 1;
                if entry.in_timeline {
                    self.gone.push(entry.id);
                }
            }
        }
    }

    /// Sockets that have something to send and did not send for a moment.
    pub(super) fn stuck_senders(&self) -> Vec<Socket> {
        let stuck = self.open.values().filter(|entry| {
            let sent = entry.last.flags & SOCKET_LAST_SEND != 0;
            let ticks = u64::from(entry.last.last_send_jiffies);
            let since = Duration::from_nanos(ticks.saturating_mul(self.tick_ns));
            entry.last.send_queue > 0 && !(sent && since < STUCK)
        });
        stuck
            .map(|entry| entry.model(true, 0, self.tick_ns))
            .collect()
    }

    /// Ends a window of the timeline, once a beat: the sockets in whose queues something was meanwhile.
    /// Those that are not named were empty in every sample.
    pub(super) fn window(&mut self) -> Vec<SocketWindow> {
        let windows = self.open.values_mut().filter_map(|entry| {
            let [receive_last, receive_max, send_last, send_max] = entry.end_window();
            let any = receive_max > 0 || send_max > 0;
            entry.in_timeline |= any;
            any.then_some(SocketWindow {
                id: entry.id,
                receive_last,
                receive_max,
                send_last,
                send_max,
            })
        });
        windows.collect()
    }

    /// Sockets that a window named, and that were closed and not kept since this was asked last.
    pub(super) fn gone(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.gone)
    }

    /// Counts so far.
    pub(super) fn counts(&self) -> SocketCounts {
        self.counts
    }

    /// Every socket as plain data, by process, descriptor and age; `start_ns` is the beginning of the
    /// capture.
    pub(super) fn sockets(&self, start_ns: u64) -> Vec<Socket> {
        let open = self.open.values().map(|entry| (entry, true));
        let closed = self.closed.iter().map(|entry| (entry, false));
        let mut sockets: Vec<_> = open
            .chain(closed)
            .map(|(entry, open)| entry.model(open, start_ns, self.tick_ns))
            .collect();
        sockets.sort_by_key(|socket| (socket.pid, socket.fd, socket.id));
        sockets
    }
}

#[cfg(test)]
mod tests;
