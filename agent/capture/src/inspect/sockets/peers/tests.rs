//! Matching by address pair and by inode, on sockets made by hand.

use super::*;
use bytemuck::Zeroable;
use remora_common::socket::{AF_INET, SOCK_STREAM};
use remora_model::fixture::socket;

const NAMESPACE: u32 = 4_026_531_840;

fn address(text: &str) -> Option<Address> {
    Some(Address::Inet(text.parse().unwrap()))
}

/// A target's connection.
fn connection(local: &str, peer: &str) -> Socket {
    let mut socket = socket(1, 3);
    socket.local = address(local);
    socket.peer = address(peer);
    socket.namespace = NAMESPACE;
    socket
}

fn record(pid: u32, state: u32, local: &str, peer: &str) -> SocketRecord {
    let bytes = |address: SocketAddr| {
        let mut bytes = [0; 16];
        let IpAddr::V4(ip) = address.ip() else {
            panic!("{address}");
        };
        bytes[..4].copy_from_slice(&ip.octets());
        bytes
    };
    let [local, peer]: [SocketAddr; 2] = [local, peer].map(|text| text.parse().unwrap());
    SocketRecord {
        tgid: pid,
        fd: 9,
        inode: u64::from(pid) * 10,
        family: AF_INET,
        kind: SOCK_STREAM,
        protocol: PROTOCOL_TCP,
        state,
        namespace: NAMESPACE,
        local: bytes(local),
        peer: bytes(peer),
        local_port: local.port().into(),
        peer_port: peer.port().into(),
        ..Zeroable::zeroed()
    }
}

fn search(sockets: &mut [Socket], records: &[(SocketRecord, &[u8])]) {
    let mut search = Search::new(sockets);
    for (record, name) in records {
        search.see(record, name, sockets);
    }
    search.unaccepted(sockets);
}

fn found(socket: &Socket) -> Option<(u32, bool, bool, u32)> {
    let peer = socket.peer_process.as_ref()?;
    Some((peer.pid, peer.accepted, peer.inferred, peer.holders))
}

#[test]
fn the_reversed_pair_is_the_peer_and_its_holders_are_counted() {
    let mut sockets = [connection("127.0.0.1:80", "127.0.0.1:5000")];
    let peer = record(7, 1, "127.0.0.1:5000", "127.0.0.1:80");
    let own = record(1, 1, "127.0.0.1:80", "127.0.0.1:5000");
    let forked = SocketRecord { tgid: 8, ..peer };
    search(&mut sockets, &[(own, b""), (peer, b""), (forked, b"")]);
    assert_eq!(found(&sockets[0]), Some((7, true, false, 2)));
}

#[test]
fn loopback_is_another_in_each_namespace_and_other_addresses_are_inferred() {
    let elsewhere = |record: SocketRecord| SocketRecord {
        namespace: NAMESPACE + 1,
        ..record
    };
    let mut sockets = [
        connection("127.0.0.1:80", "127.0.0.1:5000"),
        connection("10.0.0.1:80", "10.0.0.2:5000"),
    ];
    let far = elsewhere(record(7, 1, "127.0.0.1:5000", "127.0.0.1:80"));
    let veth = elsewhere(record(8, 1, "10.0.0.2:5000", "10.0.0.1:80"));
    search(&mut sockets, &[(far, b""), (veth, b"")]);
    assert_eq!(found(&sockets[0]), None);
    assert_eq!(found(&sockets[1]), Some((8, true, true, 1)));
    // One in the same namespace is surer, whenever it comes.
    let here = record(9, 1, "10.0.0.2:5000", "10.0.0.1:80");
    sockets[1].peer_process = None;
    search(&mut sockets, &[(veth, b""), (here, b""), (veth, b"")]);
    assert_eq!(found(&sockets[1]), Some((9, true, false, 1)));
}

#[test]
fn a_connection_that_nobody_accepted_is_the_listeners() {
    let mut sockets = [connection("127.0.0.1:5000", "127.0.0.1:80")];
    let listening = record(7, STATE_LISTEN, "0.0.0.0:80", "0.0.0.0:0");
    search(&mut sockets, &[(listening, b"")]);
    assert_eq!(found(&sockets[0]), Some((7, false, false, 1)));
    // The peer of one that is closed is not in a backlog.
    sockets[0].peer_process = None;
    sockets[0].state = SocketState::CloseWait;
    search(&mut sockets, &[(listening, b"")]);
    assert_eq!(found(&sockets[0]), None);
}

#[test]
fn unix_sockets_are_matched_by_inode_and_the_unaccepted_by_name() {
    let unix = |pid, state, flags| SocketRecord {
        tgid: pid,
        inode: 70,
        family: AF_UNIX,
        state,
        flags,
        ..Zeroable::zeroed()
    };
    let mut connected = socket(1, 3);
    connected.peer_inode = Some(70);
    let mut waiting = socket(1, 4);
    waiting.peer = Some(Address::Unix("@name".into()));
    let mut sockets = [connected, waiting];
    let peer = unix(7, 1, 0);
    let client = unix(5, 1, SOCKET_NAME_OF_PEER);
    let listening = SocketRecord {
        inode: 71,
        ..unix(8, STATE_LISTEN, 0)
    };
    search(
        &mut sockets,
        &[(peer, b""), (client, b"\0name"), (listening, b"\0name")],
    );
    assert_eq!(found(&sockets[0]).unwrap().0, 7);
    assert_eq!(found(&sockets[1]), Some((8, false, false, 1)));
}

#[test]
fn only_peers_that_should_be_here_are_missed() {
    assert!(is_local(&with_tcp(connection(
        "127.0.0.1:1",
        "127.0.0.1:2"
    ))));
    assert!(is_local(&with_tcp(connection("10.0.0.1:1", "10.0.0.1:2"))));
    assert!(!is_local(&with_tcp(connection("10.0.0.1:1", "10.9.9.9:2"))));
    let mut closed = with_tcp(connection("127.0.0.1:1", "127.0.0.1:2"));
    closed.state = SocketState::CloseWait;
    assert!(!is_local(&closed), "its peer has gone");
}

fn with_tcp(mut socket: Socket) -> Socket {
    socket.tcp = Some(remora_model::Tcp::default());
    socket
}
