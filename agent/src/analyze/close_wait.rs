//! `close_wait`: the peer closed a connection, and this side did not.
//!
//! Every connection passes through this state for the moment that its owner needs to close it. What tells a
//! leak apart is time: this one lasts. The peer's FIN acknowledged something, as every segment does, and the
//! kernel keeps when that happened last: so the peer closed at that time or before. Where this side goes on
//! sending to a peer that has closed its own direction only, acknowledgements come, and the time is short.

use super::{Findings, Scene, words};
use crate::model::{Finding, FindingKind, Severity, Socket, SocketState, Subject, Topic};
use crate::words::text::{bytes, clean, count};

/// Connections that are shown one by one.
const SHOWN: usize = 3;

pub fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let targets = scene.capture.processes.iter();
    for process in targets.filter(|process| process.is_target()) {
        let own = scene.sockets_of(process.pid);
        let mut left: Vec<&Socket> = own.filter(|socket| is_left(scene, socket)).collect();
        left.sort_by_key(|socket| (std::cmp::Reverse(silence(socket)), socket.fd));
        if let Some(oldest) = left.first() {
            findings.push(finding(scene, &left, oldest));
        }
    }
}

/// Closed by its peer for longer than the threshold.
fn is_left(scene: &Scene<'_>, socket: &Socket) -> bool {
    socket.open
        && socket.state == SocketState::CloseWait
        && silence(socket) >= scene.thresholds.close_wait
}

fn silence(socket: &Socket) -> std::time::Duration {
    socket.tcp.map_or(socket.seen_for(), |tcp| {
        tcp.silence.max(tcp.last_ack.unwrap_or_default())
    })
}

fn finding(scene: &Scene<'_>, left: &[&Socket], oldest: &Socket) -> Finding {
    let pid = oldest.pid;
    let since = silence(oldest);
    let mut finding = scene.about_process(FindingKind::CloseWait, Severity::Warning, pid);
    finding.since = Some(since);
    finding.since_at_least = true;
    let connections = match left.len() {
        1 => "a connection".to_owned(),
        several => format!("{} connections", count(several as u64)),
    };
    finding.summary = format!(
        "{} keeps {connections} that the peer closed{} {} ago",
        scene.process_name(pid),
        if left.len() > 1 { ", the oldest" } else { "" },
        words::since(since, true),
    );
    for socket in left.iter().take(SHOWN) {
        let peer = socket.peer.as_ref().map(|peer| format!(" from {peer}"));
        let unread = match socket.unread_bytes() {
            0 => String::new(),
            unread => format!(", {} unread", bytes(u64::from(unread))),
        };
        let age = words::since(silence(socket), true);
        let line = format!(
            "fd {}{}{unread}, {age}",
            socket.fd,
            peer.unwrap_or_default()
        );
        finding = finding.fact(Topic::Socket, clean(&line));
    }
    finding.next =
        "find who owns these descriptors: read until the end of the stream, then close".into();
    finding.about = left
        .iter()
        .map(|socket| Subject::Socket(socket.inode))
        .collect();
    finding.because_of = left
        .iter()
        .flat_map(|socket| &socket.watched_by)
        .flat_map(|watch| &watch.tids)
        .map(|tid| Subject::Thread(*tid))
        .collect();
    finding
}
