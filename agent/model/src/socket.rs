//! Sockets of the target processes: what waits in their queues, since when, and who is at the other end.

use super::SocketState;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, time::Duration};

/// Address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Family {
    /// `AF_UNIX`.
    Unix,
    /// `AF_INET`.
    Ipv4,
    /// `AF_INET6`; IPv4 connections through it among them.
    Ipv6,
    /// `AF_NETLINK`.
    Netlink,
    /// `AF_VSOCK`.
    Vsock,
    /// Another, by number.
    Other(u32),
}

impl Family {
    /// From the kernel's number.
    pub const fn of(number: u32) -> Self {
        match number {
            1 => Self::Unix,
            2 => Self::Ipv4,
            10 => Self::Ipv6,
            16 => Self::Netlink,
            40 => Self::Vsock,
            other => Self::Other(other),
        }
    }

    /// Its name, as `ip` and `ss` have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Ipv4 => "inet",
            Self::Ipv6 => "inet6",
            Self::Netlink => "netlink",
            Self::Vsock => "vsock",
            Self::Other(number) => other_family(number),
        }
    }
}

/// `AF_*` of `include/linux/socket.h`, those that a program may well have.
const fn other_family(number: u32) -> &'static str {
    match number {
        17 => "packet",
        38 => "alg",
        43 => "smc",
        44 => "xdp",
        31 => "bluetooth",
        29 => "can",
        30 => "tipc",
        15 => "key",
        _ => "other",
    }
}

/// What a socket carries: name of its protocol, or of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Kind {
    /// `SOCK_*`.
    pub number: u32,
    /// `IPPROTO_*`, or the family's own.
    pub protocol: u32,
}

impl Kind {
    /// `stream`, `dgram`, `seqpacket`, `raw`…
    pub const fn name(self) -> &'static str {
        match self.number {
            1 => "stream",
            2 => "dgram",
            3 => "raw",
            4 => "rdm",
            5 => "seqpacket",
            6 => "dccp",
            10 => "packet",
            _ => "other",
        }
    }

    /// `tcp`, `udp`, `unix`…: how people call such a socket.
    pub const fn protocol_name(self, family: Family) -> &'static str {
        match (family, self.number, self.protocol) {
            (Family::Ipv4 | Family::Ipv6, 1, 6) => "tcp",
            (Family::Ipv4 | Family::Ipv6, 2, 17) => "udp",
            (Family::Ipv4 | Family::Ipv6, 2, 136) => "udplite",
            (Family::Ipv4 | Family::Ipv6, 2 | 3, 1 | 58) => "icmp",
            (Family::Ipv4 | Family::Ipv6, _, 132) => "sctp",
            (Family::Ipv4 | Family::Ipv6, _, 262) => "mptcp",
            (Family::Ipv4 | Family::Ipv6, 3, _) => "raw",
            (family, ..) => family.name(),
        }
    }
}

/// Where a socket is, or its peer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Address {
    /// IP; an IPv4 address that is mapped into IPv6 is shown as IPv4.
    Inet(SocketAddr),
    /// Path or, with `@` in front, abstract name; safe to print.
    Unix(String),
    /// Context and port.
    Vsock(u32, u32),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => write!(out, "{address}"),
            Self::Unix(name) => out.write_str(name),
            Self::Vsock(u32::MAX, port) => write!(out, "*:{port}"),
            Self::Vsock(context, port) => write!(out, "{context}:{port}"),
        }
    }
}

/// A queue over the samples of a capture, in bytes (of a listening socket: connections).
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Depth {
    /// In the first sample.
    pub first: u32,
    /// In the last one.
    pub last: u32,
    /// The smallest.
    pub min: u32,
    /// The largest.
    pub max: u32,
    /// Mean of the samples.
    pub mean: f64,
}

impl Depth {
    /// By how much it grew from the first sample to the last.
    pub const fn growth(&self) -> i64 {
        self.last as i64 - self.first as i64
    }
}

/// How long what stands first in a receive queue has been there, at the end of the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Unread {
    /// At least so long.
    pub min: Duration,
    /// At most so long; `None` when it may have been there before the capture.
    pub max: Option<Duration>,
    /// The lower bound rests on the queue's first message having been the same in several samples, as
    /// far as its address tells.
    pub inferred: bool,
}

/// What TCP counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Tcp {
    /// Payload received since the connection began.
    pub bytes_received: u64,
    /// Sent, with what was sent again.
    pub bytes_sent: u64,
    /// Acknowledged by the peer.
    pub bytes_acked: u64,
    /// Received in this capture.
    pub received_in_capture: u64,
    /// Sent in this capture, with what was sent again.
    pub sent_in_capture: u64,
    /// Segments sent again since the connection began, modulo 2³².
    pub retransmits: u32,
    /// In this capture.
    pub retransmits_in_capture: u64,
    /// Bytes sent again since the connection began.
    pub bytes_retransmitted: u64,
    /// Window that the peer offers.
    pub peer_window: u32,
    /// The peer takes no more, and there is more to send.
    pub zero_window: bool,
    /// Unanswered probes of such a window.
    pub probes: u32,
    /// Since data came last; before that, since the connection began.
    pub last_receive: Option<Duration>,
    /// Since data was sent last, probes and what is sent again included; before that, since the connection
    /// began.
    pub last_send: Option<Duration>,
    /// Since the peer acknowledged something last, be it the same again; before that, since the connection
    /// began.
    pub last_ack: Option<Duration>,
    /// Segments with data that came since the connection began, modulo 2³².
    pub segments_in: u32,
    /// Segments with data that were sent since then, modulo 2³².
    pub segments_out: u32,
    /// Segments with data that came in this capture.
    pub segments_in_capture: u64,
    /// Samples of this capture that saw new ones.
    #[serde(default)]
    pub samples_with_data: u32,
    /// The longest silence that such a sample found to have ended, as far as samples show it: a lower bound.
    #[serde(default)]
    pub longest_pause: Duration,
    /// Size of the peer's segments, as the kernel guesses it, in bytes.
    pub segment_bytes: u32,
    /// At least so long no byte was received, sent or acknowledged.
    pub silence: Duration,
}

/// Connections that wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Backlog {
    /// At the last sample.
    pub now: u32,
    /// The most of all samples.
    pub max: u32,
    /// How many may.
    pub limit: u32,
}

/// An event loop that watches a socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Watch {
    /// Process whose descriptor the epoll instance is.
    pub pid: u32,
    /// The epoll instance.
    pub epoll_fd: u32,
    /// Threads that were seen waiting on it; empty: none was.
    pub tids: Vec<u32>,
    /// `EPOLL*` bits that it asked for.
    pub events: u32,
}

/// `EPOLLWAKEUP`, `EPOLLONESHOT`, `EPOLLET` and `EPOLLEXCLUSIVE` (`EP_PRIVATE_BITS` of fs/eventpoll.c):
/// what stays of an interest that is not armed.
const PRIVATE_BITS: u32 = 1 << 29 | 1 << 30 | 1 << 31 | 1 << 28;

impl Watch {
    /// Names of the events, as in `epoll_ctl(2)` without `EPOLL`.
    pub fn event_names(&self) -> Vec<&'static str> {
        const NAMES: [(u32, &str); 10] = [
            (0x1, "IN"),
            (0x2, "PRI"),
            (0x4, "OUT"),
            (0x8, "ERR"),
            (0x10, "HUP"),
            (0x2000, "RDHUP"),
            (1 << 28, "EXCLUSIVE"),
            (1 << 29, "WAKEUP"),
            (1 << 30, "ONESHOT"),
            (1 << 31, "ET"),
        ];
        let named = NAMES.iter().filter(|(bit, _)| self.events & bit != 0);
        named.map(|(_, name)| *name).collect()
    }

    /// Whether it reports anything: a one-shot interest that has fired does not.
    pub const fn armed(&self) -> bool {
        self.events & !PRIVATE_BITS != 0
    }

    /// Whether it reports that there is something to read.
    pub const fn reads(&self) -> bool {
        self.armed() && self.events & 1 != 0
    }
}

/// The process at the other end, on this host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PeerProcess {
    /// Its id; of several that hold the socket the first.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The peer's descriptor there; for a connection that is not accepted, the listening one.
    pub fd: u32,
    /// Inode number of the peer.
    pub inode: u64,
    /// Descriptors that hold the peer, in all processes.
    pub holders: u32,
    /// The processes of these, 16 at the most.
    pub held_by: Vec<u32>,
    /// `false`: the connection waits in that process's backlog.
    pub accepted: bool,
    /// It was told by addresses that are equal in two network namespaces.
    pub inferred: bool,
    /// Bytes that it has not read, at the end.
    pub unread: u32,
    /// Whether it read something between the beginning of the capture and its end; `None`: it was looked at
    /// once.
    pub reads: Option<bool>,
}

/// What waits for longer than this is worth a word.
const STALE: Duration = Duration::from_millis(50);

/// One descriptor of a socket in a target process.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Socket {
    /// Unique in the capture.
    pub id: u32,
    /// Process.
    pub pid: u32,
    /// Descriptor.
    pub fd: u32,
    /// Inode number: equal for all descriptors of one socket.
    pub inode: u64,
    /// Inode number of its network namespace.
    pub namespace: u32,
    /// Family.
    pub family: Family,
    /// Kind and protocol.
    pub kind: Kind,
    /// Its state.
    pub state: SocketState,
    /// Its own address.
    pub local: Option<Address>,
    /// Its peer's.
    pub peer: Option<Address>,
    /// Unix: inode number of its peer.
    pub peer_inode: Option<u64>,
    /// It was there in the last sample.
    pub open: bool,
    /// When it was first seen, since the beginning of the capture.
    pub first_seen: Duration,
    /// When it was last seen.
    pub last_seen: Duration,
    /// Samples of it.
    pub samples: u64,
    /// Unread: what `ss` calls Recv-Q.
    pub receive: Depth,
    /// The last figure of it is a lower bound.
    pub receive_is_lower_bound: bool,
    /// Messages unread.
    pub receive_messages: u32,
    /// Not acknowledged (TCP), or not yet taken by the receiver: what `ss` calls Send-Q.
    pub send: Depth,
    /// Limit of the receive buffer, in bytes of kernel memory.
    pub receive_limit: u32,
    /// Limit of the send buffer.
    pub send_limit: u32,
    /// Of a listening socket.
    pub backlog: Option<Backlog>,
    /// Of TCP.
    pub tcp: Option<Tcp>,
    /// Messages dropped on arrival since the socket was made, modulo 2³².
    pub drops: u32,
    /// In this capture.
    pub drops_in_capture: u64,
    /// Pending error, a positive errno; 0 = none.
    pub error: u32,
    /// No more is received.
    pub receive_shut: bool,
    /// No more is sent.
    pub send_shut: bool,
    /// How long there has been something unread; `None`: nothing is.
    pub oldest_unread: Option<Unread>,
    /// At least so long nothing was read or accepted, as samples tell: it begins with the first.
    pub not_read_for: Duration,
    /// At least so long the peer took and acknowledged nothing, as samples tell.
    pub not_taken_for: Duration,
    /// Event loops that watch it.
    pub watched_by: Vec<Watch>,
    /// Who is at the other end.
    pub peer_process: Option<PeerProcess>,
}

impl Socket {
    /// How it is called: `tcp`, `udp`, `unix`…
    pub const fn protocol_name(&self) -> &'static str {
        self.kind.protocol_name(self.family)
    }

    /// Bytes that are unread at the end. Once the peer has closed, its FIN counts as one more in Recv-Q.
    pub const fn unread_bytes(&self) -> u32 {
        use SocketState::{CloseWait, Closing, LastAck, TimeWait};
        let fin =
            self.tcp.is_some() && matches!(self.state, CloseWait | LastAck | Closing | TimeWait);
        self.receive.last.saturating_sub(fin as u32)
    }

    /// Time between its first sample and its last.
    pub const fn seen_for(&self) -> Duration {
        self.last_seen.saturating_sub(self.first_seen)
    }

    /// Whether it is a connection to another host: over IP, and neither to this host's addresses nor to a
    /// process of it.
    pub fn is_external(&self) -> bool {
        let (Some(Address::Inet(local)), Some(Address::Inet(peer))) = (&self.local, &self.peer)
        else {
            return false;
        };
        let ours = peer.ip().is_loopback() || peer.ip() == local.ip();
        self.open && self.peer_process.is_none() && !ours
    }

    /// Whether there is something to say of it: bytes that wait, losses, a peer that has gone. What is
    /// under way at the last sample is nothing yet.
    pub fn is_notable(&self) -> bool {
        let tcp = self.tcp.unwrap_or_default();
        let sending = self.send.last > 0 && self.backlog.is_none();
        self.oldest_unread.is_some_and(|unread| unread.min >= STALE)
            || (sending && (tcp.silence >= STALE || self.send.min > 0))
            || self.drops_in_capture > 0
            || tcp.retransmits_in_capture > 0
            || tcp.zero_window
            || (self.open && self.state == SocketState::CloseWait)
            || self.error != 0
    }
}

/// What became of the sockets of a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct SocketCounts {
    /// Samples of all of them that were taken.
    pub samples: u64,
    /// Time that they took, all together.
    pub sampling: Duration,
    /// Time that the longest sample took.
    pub longest_sample: Duration,
    /// That were there at the first sample.
    pub at_start: u64,
    /// That came later.
    pub opened: u64,
    /// That went.
    pub closed: u64,
    /// Descriptors that were another socket in the next sample; each counts as closed and as opened.
    pub reused: u64,
}
