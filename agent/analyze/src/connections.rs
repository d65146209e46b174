//! What a connection is to its process: accepted from a client, or made by itself; to whom.

use crate::Scene;
use remora_model::{Address, Capture, Socket, SocketState};
use std::{collections::HashSet, time::Duration};

/// What was seen before this was there when the capture began.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// The servers of the targets.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    ports: HashSet<(u32, u16)>,
}

impl Servers {
    /// Those that listen at the end.
    pub(crate) fn of(capture: &Capture) -> Self {
        let listening = capture
            .sockets
            .iter()
            .filter(|socket| socket.open && socket.state == SocketState::Listen);
        let ports = listening.filter_map(|socket| Some((socket.namespace, port(socket)?)));
        Self {
            ports: ports.collect(),
        }
    }

    /// Whether a client made this connection: it has the port of a listening socket, or the name of one.
    pub(crate) fn accepted(&self, socket: &Socket) -> bool {
        match &socket.local {
            Some(Address::Unix(_)) => socket.peer_inode.is_some(),
            _ => port(socket).is_some_and(|port| self.ports.contains(&(socket.namespace, port))),
        }
    }

    /// How many connections clients made to a process in the capture, and keep.
    pub(crate) fn new_clients(&self, scene: &Scene<'_>, pid: u32) -> u64 {
        let clients = scene.sockets_of(pid).filter(|socket| {
            socket.state == SocketState::Established
                && socket.first_seen > FIRST_LOOK
                && self.accepted(socket)
        });
        clients.count() as u64
    }
}

fn port(socket: &Socket) -> Option<u16> {
    match &socket.local {
        Some(Address::Inet(address)) => Some(address.port()),
        _ => None,
    }
}

/// Whether another process of this host is at the other end.
pub(crate) fn has_local_peer(socket: &Socket) -> bool {
    let peer = socket.peer_process.as_ref();
    peer.is_some_and(|peer| peer.pid != socket.pid)
}

/// Whether a process talks to itself by it, as event loops do to wake themselves.
pub(crate) fn is_own_pair(socket: &Socket) -> bool {
    let peer = socket.peer_process.as_ref();
    peer.is_some_and(|peer| peer.pid == socket.pid)
}
