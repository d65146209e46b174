//! The `sockets` of `report.json`: for each descriptor its queues, how long they wait, who watches it and
//! who is at the other end.

use remora_model::{self as model, Capture, PeerProcess, Watch};
use serde::Serialize;

/// A descriptor of a socket.
#[derive(Serialize)]
pub(super) struct Socket<'a> {
    id: u32,
    pid: u32,
    fd: u32,
    inode: u64,
    /// Inode number of the network namespace.
    netns_inode: u32,
    family: &'static str,
    protocol: &'static str,
    kind: &'static str,
    state: &'static str,
    local: Option<String>,
    peer: Option<String>,
    open: bool,
    first_seen_s: f64,
    last_seen_s: f64,
    samples: u64,
    /// `null` for a listening socket.
    receive_queue: Option<Queue>,
    /// The last figure counts some messages only.
    receive_queue_is_lower_bound: bool,
    receive_queue_messages: u32,
    receive_buffer_limit_bytes: u32,
    /// `null` for a listening socket.
    send_queue: Option<Queue>,
    send_buffer_limit_bytes: u32,
    accept_backlog: Option<u32>,
    accept_backlog_max: Option<u32>,
    accept_backlog_limit: Option<u32>,
    /// Of a listening socket: of the connection that waits longest. `null`: nothing waits.
    oldest_unread_min_s: Option<f64>,
    /// `null`: it may have been there before the capture.
    oldest_unread_max_s: Option<f64>,
    oldest_unread_inferred: bool,
    not_read_for_s: f64,
    not_taken_for_s: f64,
    tcp: Option<Tcp>,
    drops: u32,
    drops_in_capture: u64,
    error: u32,
    receive_shut: bool,
    send_shut: bool,
    watched_by: Vec<WatchedBy<'a>>,
    peer_inode: Option<u64>,
    peer_process: Option<Peer<'a>>,
}

/// A queue over the samples.
#[derive(Serialize)]
struct Queue {
    bytes: u32,
    min_bytes: u32,
    mean_bytes: f64,
    max_bytes: u32,
    growth_bytes: i64,
}

/// What TCP counts.
#[derive(Serialize)]
struct Tcp {
    bytes_received: u64,
    bytes_sent: u64,
    bytes_acked: u64,
    received_in_capture_bytes: u64,
    sent_in_capture_bytes: u64,
    /// While it was watched; `null` for one that was seen once.
    received_bytes_per_s: Option<f64>,
    sent_bytes_per_s: Option<f64>,
    retransmits: u32,
    retransmits_in_capture: u64,
    retransmitted_bytes: u64,
    peer_window_bytes: u32,
    zero_window: bool,
    probes: u32,
    last_receive_s: Option<f64>,
    last_send_s: Option<f64>,
    last_ack_s: Option<f64>,
    data_segments_in: u32,
    data_segments_out: u32,
    data_segments_in_capture: u64,
    segment_bytes: u32,
    silence_s: f64,
}

/// An event loop.
#[derive(Serialize)]
struct WatchedBy<'a> {
    pid: u32,
    epoll_fd: u32,
    /// Threads that were seen waiting on it.
    tids: &'a [u32],
    events: Vec<&'static str>,
    armed: bool,
}

/// The process at the other end.
#[derive(Serialize)]
struct Peer<'a> {
    pid: u32,
    comm: &'a str,
    fd: u32,
    inode: u64,
    holders: u32,
    accepted: bool,
    inferred: bool,
    unread_bytes: u32,
    reads: Option<bool>,
}

/// How many sockets came and went.
#[derive(Serialize)]
pub(super) struct Counts {
    samples: u64,
    sampling_s: f64,
    longest_sample_s: f64,
    at_start: u64,
    opened: u64,
    closed: u64,
    reused: u64,
}

/// What became of them in the capture.
pub(super) fn counts(capture: &Capture) -> Counts {
    let counts = capture.socket_counts;
    Counts {
        samples: counts.samples,
        sampling_s: counts.sampling.as_secs_f64(),
        longest_sample_s: counts.longest_sample.as_secs_f64(),
        at_start: counts.at_start,
        opened: counts.opened,
        closed: counts.closed,
        reused: counts.reused,
    }
}

/// All sockets, in the order of the capture.
pub(super) fn sockets(capture: &Capture) -> Vec<Socket<'_>> {
    capture.sockets.iter().map(socket).collect()
}

fn socket(socket: &model::Socket) -> Socket<'_> {
    let unread = socket.oldest_unread;
    let bytes = socket.backlog.is_none();
    Socket {
        id: socket.id,
        pid: socket.pid,
        fd: socket.fd,
        inode: socket.inode,
        netns_inode: socket.namespace,
        family: socket.family.name(),
        protocol: socket.protocol_name(),
        kind: socket.kind.name(),
        state: socket.state.name(),
        local: socket.local.as_ref().map(ToString::to_string),
        peer: socket.peer.as_ref().map(ToString::to_string),
        open: socket.open,
        first_seen_s: socket.first_seen.as_secs_f64(),
        last_seen_s: socket.last_seen.as_secs_f64(),
        samples: socket.samples,
        receive_queue: bytes.then(|| queue(&socket.receive)),
        receive_queue_is_lower_bound: socket.receive_is_lower_bound,
        receive_queue_messages: socket.receive_messages,
        receive_buffer_limit_bytes: socket.receive_limit,
        send_queue: bytes.then(|| queue(&socket.send)),
        send_buffer_limit_bytes: socket.send_limit,
        accept_backlog: socket.backlog.map(|backlog| backlog.now),
        accept_backlog_max: socket.backlog.map(|backlog| backlog.max),
        accept_backlog_limit: socket.backlog.map(|backlog| backlog.limit),
        oldest_unread_min_s: unread.map(|unread| unread.min.as_secs_f64()),
        oldest_unread_max_s: unread.and_then(|unread| Some(unread.max?.as_secs_f64())),
        oldest_unread_inferred: unread.is_some_and(|unread| unread.inferred),
        not_read_for_s: socket.not_read_for.as_secs_f64(),
        not_taken_for_s: socket.not_taken_for.as_secs_f64(),
        tcp: socket.tcp.map(|tcp| tcp_of(&tcp, socket)),
        drops: socket.drops,
        drops_in_capture: socket.drops_in_capture,
        error: socket.error,
        receive_shut: socket.receive_shut,
        send_shut: socket.send_shut,
        watched_by: socket.watched_by.iter().map(watch).collect(),
        peer_inode: socket.peer_inode,
        peer_process: socket.peer_process.as_ref().map(peer),
    }
}

fn queue(depth: &model::Depth) -> Queue {
    Queue {
        bytes: depth.last,
        min_bytes: depth.min,
        mean_bytes: depth.mean,
        max_bytes: depth.max,
        growth_bytes: depth.growth(),
    }
}

fn tcp_of(tcp: &model::Tcp, socket: &model::Socket) -> Tcp {
    let seconds = socket.seen_for().as_secs_f64();
    let rate = |bytes: u64| (seconds > 0.0).then(|| bytes as f64 / seconds);
    Tcp {
        bytes_received: tcp.bytes_received,
        bytes_sent: tcp.bytes_sent,
        bytes_acked: tcp.bytes_acked,
        received_in_capture_bytes: tcp.received_in_capture,
        sent_in_capture_bytes: tcp.sent_in_capture,
        received_bytes_per_s: rate(tcp.received_in_capture),
        sent_bytes_per_s: rate(tcp.sent_in_capture),
        retransmits: tcp.retransmits,
        retransmits_in_capture: tcp.retransmits_in_capture,
        retransmitted_bytes: tcp.bytes_retransmitted,
        peer_window_bytes: tcp.peer_window,
        zero_window: tcp.zero_window,
        probes: tcp.probes,
        last_send_s: tcp.last_send.map(|time| time.as_secs_f64()),
        last_ack_s: tcp.last_ack.map(|time| time.as_secs_f64()),
        data_segments_in: tcp.segments_in,
        data_segments_out: tcp.segments_out,
        data_segments_in_capture: tcp.segments_in_capture,
        segment_bytes: tcp.segment_bytes,
        last_receive_s: tcp.last_receive.map(|time| time.as_secs_f64()),
        silence_s: tcp.silence.as_secs_f64(),
    }
}

fn watch(watch: &Watch) -> WatchedBy<'_> {
    WatchedBy {
        pid: watch.pid,
        epoll_fd: watch.epoll_fd,
        tids: &watch.tids,
        events: watch.event_names(),
        armed: watch.armed(),
    }
}

fn peer(peer: &PeerProcess) -> Peer<'_> {
    Peer {
        pid: peer.pid,
        comm: &peer.comm,
        fd: peer.fd,
        inode: peer.inode,
        holders: peer.holders,
        accepted: peer.accepted,
        inferred: peer.inferred,
        unread_bytes: peer.unread,
        reads: peer.reads,
    }
}
