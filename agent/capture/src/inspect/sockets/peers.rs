//! Who is at the other end, as far as that is on this host: one pass over the sockets of every process,
//! matched by address pair, or by the inode of a unix socket's peer.

use super::entry::{inet, was_read};
use remora_common::socket::{
    AF_UNIX, PROTOCOL_TCP, PROTOCOL_UDP, SOCKET_NAME_OF_PEER, STATE_LISTEN, SocketRecord,
};
use remora_model::{Address, PeerProcess, Socket, SocketState};
use remora_probe::SocketProbe;
use remora_process as process;
use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// Sockets that wait for peers (listening, or bound UDP) and that are remembered.
const MAX_SERVERS: usize = 65_536;

/// Processes that hold a peer and are named.
const MAX_HELD_BY: usize = 16;

/// Peers of senders that are stuck: those that are looked at at the beginning, too.
const MAX_FIRST: usize = 1024;

/// Sockets as they were at the beginning, by inode.
pub(super) type First = HashMap<u64, SocketRecord>;

/// Protocol, address, and address of its peer.
type Pair = (u32, SocketAddr, SocketAddr);

/// A socket that others connect to.
#[derive(Clone, Copy, Debug)]
struct Server {
    ip: IpAddr,
    namespace: u32,
    pid: u32,
    fd: u32,
    inode: u64,
}

/// What is looked for, and what was found.
#[derive(Debug, Default)]
struct Search {
    targets: HashSet<u32>,
    /// The peer's own pair → sockets that it is the peer of.
    pairs: HashMap<Pair, Vec<usize>>,
    /// The peer's inode → the same.
    inodes: HashMap<u64, Vec<usize>>,
    /// The targets' own descriptors that are still there: of one that has gone the peer may have, too.
    still: HashSet<(u32, u32, u64)>,
    /// Protocol and port → servers.
    servers: HashMap<(u32, u16), Vec<Server>>,
    /// Name of a listening unix socket → server.
    names: HashMap<Vec<u8>, (u32, u32, u64)>,
    remembered: usize,
    /// Peers as they were at the beginning.
    first: First,
}

/// The peers of these sockets as they are now.
pub(super) fn first(probe: &SocketProbe, deadline: Instant, sockets: &[Socket]) -> First {
    let search = Search::new(sockets);
    let mut first = First::new();
    let _whole = probe.host(deadline, |record, _| {
        if first.len() < MAX_FIRST && search.is_peer(record) {
            first.insert(record.inode, *record);
        }
    });
    first
}

/// Adds their peers to the sockets; returns for how many there should be one and none was found.
/// `first` tells which of them read something meanwhile.
pub(super) fn find(
    probe: &SocketProbe,
    deadline: Instant,
    sockets: &mut [Socket],
    first: First,
) -> u64 {
    let mut search = Search::new(sockets);
    search.first = first;
    if search.targets.is_empty() {
        return 0;
    }
    let whole = probe.host(deadline, |record, name| search.see(record, name, sockets));
    search.unaccepted(sockets);
    name_all(sockets);
    let whole = whole.unwrap_or(false);
    let unresolved = sockets.iter().filter(|socket| {
        let own = (socket.pid, socket.fd, socket.inode);
        let should_be_here = is_local(socket) && search.still.contains(&own);
        socket.open && socket.peer_process.is_none() && (should_be_here || lost(socket, whole))
    });
    unresolved.count() as u64
}

/// Whether the peer was there at the last sample, and on this host.
fn is_local(socket: &Socket) -> bool {
    match (&socket.local, &socket.peer) {
        (Some(Address::Inet(local)), Some(Address::Inet(peer))) => {
            socket.tcp.is_some()
                && socket.state == SocketState::Established
                && (peer.ip().is_loopback() || peer.ip() == local.ip())
        }
        _ => socket.peer_inode.is_some(),
    }
}

/// Whether its peer may have been among those that the search did not come to.
fn lost(socket: &Socket, whole: bool) -> bool {
    !whole && socket.state == SocketState::Established && socket.peer.is_some()
}

impl Search {
    fn new(sockets: &[Socket]) -> Self {
        let mut search = Self::default();
        for (at, socket) in sockets.iter().enumerate().filter(|(_, it)| it.open) {
            search.targets.insert(socket.pid);
            if let (Some(Address::Inet(local)), Some(Address::Inet(peer))) =
                (&socket.local, &socket.peer)
            {
                let pair = (socket.kind.protocol, *peer, *local);
                search.pairs.entry(pair).or_default().push(at);
            }
            if let Some(inode) = socket.peer_inode {
                search.inodes.entry(inode).or_default().push(at);
            }
        }
        search
    }

    /// Whether it is somebody's peer.
    fn is_peer(&self, record: &SocketRecord) -> bool {
        if record.family == AF_UNIX {
            return self.inodes.contains_key(&record.inode);
        }
        inet(record)
            .is_some_and(|(local, peer)| self.pairs.contains_key(&(record.protocol, local, peer)))
    }

    /// One socket of some process.
    fn see(&mut self, record: &SocketRecord, name: &[u8], sockets: &mut [Socket]) {
        if self.targets.contains(&record.tgid) {
            self.still.insert((record.tgid, record.fd, record.inode));
        }
        if record.family == AF_UNIX {
            for at in self.inodes.get(&record.inode).into_iter().flatten() {
                meet(sockets.get_mut(*at), record, &self.first, false);
            }
            let own = record.flags & SOCKET_NAME_OF_PEER == 0 && !name.is_empty();
            if own && record.state == STATE_LISTEN && self.remembered < MAX_SERVERS {
                self.remembered += 1;
                let server = (record.tgid, record.fd, record.inode);
                self.names.entry(unix_key(name)).or_insert(server);
            }
            return;
        }
        let Some((local, peer)) = inet(record) else {
            return;
        };
        let pair = (record.protocol, local, peer);
        for at in self.pairs.get(&pair).into_iter().flatten() {
            let Some(socket) = sockets.get_mut(*at) else {
                continue;
            };
            let elsewhere = socket.namespace != record.namespace;
            // Every namespace has a loopback of its own.
            if !(elsewhere && local.ip().is_loopback()) {
                meet(Some(socket), record, &self.first, elsewhere);
            }
        }
        let serves = match record.protocol {
            PROTOCOL_TCP => record.state == STATE_LISTEN,
            PROTOCOL_UDP => peer.port() == 0 && local.port() != 0,
            _ => false,
        };
        if serves && self.remembered < MAX_SERVERS {
            self.remembered += 1;
            let place = self.servers.entry((record.protocol, local.port()));
            place.or_default().push(Server {
                ip: local.ip(),
                namespace: record.namespace,
                pid: record.tgid,
                fd: record.fd,
                inode: record.inode,
            });
        }
    }

    /// Connections that nobody has accepted: their other end is the listening socket's. And datagrams to
    /// a socket that has no peer of its own.
    fn unaccepted(&self, sockets: &mut [Socket]) {
        for socket in sockets.iter_mut() {
            if !socket.open || socket.peer_process.is_some() {
                continue;
            }
            let found = match &socket.peer {
                Some(Address::Inet(peer)) => self.server(socket, *peer),
                Some(Address::Unix(name)) if socket.peer_inode.is_none() => {
                    self.names.get(name.as_bytes()).copied()
                }
                _ => None,
            };
            if let Some((pid, fd, inode)) = found {
                socket.peer_process = Some(PeerProcess {
                    pid,
                    comm: String::new(),
                    fd,
                    inode,
                    holders: 1,
                    held_by: vec![pid],
                    accepted: socket.kind.protocol == PROTOCOL_UDP,
                    inferred: false,
                    unread: 0,
                    reads: None,
                });
            }
        }
    }

    /// Who serves this address in the socket's own namespace.
    fn server(&self, socket: &Socket, peer: SocketAddr) -> Option<(u32, u32, u64)> {
        let connected = socket.kind.protocol == PROTOCOL_UDP
            || matches!(
                socket.state,
                SocketState::Established | SocketState::SynSent
            );
        let servers = self.servers.get(&(socket.kind.protocol, peer.port()))?;
        let mut fitting = servers.iter().filter(|server| {
            server.namespace == socket.namespace
                && (server.ip == peer.ip() || server.ip.is_unspecified())
        });
        let server = fitting.next().filter(|_| connected)?;
        Some((server.pid, server.fd, server.inode))
    }
}

/// A peer was found; the first one counts, unless it is less sure.
fn meet(socket: Option<&mut Socket>, record: &SocketRecord, first: &First, inferred: bool) {
    let Some(socket) = socket else {
        return;
    };
    match &mut socket.peer_process {
        Some(peer) if peer.inode == record.inode => {
            peer.holders += 1;
            if peer.held_by.len() < MAX_HELD_BY && !peer.held_by.contains(&record.tgid) {
                peer.held_by.push(record.tgid);
            }
            return;
        }
        Some(peer) if !peer.inferred || inferred => return,
        _ => {}
    }
    socket.peer_process = Some(PeerProcess {
        pid: record.tgid,
        comm: String::new(),
        fd: record.fd,
        inode: record.inode,
        holders: 1,
        held_by: vec![record.tgid],
        accepted: true,
        inferred,
        unread: record.receive_queue,
        reads: first
            .get(&record.inode)
            .map(|before| was_read(before, record)),
    });
}

/// The name of a unix socket as the model shows it.
fn unix_key(name: &[u8]) -> Vec<u8> {
    super::entry::unix_name(name)
        .unwrap_or_default()
        .into_bytes()
}

/// Fills in the names of the processes that were found.
fn name_all(sockets: &mut [Socket]) {
    let mut names: HashMap<u32, String> = HashMap::new();
    for peer in sockets.iter_mut().filter_map(|it| it.peer_process.as_mut()) {
        let name = names
            .entry(peer.pid)
            .or_insert_with(|| process::name(peer.pid).unwrap_or_default());
        peer.comm.clone_from(name);
    }
}

#[cfg(test)]
mod tests;
