//! Who has the work of a connection's other end: the thread that sleeps in a call on that socket, or the one that runs
//! the loop whose epoll set holds it.
//!
//! Any other thread of that process may have nothing to do with the connection. So where no such thread is known, the
//! process as a whole is all that can be said.

use super::{Clue, Graph, Node, Wait};
use crate::readers::{LoopThread, Readers};
use remora_model::{Awaited, Reason, Socket};

/// Calls on a descriptor, told by their first argument.
const CALLS: [Reason; 8] = [
    Reason::SocketReceive,
    Reason::SocketSend,
    Reason::SocketAccept,
    Reason::FileRead,
    Reason::FileWrite,
    Reason::DeviceRead,
    Reason::DeviceWrite,
    Reason::SocketConnect,
];

/// The thread that has the work of a socket.
pub(super) struct Owner {
    pub node: Node,
    /// From what it was concluded, where it was.
    pub clue: Option<Clue>,
}

impl Graph<'_> {
    /// The one thread that has the work of the other end of the connection that is waited for.
    pub(super) fn owner(&self, wait: &Wait) -> Option<Owner> {
        let inode = wait.other_end?;
        let sockets = self.scene.capture.sockets.iter();
        let mut ends = sockets.filter(|socket| socket.open && socket.inode == inode);
        ends.find_map(|socket| self.owner_of(socket))
    }

    fn owner_of(&self, socket: &Socket) -> Option<Owner> {
        let readers = Readers::of(self.scene, socket.pid);
        let in_call = readers.waits_on(socket.fd, &CALLS).map(|it| it.tid);
        let in_poll = || {
            let mut all = self.scene.capture.dependencies.iter();
            let on = Awaited::Socket { fd: socket.fd };
            let is_own = |tid| {
                let thread = self.scene.thread(tid);
                thread.is_some_and(|(_, thread)| thread.pid == socket.pid)
            };
            all.find(|it| it.on == on && is_own(it.tid))
                .map(|it| it.tid)
        };
        if let Some((index, _)) = in_call
            .or_else(in_poll)
            .and_then(|tid| self.scene.thread(tid))
        {
            let node = Node::Thread(index);
            return Some(Owner { node, clue: None });
        }
        let mut watches = socket.watched_by.iter();
        let LoopThread {
            index, inferred, ..
        } = watches
            .by_ref()
            .filter(|watch| watch.pid == socket.pid)
            .find_map(|watch| readers.of_loop(watch))?;
        Some(Owner {
            node: Node::Thread(index),
            clue: inferred.then_some(Clue::LoopStack),
        })
    }
}
