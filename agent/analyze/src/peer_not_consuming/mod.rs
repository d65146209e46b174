//! `peer_not_consuming`: something waits to be sent, and the peer has taken none of it for longer than the
//! threshold.
//!
//! Healthy programs have full send queues, too. What tells them apart:
//!
//! * data under way: some of them are acknowledged in the look;
//! * a slow peer: one on this host that **reads** between the beginning of the look and its end is left alone,
//!   however little it reads (TCP opens its window in large steps only, so the queue itself may stand still
//!   for long);
//! * a server of the public: clients vanish, with a page half sent. An accepted connection to another host
//!   counts only where a thread waits for it that has other things to do: an event loop, or the only thread;
//! * a few bytes in a unix socket that its owner does not look at: it counts when there is no room for more, or
//!   when a thread waits.

#[cfg(test)]
mod tests;

use crate::connections::{Servers, has_local_peer, is_own_pair};
use crate::readers::{Readers, wait};
use crate::{
    Findings, Scene, tasks,
    words::{self, Headline},
};
use remora_model::display::text::{bytes, clean, counted, duration, queue_bytes};
use remora_model::{
    Await, Confidence, Family, Finding, FindingKind, Reason, Severity, Socket, SocketState,
    Subject, Syscall, Thread, Topic,
};
use std::time::Duration;

/// Sockets of which each gets a finding of its own, in one process.
const MAX_FINDINGS: usize = 8;

/// A connection whose peer takes nothing.
struct Stuck<'a> {
    socket: &'a Socket,
    /// The thread that waits for room.
    sender: Option<&'a Thread>,
    since: Duration,
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let servers = Servers::of(scene.capture);
    for process in &scene.capture.processes {
        let own = scene.sockets_that_matter(process);
        let mut full = own.filter(|socket| stands_still(scene, socket)).peekable();
        if full.peek().is_none() {
            continue;
        }
        let readers = Readers::of(scene, process.pid);
        let stuck = full.filter_map(|socket| stuck(scene, &readers, &servers, socket));
        let mut stuck: Vec<_> = stuck.collect();
        stuck.sort_by_key(|it| {
            (
                it.sender.is_none(),
                std::cmp::Reverse(it.since),
                it.socket.fd,
            )
        });
        let others = stuck.len().saturating_sub(1);
        let shown = stuck.iter().take(MAX_FINDINGS);
        findings
            .found
            .extend(shown.map(|it| finding(scene, it, others)));
    }
}

/// Something waited to be sent in every sample, and the peer took nothing in the whole look.
fn stands_still(scene: &Scene<'_>, socket: &Socket) -> bool {
    let threshold = scene.thresholds.peer_not_consuming;
    let look = scene.whole_look(socket, threshold);
    let family = matches!(
        socket.family,
        Family::Unix | Family::Ipv4 | Family::Ipv6 | Family::Vsock
    );
    socket.open
        && family
        && socket.backlog.is_none()
        && socket.send.min > 0
        && socket.samples > 1
        && matches!(
            socket.state,
            SocketState::Established | SocketState::CloseWait
        )
        && socket.not_taken_for >= look
}

fn stuck<'a>(
    scene: &Scene<'_>,
    readers: &Readers<'a>,
    servers: &Servers,
    socket: &'a Socket,
) -> Option<Stuck<'a>> {
    if socket.peer_process.as_ref().and_then(|peer| peer.reads) == Some(true) {
        return None;
    }
    let sends = [Reason::SocketSend, Reason::FileWrite, Reason::DeviceWrite];
    let sender = readers.waits_on(socket.fd, &sends);
    if !is_harm(readers, servers, socket, sender) {
        return None;
    }
    let since = still_for(readers, socket).max(sender.map(wait).unwrap_or_default());
    (since >= scene.thresholds.peer_not_consuming).then_some(Stuck {
        socket,
        sender,
        since,
    })
}

/// For so long the peer has taken nothing, at least.
fn still_for(readers: &Readers<'_>, socket: &Socket) -> Duration {
    // While no thread ran nothing was written: what waits is older.
    let asleep = readers.asleep_for();
    let before = match &socket.tcp {
        // The window is closed: nothing was sent since then, so it has not been opened.
        Some(tcp) if tcp.zero_window => tcp.last_send.unwrap_or_default(),
        Some(tcp) => tcp.last_ack.unwrap_or_default().min(asleep),
        None => asleep,
    };
    socket.not_taken_for.max(before)
}

fn is_harm(
    readers: &Readers<'_>,
    servers: &Servers,
    socket: &Socket,
    sender: Option<&Thread>,
) -> bool {
    let full = socket.send.last >= socket.send_limit / 4;
    if is_own_pair(socket) || has_local_peer(socket) {
        let stuck = socket.tcp.is_some_and(|tcp| tcp.zero_window) || full;
        return sender.is_some() || stuck;
    }
    if !servers.accepted(socket) {
        return sender.is_some() || socket.tcp.is_some();
    }
    sender.is_some_and(|sender| {
        let only_loop = readers
            .only_loop()
            .is_some_and(|it| it.thread.tid == sender.tid);
        readers.count() == 1 || only_loop
    })
}

fn finding(scene: &Scene<'_>, stuck: &Stuck<'_>, others: usize) -> Finding {
    let socket = stuck.socket;
    let kind = FindingKind::PeerNotConsuming;
    let mut finding = match stuck.sender {
        Some(thread) => scene.about_thread(kind, Severity::Critical, thread),
        None => scene.about_process(kind, Severity::Warning, socket.pid),
    };
    finding.since = Some(stuck.since);
    finding.since_at_least = true;
    finding.summary = Headline {
        who: "send queue",
        of: &scene.process_name(socket.pid),
        what: &format!(
            "to {} (fd {}) not drained for {}",
            peer_name(socket),
            socket.fd,
            words::since(stuck.since, true)
        ),
        ..Headline::default()
    }
    .fitted();
    finding = finding.fact(Topic::Queue, queue(scene, socket));
    if let Some(thread) = stuck.sender {
        let line = format!(
            "{} waits for buffer space in {}",
            words::thread(thread),
            clean(thread.now.syscall.map_or("send", Syscall::name)),
        );
        finding = finding.fact(Topic::Waits, line);
        finding.about.push(Subject::Thread(thread.tid));
        if let Some(code) = scene.stack_now(thread).and_then(words::code) {
            finding = finding.fact(Topic::Where, code);
        }
    }
    if stuck.sender.is_none() {
        for line in tasks::waiting(scene, socket.pid, Await::sends) {
            finding = finding.fact(Topic::Waits, line);
        }
    }
    finding = finding.fact(Topic::Peer, peer_words(socket));
    if let Some(peer) = &socket.peer_process {
        finding.because_of = vec![Subject::Socket(peer.inode), Subject::Process(peer.pid)];
        if peer.inferred {
            finding.confidence = Confidence::Inferred;
        }
    }
    if others > 0 {
        let line = counted(others as u64, "more send queue");
        finding = finding.fact(Topic::Sockets, format!("{line} not drained"));
    }
    finding.next = next(scene, socket);
    finding.about.push(Subject::Socket(socket.inode));
    finding
}

fn next(scene: &Scene<'_>, socket: &Socket) -> String {
    match &socket.peer_process {
        // It is watched, so its own findings are here.
        Some(peer) if peer.pid == socket.pid => {
            format!("Find the code that should read fd {}.", peer.fd)
        }
        Some(peer) if scene.process(peer.pid).is_some() => format!(
            "Find the code of {} ({}) that should read its fd {}.",
            clean(&peer.comm),
            peer.pid,
            peer.fd
        ),
        Some(peer) => format!("Run: remora triage --pid {}.", peer.pid),
        None => "Check that the peer process runs and its host is reachable.".to_owned(),
    }
}

fn peer_name(socket: &Socket) -> String {
    let peer = match (&socket.peer_process, &socket.peer) {
        (Some(peer), _) => format!("{} ({})", peer.comm, peer.pid),
        (None, Some(peer)) => peer.to_string(),
        (None, None) => "the peer".to_owned(),
    };
    clean(&peer).into_owned()
}

fn queue(scene: &Scene<'_>, socket: &Socket) -> String {
    let mut line = format!(
        "{}: {} of {}",
        words::channel(scene, socket),
        queue_bytes(socket.send.last.into()),
        bytes(socket.send_limit.into()),
    );
    if let Some(tcp) = &socket.tcp {
        if tcp.zero_window {
            line.push_str(", zero window");
        }
        if let Some(sent) = tcp.last_send {
            line.push_str(&format!(", last send {} ago", duration(sent)));
        }
        if tcp.retransmits_in_capture > 0 {
            let again = counted(tcp.retransmits_in_capture, "retransmit");
            line.push_str(&format!(", {again} in this capture"));
        }
    }
    line
}

fn peer_words(socket: &Socket) -> String {
    let Some(peer) = &socket.peer_process else {
        let probes = socket.tcp.map_or(0, |tcp| tcp.probes);
        let mut line = "not on this host".to_owned();
        if let Some(ack) = socket.tcp.and_then(|tcp| tcp.last_ack) {
            line.push_str(&format!("; last ACK {} ago", duration(ack)));
        }
        if probes > 0 {
            let probes = counted(probes.into(), "window probe");
            line.push_str(&format!(", {probes} unanswered"));
        }
        return line;
    };
    let read = match peer.reads {
        Some(false) => ", no read in this capture",
        _ => "",
    };
    let accepted = if peer.accepted { "" } else { ", not accepted" };
    format!(
        "{} ({}), fd {}, this host{accepted}: {} unread{read}",
        clean(&peer.comm),
        peer.pid,
        peer.fd,
        queue_bytes(peer.unread.into()),
    )
}
