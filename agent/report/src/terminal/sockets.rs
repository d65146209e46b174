//! The sockets that have something to say: what waits in their queues and for how long, what was lost,
//! and who is at the other end.

use super::{Page, QUIET};
use crate::text::{clean, count, counted, duration, queue_bytes};
use remora_model::{Capture, Socket, SocketState, Unread};
use std::cmp::Reverse;

/// Sockets that get lines.
const SHOWN: usize = 10;

/// Event loops named of one socket.
const LOOPS: usize = 2;

pub(super) fn sockets(page: &mut Page, capture: &Capture) {
    let open = capture.sockets.iter().filter(|socket| socket.open);
    let mut notable: Vec<_> = capture
        .sockets
        .iter()
        .filter(|it| it.is_notable())
        .collect();
    if notable.is_empty() {
        return;
    }
    notable.sort_by_key(|socket| {
        let unread = socket.oldest_unread.map(|unread| unread.min);
        (Reverse(unread), Reverse(socket.send.last), socket.id)
    });
    page.heading(&format!(
        "Sockets with queued data, losses or errors: {} of {}",
        count(notable.len() as u64),
        count(open.count() as u64)
    ));
    for socket in notable.iter().take(SHOWN) {
        page.plain(&format!("  {}", clean(&title(socket))));
        page.hanging(QUIET, "      ", &clean(&notes(socket).join("; ")));
    }
    if let Some(more) = notable.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        page.line(QUIET, &format!("  and {} more", count(more as u64)));
    }
}

/// `4711/12  tcp established  127.0.0.1:6379 – 127.0.0.1:5011 (redis-benchmark 77)`.
fn title(socket: &Socket) -> String {
    let mut title = format!(
        "{}/{}  {} {}",
        socket.pid,
        socket.fd,
        socket.protocol_name(),
        socket.state.label()
    );
    if let Some(local) = &socket.local {
        title.push_str(&format!("  {local}"));
    }
    if let Some(peer) = &socket.peer {
        title.push_str(&format!(" – {peer}"));
    }
    if let Some(peer) = &socket.peer_process {
        title.push_str(&format!(" ({} {})", peer.comm, peer.pid));
    }
    title
}

fn notes(socket: &Socket) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(unread) = &socket.oldest_unread {
        let what = match socket.backlog {
            Some(backlog) => format!("accept backlog {} of {}", backlog.now, backlog.limit),
            None => format!(
                "receive queue {}",
                queue_bytes(socket.unread_bytes().into())
            ),
        };
        notes.push(format!("{what}, oldest {}", age(unread)));
    }
    if socket.send.last > 0 && socket.backlog.is_none() {
        notes.push(format!(
            "send queue {}",
            queue_bytes(socket.send.last.into())
        ));
    }
    if let Some(tcp) = &socket.tcp {
        if tcp.zero_window {
            notes.push("zero window".to_owned());
        }
        if tcp.retransmits_in_capture > 0 {
            notes.push(counted(tcp.retransmits_in_capture, "retransmit"));
        }
    }
    if socket.drops_in_capture > 0 {
        notes.push(format!("{} dropped", count(socket.drops_in_capture)));
    }
    if socket.state == SocketState::CloseWait {
        notes.push("closed by the peer".to_owned());
    }
    if socket.error != 0 {
        notes.push(format!("error {}", socket.error));
    }
    notes.push(watched(socket));
    notes
}

/// `≥ 3.2 s, ≤ 3.7 s`.
fn age(unread: &Unread) -> String {
    let inferred = if unread.inferred { "~" } else { "" };
    let least = format!("≥ {inferred}{}", duration(unread.min));
    match unread.max {
        Some(most) => format!("{least}, ≤ {}", duration(most)),
        None => least,
    }
}

fn watched(socket: &Socket) -> String {
    if socket.watched_by.is_empty() {
        return "in no epoll set".to_owned();
    }
    let loops = socket.watched_by.iter().take(LOOPS).map(|watch| {
        let state = if watch.armed() { "" } else { ", not armed" };
        let events = watch.event_names().join(" ");
        format!("in epoll set {} ({events}{state})", watch.epoll_fd)
    });
    loops.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
