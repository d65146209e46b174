//! One descriptor over its samples.

use super::age::{Arrivals, Head};
use remora_common::socket::{
    AF_INET, AF_INET6, AF_UNIX, AF_VSOCK, SOCK_DGRAM, SOCKET_LAST_RECEIVE, SOCKET_LAST_SEND,
    SOCKET_NAME_OF_PEER, SOCKET_RECEIVE_CUT, SOCKET_TCP, STATE_LISTEN, SocketRecord,
};
use remora_model::{Address, Backlog, Depth, Family, Kind, Socket, SocketState, Tcp, Unread};
use remora_process::escape;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// States in which the peer's FIN has come: `TCP_TIME_WAIT`, `TCP_CLOSE_WAIT`, `TCP_LAST_ACK`,
/// `TCP_CLOSING`.
const FIN_CAME: [u32; 4] = [6, 8, 9, 11];
/// `TCP_CLOSE`: after a FIN; after a reset there is an error.
const CLOSED: u32 = 7;

/// A queue's samples, summed up.
#[derive(Clone, Copy, Debug, Default)]
struct Depths {
    first: u32,
    min: u32,
    max: u32,
    sum: u64,
    /// The largest of the present window.
    window: u32,
}

impl Depths {
    const fn new(first: u32) -> Self {
        Self {
            first,
            min: first,
            max: first,
            sum: 0,
            window: first,
        }
    }

    fn add(&mut self, bytes: u32) {
        self.min = self.min.min(bytes);
        self.max = self.max.max(bytes);
        self.window = self.window.max(bytes);
        self.sum += u64::from(bytes);
    }

    fn depth(&self, last: u32, samples: u64) -> Depth {
        Depth {
            first: self.first,
            last,
            min: self.min,
            max: self.max,
            mean: self.sum as f64 / samples.max(1) as f64,
        }
    }
}

/// A tracked descriptor.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub id: u32,
    /// The pass that saw it last.
    pub pass: u64,
    /// A window of the timeline names it.
    pub in_timeline: bool,
    pub last: SocketRecord,
    /// Unix: its name, or its peer's (see the record's flags).
    pub name: Box<[u8]>,
    first_ns: u64,
    first_received: u64,
    first_sent: u64,
    samples: u64,
    receive: Depths,
    send: Depths,
    backlog_max: u32,
    drops: u64,
    retransmits: u64,
    arrivals: Arrivals,
    head: Head,
    /// Since when no byte was sent or acknowledged, as far as samples tell.
    send_quiet_ns: u64,
    /// Since when nothing was read, and nothing taken by the peer.
    read_quiet_ns: u64,
    taken_quiet_ns: u64,
    segments_in: u64,
    /// Samples that saw new segments, and the longest silence that a sample saw and that ended later.
    arrived: u32,
    longest_pause_ns: u64,
}

impl Entry {
    pub(super) fn new(
        id: u32,
        pass: u64,
        record: &SocketRecord,
        name: &[u8],
        tick_ns: u64,
    ) -> Self {
        let mut entry = Self {
            id,
            pass,
            in_timeline: false,
            last: *record,
            name: name.into(),
            first_ns: record.at_ns,
            first_received: record.bytes_received,
            first_sent: record.bytes_sent,
            samples: 0,
            receive: Depths::new(record.receive_queue),
            send: Depths::new(record.send_queue),
            backlog_max: 0,
            drops: 0,
            retransmits: 0,
            arrivals: Arrivals::default(),
            head: Head::default(),
            send_quiet_ns: record.at_ns,
            read_quiet_ns: record.at_ns,
            taken_quiet_ns: record.at_ns,
            segments_in: 0,
            arrived: 0,
            longest_pause_ns: 0,
        };
        entry.sample(pass, record, tick_ns);
        entry
    }

    /// Takes in a sample of the same descriptor and inode.
    pub(super) fn sample(&mut self, pass: u64, record: &SocketRecord, tick_ns: u64) {
        let before = std::mem::replace(&mut self.last, *record);
        self.pass = pass;
        self.samples += 1;
        self.receive.add(record.receive_queue);
        self.send.add(record.send_queue);
        self.backlog_max = self.backlog_max.max(record.backlog);
        self.drops += grown(before.drops, record.drops);
        self.retransmits += grown(before.retransmits, record.retransmits);
        let segments = grown(before.data_segments_in, record.data_segments_in);
        if segments > 0 {
            self.segments_in += segments;
            self.arrived += 1;
            let pause = u64::from(before.last_receive_jiffies).saturating_mul(tick_ns);
            let known = before.flags & SOCKET_LAST_RECEIVE != 0;
            self.longest_pause_ns = self.longest_pause_ns.max(if known { pause } else { 0 });
        }
        if was_read(&before, record) {
            self.read_quiet_ns = record.at_ns;
        }
        if was_taken(&before, record) {
            self.taken_quiet_ns = record.at_ns;
        }
        if record.bytes_received < before.bytes_received || record.bytes_sent < before.bytes_sent {
            // The socket was connected anew.
            (self.first_received, self.first_sent) = (0, 0);
        }
        if (record.bytes_sent, record.bytes_acked) != (before.bytes_sent, before.bytes_acked) {
            self.send_quiet_ns = record.at_ns;
        }
        if is_stream(record) {
            let ticks = u64::from(record.last_receive_jiffies);
            let came = match record.flags & SOCKET_LAST_RECEIVE {
                0 => record.at_ns,
                _ => {
                    let least = ticks.saturating_sub(1).saturating_mul(tick_ns);
                    record.at_ns.saturating_sub(least)
                }
            };
            self.arrivals
                .sample(record.at_ns, record.bytes_received, taken(record), came);
        } else {
            self.head.sample(record.at_ns, record.head);
        }
    }

    /// Ends a window of the timeline: last and largest depth in it, received and sent.
    pub(super) fn end_window(&mut self) -> [u32; 4] {
        let window = [
            self.last.receive_queue,
            self.receive.window,
            self.last.send_queue,
            self.send.window,
        ];
        self.receive.window = self.last.receive_queue;
        self.send.window = self.last.send_queue;
        window
    }

    /// How long there has been something unread at `now_ns`.
    fn oldest_unread(&self, now_ns: u64, tick_ns: u64) -> Option<Unread> {
        if !is_stream(&self.last) {
            return self.oldest_message(now_ns, tick_ns);
        }
        (unread(&self.last) > 0)
            .then(|| self.arrivals.age(now_ns, taken(&self.last)))
            .flatten()
    }

    /// How long the first message has been there. The first connection of a backlog knows when it was made.
    fn oldest_message(&self, now_ns: u64, tick_ns: u64) -> Option<Unread> {
        let mut age = self.head.age(now_ns)?;
        if self.last.state == STATE_LISTEN && self.last.flags & SOCKET_LAST_RECEIVE != 0 {
            let ticks = u64::from(self.last.last_receive_jiffies).saturating_sub(1);
            let made = Duration::from_nanos(ticks.saturating_mul(tick_ns));
            if made >= age.min {
                (age.min, age.inferred) = (made, false);
                age.max = age.max.map(|max| max.max(made));
            }
        }
        Some(age)
    }

    /// As plain data; `start_ns` is the beginning of the capture.
    pub(super) fn model(&self, open: bool, start_ns: u64, tick_ns: u64) -> Socket {
        let last = &self.last;
        let family = Family::of(last.family);
        let connectionless = last.kind == SOCK_DGRAM;
        let listens = last.state == STATE_LISTEN;
        let at = |ns: u64| Duration::from_nanos(ns.saturating_sub(start_ns));
        Socket {
            id: self.id,
            pid: last.tgid,
            fd: last.fd,
            inode: last.inode,
            namespace: last.namespace,
            family,
            kind: Kind {
                number: last.kind,
                protocol: last.protocol,
            },
            state: SocketState::of(last.state, connectionless),
            local: self.local(),
            peer: self.peer(),
            peer_inode: (last.peer_inode != 0).then_some(last.peer_inode),
            open,
            first_seen: at(self.first_ns),
            last_seen: at(last.at_ns),
            samples: self.samples,
            receive: self.receive.depth(last.receive_queue, self.samples),
            receive_is_lower_bound: last.flags & SOCKET_RECEIVE_CUT != 0,
            receive_messages: last.receive_messages,
            send: self.send.depth(last.send_queue, self.samples),
            receive_limit: last.receive_limit,
            send_limit: last.send_limit,
            backlog: listens.then_some(Backlog {
                now: last.backlog,
                max: self.backlog_max,
                limit: last.backlog_limit,
            }),
            tcp: is_stream(last).then(|| self.tcp(tick_ns)),
            drops: last.drops,
            drops_in_capture: self.drops,
            error: last.error,
            receive_shut: last.shutdown & 1 != 0,
            send_shut: last.shutdown & 2 != 0,
            oldest_unread: self.oldest_unread(last.at_ns, tick_ns),
            not_read_for: Duration::from_nanos(last.at_ns.saturating_sub(self.read_quiet_ns)),
            not_taken_for: Duration::from_nanos(last.at_ns.saturating_sub(self.taken_quiet_ns)),
            watched_by: Vec::new(),
            peer_process: None,
        }
    }

    fn tcp(&self, tick_ns: u64) -> Tcp {
        let last = &self.last;
        let fin = u64::from(fin_counted(last));
        let quiet_ns = self.send_quiet_ns.max(self.arrivals.last_ns().unwrap_or(0));
        let quiet_ns = quiet_ns.max(self.first_ns);
        let ticks = |flag, ticks: u32| {
            let time = Duration::from_nanos(tick_ns.saturating_mul(ticks.into()));
            (last.flags & flag != 0).then_some(time)
        };
        Tcp {
            bytes_received: last.bytes_received.saturating_sub(fin),
            bytes_sent: last.bytes_sent,
            bytes_acked: last.bytes_acked,
            received_in_capture: last
                .bytes_received
                .saturating_sub(fin)
                .saturating_sub(self.first_received),
            sent_in_capture: last.bytes_sent.saturating_sub(self.first_sent),
            retransmits: last.retransmits,
            retransmits_in_capture: self.retransmits,
            bytes_retransmitted: last.bytes_retransmitted,
            peer_window: last.peer_window,
            zero_window: last.peer_window == 0 && last.send_queue > 0 && has_window(last.state),
            probes: last.probes,
            last_receive: ticks(SOCKET_LAST_RECEIVE, last.last_receive_jiffies),
            last_send: ticks(SOCKET_LAST_SEND, last.last_send_jiffies),
            last_ack: ticks(SOCKET_LAST_SEND, last.last_ack_jiffies),
            segments_in: last.data_segments_in,
            segments_out: last.data_segments_out,
            segments_in_capture: self.segments_in,
            samples_with_data: self.arrived,
            longest_pause: Duration::from_nanos(self.longest_pause_ns),
            segment_bytes: last.segment_bytes,
            silence: Duration::from_nanos(last.at_ns.saturating_sub(quiet_ns)),
        }
    }

    pub(super) fn local(&self) -> Option<Address> {
        match self.last.flags & SOCKET_NAME_OF_PEER {
            0 => address(&self.last, &self.name, false),
            _ => address(&self.last, &[], false),
        }
    }

    pub(super) fn peer(&self) -> Option<Address> {
        match self.last.flags & SOCKET_NAME_OF_PEER {
            0 => address(&self.last, &[], true),
            _ => address(&self.last, &self.name, true),
        }
    }
}

/// Growth of a counter of 32 bits that wraps. One that seems to have wrapped backwards began anew.
fn grown(before: u32, now: u32) -> u64 {
    let grown = now.wrapping_sub(before);
    u64::from(if grown > i32::MAX as u32 { now } else { grown })
}

/// Whether something was read, or accepted, between two samples: of a stream of TCP every byte tells, of
/// messages the first one or a shorter queue.
pub(super) fn was_read(before: &SocketRecord, now: &SocketRecord) -> bool {
    if is_stream(now) {
        return taken(before) != taken(now);
    }
    let head = (before.head, before.head_consumed);
    let gone = before.head != 0 && head != (now.head, now.head_consumed);
    gone || now.receive_queue < before.receive_queue || now.backlog < before.backlog
}

/// Whether the peer took or acknowledged something between two samples.
fn was_taken(before: &SocketRecord, now: &SocketRecord) -> bool {
    if is_stream(now) {
        return before.bytes_acked != now.bytes_acked || now.send_queue < before.send_queue;
    }
    now.send_queue < before.send_queue
}

/// Whether it is a connection of TCP, with positions in its stream.
const fn is_stream(record: &SocketRecord) -> bool {
    record.flags & SOCKET_TCP != 0 && record.state != STATE_LISTEN
}

/// A window of zero before the handshake (`TCP_SYN_SENT`) and after the end (`TCP_CLOSE`) says nothing.
const fn has_window(state: u32) -> bool {
    !matches!(state, 2 | 3 | 7)
}

/// The FIN of the peer counts as a byte, in the queue and in what was received, until it is read.
fn fin_counted(record: &SocketRecord) -> bool {
    let came = match record.state {
        CLOSED => record.error == 0,
        state => FIN_CAME.contains(&state),
    };
    is_stream(record) && came && record.bytes_received > 0
}

/// Payload that was not read yet.
fn unread(record: &SocketRecord) -> u32 {
    let fin = u32::from(fin_counted(record));
    record.receive_queue.saturating_sub(fin)
}

/// How much of the stream was read, in bytes received.
fn taken(record: &SocketRecord) -> u64 {
    record
        .bytes_received
        .saturating_sub(record.receive_queue.into())
}

/// The IP addresses of a record, its own and its peer's; IPv4 in IPv6 comes as IPv4.
pub(super) fn inet(record: &SocketRecord) -> Option<(SocketAddr, SocketAddr)> {
    let ip = |bytes: &[u8; 16]| match record.family {
        AF_INET => Some(IpAddr::V4(Ipv4Addr::from(*bytes.first_chunk::<4>()?))),
        AF_INET6 => Some(IpAddr::V6(Ipv6Addr::from(*bytes)).to_canonical()),
        _ => None,
    };
    let port = |port: u32| u16::try_from(port).ok();
    Some((
        SocketAddr::new(ip(&record.local)?, port(record.local_port)?),
        SocketAddr::new(ip(&record.peer)?, port(record.peer_port)?),
    ))
}

fn address(record: &SocketRecord, name: &[u8], peer: bool) -> Option<Address> {
    match record.family {
        AF_INET | AF_INET6 => {
            let (local, remote) = inet(record)?;
            let wanted = if peer { remote } else { local };
            (!peer || wanted.port() != 0 || !wanted.ip().is_unspecified())
                .then_some(Address::Inet(wanted))
        }
        AF_UNIX => unix_name(name).map(Address::Unix),
        AF_VSOCK => {
            let (context, port) = match peer {
                false => (&record.local, record.local_port),
                true => (&record.peer, record.peer_port),
            };
            let context = u32::from_ne_bytes(*context.first_chunk::<4>()?);
            Some(Address::Vsock(context, port))
        }
        _ => None,
    }
}

/// The name of a unix socket as `ss` shows it; `None` when it has none.
pub(super) fn unix_name(name: &[u8]) -> Option<String> {
    match name.split_first()? {
        (0, abstract_name) => Some(format!("@{}", escape(abstract_name))),
        _ => {
            let end = name.iter().position(|byte| *byte == 0);
            Some(escape(name.get(..end.unwrap_or(name.len()))?))
        }
    }
}

#[cfg(test)]
mod tests;
