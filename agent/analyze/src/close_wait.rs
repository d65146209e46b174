//! `close_wait`: the peer closed a connection, and this side did not.
//!
//! Every connection passes through this state for the moment that its owner needs to close it. What tells a
//! leak apart is time: this one lasts. The peer's FIN acknowledged something, as every segment does, and the
//! kernel keeps when that happened last: so the peer closed at that time or before. Where this side goes on
//! sending to a peer that has closed its own direction only, acknowledgements come, and the time is short.

use super::{
    Findings, Scene,
    words::{self, Headline},
};
use remora_model::display::text::{clean, counted, queue_bytes};
use remora_model::{Finding, FindingKind, Severity, Socket, SocketState, Subject, Topic};

/// Connections that are shown one by one.
const SHOWN: usize = 3;

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
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
    let age = words::since(since, true);
    let what = match left.len() {
        1 => format!("has 1 socket in CLOSE-WAIT for {age}"),
        several => format!(
            "has {} in CLOSE-WAIT, oldest {age}",
            counted(several as u64, "socket")
        ),
    };
    finding.summary = Headline {
        who: &scene.process_name(pid),
        what: &what,
        ..Headline::default()
    }
    .fitted();
    for socket in left.iter().take(SHOWN) {
        let peer = socket.peer.as_ref();
        let peer = peer.map_or_else(String::new, |peer| format!(", peer {peer}"));
        let unread = match socket.unread_bytes() {
            0 => String::new(),
            unread => format!(", {} unread", queue_bytes(u64::from(unread))),
        };
        let age = words::since(silence(socket), true);
        let line = format!("fd {}{peer}, {age}{unread}", socket.fd);
        finding = finding.fact(Topic::Socket, clean(&line));
    }
    if left.len() > SHOWN {
        let more = counted((left.len() - SHOWN) as u64, "more socket");
        finding = finding.fact(Topic::Sockets, more);
    }
    let fds = left.iter().take(SHOWN).map(|socket| socket.fd.to_string());
    let fds: Vec<String> = fds.collect();
    let others = if left.len() > SHOWN { "…" } else { "" };
    finding.next = format!(
        "Close fd {}{others} when recv returns 0 (end of stream).",
        fds.join(", ")
    );
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
