//! One descriptor's figures, over samples made by hand.

use super::*;
use bytemuck::Zeroable;
use proptest::prelude::*;
use remora_common::socket::{AF_NETLINK, PROTOCOL_TCP, SOCK_STREAM};

const TICK_NS: u64 = 4_000_000;

const fn s(value: u64) -> u64 {
    value * 1_000_000_000
}

/// An established connection.
fn tcp(at_ns: u64) -> SocketRecord {
    SocketRecord {
        at_ns,
        family: AF_INET,
        kind: SOCK_STREAM,
        protocol: PROTOCOL_TCP,
        state: 1,
        flags: SOCKET_TCP,
        peer_window: 65_536,
        ..Zeroable::zeroed()
    }
}

fn model(records: &[SocketRecord]) -> Socket {
    let (first, rest) = records.split_first().expect("one at least");
    let mut entry = Entry::new(1, 1, first, b"", TICK_NS);
    for (pass, record) in (2..).zip(rest) {
        entry.sample(pass, record, TICK_NS);
    }
    entry.model(true, 0, TICK_NS)
}

#[test]
fn a_queue_has_its_least_most_mean_last_and_growth() {
    let depths = [10, 70, 40].map(|receive_queue| SocketRecord {
        receive_queue,
        ..tcp(s(1))
    });
    let depth = model(&depths).receive;
    assert_eq!((depth.min, depth.max, depth.last), (10, 70, 40));
    assert_eq!((depth.mean, depth.growth()), (40.0, 30));
}

#[test]
fn counters_that_wrap_grow_and_those_that_begin_anew_do_too() {
    let counters = |drops, retransmits| SocketRecord {
        drops,
        retransmits,
        ..tcp(s(1))
    };
    let socket = model(&[counters(u32::MAX - 4, 100), counters(5, 3), counters(9, 4)]);
    assert_eq!(socket.drops_in_capture, 14);
    assert_eq!(socket.tcp.unwrap().retransmits_in_capture, 4);
}

#[test]
fn rates_count_what_came_while_it_was_watched() {
    let counters = |at, bytes_received, bytes_sent| SocketRecord {
        bytes_received,
        bytes_sent,
        ..tcp(s(at))
    };
    let socket = model(&[counters(1, 1000, 500), counters(3, 4000, 500)]);
    let tcp = socket.tcp.unwrap();
    assert_eq!((tcp.received_in_capture, tcp.sent_in_capture), (3000, 0));
    assert_eq!(socket.seen_for(), Duration::from_secs(2));
    // Connected to another: what it counts began anew.
    let socket = model(&[counters(1, 1000, 500), counters(3, 40, 20)]);
    assert_eq!(socket.tcp.unwrap().received_in_capture, 40);
}

#[test]
fn the_peers_fin_is_no_unread_byte() {
    let closed = |state, receive_queue, error| SocketRecord {
        state,
        receive_queue,
        error,
        bytes_received: 11,
        ..tcp(s(5))
    };
    let only_fin = model(&[closed(8, 1, 0)]);
    assert_eq!(only_fin.oldest_unread, None);
    assert_eq!(only_fin.receive.last, 1, "as ss shows it");
    assert_eq!(only_fin.tcp.unwrap().bytes_received, 10);
    assert!(only_fin.is_notable(), "the peer has closed");
    assert!(model(&[closed(8, 4, 0)]).oldest_unread.is_some());
    let reset = model(&[closed(7, 1, 104)]);
    assert!(reset.oldest_unread.is_some(), "a reset is no FIN");
}

#[test]
fn the_oldest_unread_byte_has_bounds_from_samples_and_from_the_last_receive() {
    let stream = |at, bytes_received, receive_queue, ticks| SocketRecord {
        bytes_received,
        receive_queue,
        flags: SOCKET_TCP | SOCKET_LAST_RECEIVE,
        last_receive_jiffies: ticks,
        ..tcp(s(at))
    };
    let socket = model(&[
        stream(10, 100, 0, 500),
        stream(11, 140, 40, 101),
        stream(14, 140, 40, 851),
    ]);
    let unread = socket.oldest_unread.unwrap();
    // Received 404 ms (less a tick) before the second sample, and after the first.
    assert_eq!(unread.min, Duration::from_millis(3400));
    assert_eq!(unread.max, Some(Duration::from_secs(4)));
    assert!(!unread.inferred);
    let tcp = socket.tcp.unwrap();
    assert_eq!(tcp.last_receive, Some(Duration::from_millis(3404)));
    assert_eq!(tcp.silence, Duration::from_millis(3400));
}

#[test]
fn a_window_is_closed_only_where_there_is_more_to_send() {
    let window = |peer_window, send_queue, state| SocketRecord {
        peer_window,
        send_queue,
        state,
        ..tcp(s(1))
    };
    let closed = |record| model(&[record]).tcp.unwrap().zero_window;
    assert!(closed(window(0, 5, 1)));
    assert!(!closed(window(0, 0, 1)));
    assert!(!closed(window(9, 5, 1)));
    assert!(!closed(window(0, 1, 2)), "the handshake is not over");
}

#[test]
fn a_listening_socket_has_a_backlog_and_no_stream() {
    let listening = |backlog| SocketRecord {
        state: STATE_LISTEN,
        backlog,
        backlog_limit: 128,
        receive_queue: backlog,
        head: u64::from(backlog),
        local: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        local_port: 6379,
        ..tcp(s(1))
    };
    let socket = model(&[listening(0), listening(9), listening(2)]);
    let backlog = socket.backlog.unwrap();
    assert_eq!((backlog.now, backlog.max, backlog.limit), (2, 9, 128));
    assert_eq!((socket.tcp, socket.state), (None, SocketState::Listen));
    assert_eq!(socket.local.unwrap().to_string(), "127.0.0.1:6379");
    assert_eq!(socket.peer, None, "it has none");
}

#[test]
fn an_ipv4_address_in_ipv6_is_shown_as_ipv4() {
    let mut record = tcp(0);
    record.family = AF_INET6;
    record.local[10..].copy_from_slice(&[0xff, 0xff, 10, 1, 2, 3]);
    record.peer[15] = 1;
    (record.local_port, record.peer_port) = (80, 5000);
    let socket = model(&[record]);
    assert_eq!(socket.local.unwrap().to_string(), "10.1.2.3:80");
    assert_eq!(socket.peer.unwrap().to_string(), "[::1]:5000");
}

#[test]
fn names_of_unix_sockets_are_as_ss_shows_them() {
    let named = |name: &[u8], flags| {
        let record = SocketRecord {
            family: AF_UNIX,
            kind: SOCK_STREAM,
            flags,
            ..Zeroable::zeroed()
        };
        let socket = Entry::new(1, 1, &record, name, TICK_NS).model(true, 0, TICK_NS);
        let text = |address: Option<Address>| address.map(|address| address.to_string());
        (text(socket.local), text(socket.peer))
    };
    assert_eq!(named(b"/run/x\0", 0), (Some("/run/x".into()), None));
    assert_eq!(named(b"\0hidden\0", 0), (Some("@hidden\\0".into()), None));
    assert_eq!(
        named(b"/run/x", SOCKET_NAME_OF_PEER),
        (None, Some("/run/x".into()))
    );
    assert_eq!(named(b"", 0), (None, None));
    let (hostile, _) = named(b"\x1b[2J\xff\n", 0);
    assert_eq!(hostile.unwrap(), "\\u{1b}[2J\\xff\\n");
}

#[test]
fn others_are_named_at_least() {
    let record = SocketRecord {
        family: AF_NETLINK,
        kind: 3,
        ..Zeroable::zeroed()
    };
    let socket = model(&[record]);
    assert_eq!(
        (socket.protocol_name(), socket.kind.name()),
        ("netlink", "raw")
    );
    let vsock = SocketRecord {
        family: AF_VSOCK,
        kind: SOCK_STREAM,
        local_port: 1024,
        local: [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ..Zeroable::zeroed()
    };
    assert_eq!(model(&[vsock]).local.unwrap().to_string(), "3:1024");
}

proptest! {
    #[test]
    fn any_records_are_taken(
        words in prop::collection::vec(any::<u64>(), 2 * size_of::<SocketRecord>() / 8),
    ) {
        let records: &[SocketRecord] = bytemuck::cast_slice(&words);
        let socket = model(records);
        prop_assert_eq!(socket.samples, 2);
        let _ = (socket.is_notable(), socket.protocol_name());
    }
}
