//! `no_answer`: a thread waits for a peer that has been asked, or that should shake hands, and nothing has come for
//! longer than the threshold.
//!
//! Reading from a connection is what servers, feeds and subscriptions do all day. What tells a missing answer apart:
//!
//! * a handshake: it is this side that begins it, or the peer that has just connected;
//! * this side **made** the connection (it is not one that a client made), spoke **last** on it, and the thread waits
//!   on that connection alone, in the middle of the program: an event loop's own wait is none, nor is a reader at
//!   the bottom of a thread of its own, nor a request that waits for work by design (`BLPOP`, a subscription), which
//!   the table of places knows. Where functions have no names, a client of the process has to wait for it: any, if it
//!   has one thread, else one that asked when this side did.

use super::connections::Servers;
use super::waits::{Kind, Waiting, Waits};
use super::{Findings, Scene, graph::Graph, graph::Node, words};
use remora_model::display::text::{counted, duration};
use remora_model::places::Meaning;
use remora_model::{
    Awaited, Confidence, Finding, FindingKind, Reason, Severity, Socket, SocketState, Subject,
    Topic,
};
use std::time::Duration;

/// Threads of which each gets a finding.
const MAX_FINDINGS: usize = 8;
/// What is sent and received at nearly the same time has no order.
const SLACK: Duration = Duration::from_millis(5);
/// Within this time a request is passed on.
const PASSED_ON: Duration = Duration::from_secs(1);
/// A reader of its own has this many functions of the program above its thread's start.
const READER: usize = 1;

/// What a peer owes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    Connection,
    Handshake,
    Answer,
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let graph = Graph::of(scene);
    let waits = Waits::of(&graph);
    let servers = Servers::of(scene.capture);
    let mut found: Vec<_> = waits
        .of_targets(scene)
        .filter(|it| it.since() >= scene.thresholds.no_answer)
        .filter_map(|it| {
            let socket = socket(scene, it);
            Some((it, socket, owed(scene, &servers, it, socket)?))
        })
        .collect();
    found.sort_by_key(|(it, ..)| (std::cmp::Reverse(it.since()), it.index));
    let all = found.len();
    for (waiting, socket, owed) in found.into_iter().take(MAX_FINDINGS) {
        findings.push(finding(&graph, waiting, socket, owed, all - 1));
    }
}

/// The one connection that a thread waits on.
fn socket<'a>(scene: &Scene<'a>, waiting: &Waiting<'_>) -> Option<&'a Socket> {
    let thread = waiting.thread;
    let fd = match thread.now.reason? {
        Reason::SocketReceive | Reason::SocketConnect => u32::try_from(thread.now.args[0]).ok()?,
        Reason::Poll => {
            let mut looked_up = scene.capture.dependencies.iter();
            match looked_up.find(|it| it.tid == thread.tid)?.on {
                Awaited::Socket { fd } => fd,
                _ => return None,
            }
        }
        _ => return None,
    };
    scene.socket(thread.pid, fd)
}

fn owed(
    scene: &Scene<'_>,
    servers: &Servers,
    waiting: &Waiting<'_>,
    socket: Option<&Socket>,
) -> Option<Owed> {
    let reason = waiting.thread.now.reason?;
    if reason == Reason::SocketConnect {
        return Some(Owed::Connection);
    }
    if waiting.kind == Kind::Handshake {
        return Some(Owed::Handshake);
    }
    let socket = socket.filter(|it| it.state == SocketState::Established)?;
    let is_asked = !servers.accepted(socket)
        && asks_a_server(scene, socket)
        && spoke_last(scene, socket)
        && socket.receive.last == 0;
    let reading = &waiting.reading;
    let in_program = match waiting.kind {
        Kind::Answer => true,
        Kind::Data => {
            let deep = reading.own > READER || reading.job;
            let alone = || is_alone(scene, waiting);
            reading.what != Some(Meaning::Queue)
                && match reading.gaps {
                    false => deep || alone(),
                    true => has_a_client_waiting(scene, servers, socket, alone()),
                }
        }
        _ => false,
    };
    (is_asked && in_program).then_some(Owed::Answer)
}

/// Whether the other end is a server's: somebody listens there, or this side has a port of those that the system
/// gives to clients.
fn asks_a_server(scene: &Scene<'_>, socket: &Socket) -> bool {
    /// Default of `net.ipv4.ip_local_port_range`.
    const CLIENTS: std::ops::RangeInclusive<u16> = 32768..=60999;
    use remora_model::Address::Inet;
    let (Some(Inet(local)), Some(Inet(peer))) = (&socket.local, &socket.peer) else {
        return false;
    };
    let mut all = scene.capture.sockets.iter();
    let listens = all.any(|it| {
        let at = matches!(&it.local, Some(Inet(at)) if at.port() == peer.port());
        it.open && it.state == SocketState::Listen && at
    });
    listens || (CLIENTS.contains(&local.port()) && !CLIENTS.contains(&peer.port()))
}

/// Whether the last word on a connection was this side's, and the peer has been silent since.
fn spoke_last(scene: &Scene<'_>, socket: &Socket) -> bool {
    let Some(tcp) = socket.tcp.filter(|tcp| tcp.bytes_sent > 0) else {
        return false;
    };
    match (tcp.last_send, tcp.last_receive) {
        (Some(sent), Some(received)) => {
            let is_last = tcp.bytes_received == 0 || sent.saturating_add(SLACK) < received;
            is_last && sent >= scene.thresholds.no_answer
        }
        _ => false,
    }
}

/// Whether a client of the process that made this connection has spoken last, and got no answer for as long. Where the
/// thread is not its only one, the client asked just before this side did.
fn has_a_client_waiting(scene: &Scene<'_>, servers: &Servers, asked: &Socket, alone: bool) -> bool {
    let sent_on = asked.tcp.and_then(|tcp| tcp.last_send);
    let is_its_cause = |received: Duration| {
        alone
            || sent_on
                .is_some_and(|sent| (sent..=sent.saturating_add(PASSED_ON)).contains(&received))
    };
    let waits = |socket: &Socket| {
        let tcp = socket.tcp.filter(|tcp| tcp.bytes_received > 0)?;
        let (sent, received) = (tcp.last_send?, tcp.last_receive?);
        let is_last = tcp.bytes_sent == 0 || received.saturating_add(SLACK) < sent;
        Some(is_last && received >= scene.thresholds.no_answer && is_its_cause(received))
    };
    let mut own = scene.sockets_of(asked.pid);
    own.any(|socket| {
        socket.open
            && socket.state == SocketState::Established
            && servers.accepted(socket)
            && waits(socket) == Some(true)
    })
}

/// The only thread of its process.
fn is_alone(scene: &Scene<'_>, waiting: &Waiting<'_>) -> bool {
    let mut own = scene
        .living()
        .filter(|(_, it)| it.pid == waiting.thread.pid);
    own.all(|(index, _)| index == waiting.index)
}

fn finding(
    graph: &Graph<'_>,
    waiting: &Waiting<'_>,
    socket: Option<&Socket>,
    owed: Owed,
    others: usize,
) -> Finding {
    let scene = graph.scene();
    let thread = waiting.thread;
    let now = &thread.now;
    let since = words::since(now.since, now.since_inferred);
    let what = match owed {
        Owed::Connection => "a connection to be accepted",
        Owed::Handshake => "a handshake",
        Owed::Answer => "an answer",
    };
    let mut finding = scene.about_thread(FindingKind::NoAnswer, Severity::Warning, thread);
    finding.since = Some(now.since);
    finding.since_at_least = now.since_inferred;
    if owed != Owed::Connection {
        finding.confidence = Confidence::Inferred;
    }
    let peer = socket.map(|socket| words::socket(scene, socket));
    finding.summary = words::Headline {
        who: &words::thread(thread),
        of: &scene.process_name(thread.pid),
        what: &format!("waits for {what} for {since}"),
        detail: peer.as_deref().unwrap_or_default(),
    }
    .fitted();
    let call = now
        .syscall
        .map_or("a system call", remora_model::Syscall::name);
    let of = peer
        .as_deref()
        .unwrap_or("a connection that was not sampled");
    let why = format!("{} is in {call} on {of}", words::thread(thread));
    finding = finding.fact(Topic::Waits, why);
    if let Some(code) = graph.code(Node::Thread(waiting.index)) {
        finding = finding.fact(Topic::Where, code);
    }
    // A connection that was never agreed on has sent nothing since the host began.
    if let Some(tcp) = socket
        .and_then(|it| it.tcp)
        .filter(|tcp| tcp.bytes_sent > 0)
        && let (Some(sent), Some(received)) = (tcp.last_send, tcp.last_receive)
    {
        let came = match tcp.bytes_received {
            0 => "nothing received yet".to_owned(),
            _ => format!("last receive {} ago", duration(received)),
        };
        let words = format!("last send {} ago, {came}", duration(sent));
        finding = finding.fact(Topic::Socket, words);
    }
    finding = match owed {
        Owed::Connection => finding,
        Owed::Handshake => finding.fact(
            Topic::Inferred,
            "handshake recognised by the functions on the stack",
        ),
        Owed::Answer => finding.fact(Topic::Inferred, "this side spoke last on the connection"),
    };
    if others > 0 {
        let verb = if others == 1 { "waits" } else { "wait" };
        let more = counted(others as u64, "more thread");
        let words = format!("{more} {verb} for an answer");
        finding = finding.fact(Topic::Threads, words);
    }
    finding.next = next(graph, waiting, socket);
    finding.about = vec![Subject::Thread(thread.tid)];
    finding
        .about
        .extend(socket.map(|it| Subject::Socket(it.inode)));
    finding.because_of = graph.chain(waiting.index).because_of(graph);
    finding.because_of.retain(|it| !finding.about.contains(it));
    finding
}

fn next(graph: &Graph<'_>, waiting: &Waiting<'_>, socket: Option<&Socket>) -> String {
    let place = graph.place(Node::Thread(waiting.index));
    let at = place
        .map(|place| format!(" at {place}"))
        .unwrap_or_default();
    let peer = socket.and_then(|it| it.peer_process.as_ref());
    match peer {
        Some(peer) if peer.pid != waiting.thread.pid => {
            format!("Run: remora triage --pid {}. Set a timeout{at}.", peer.pid)
        }
        _ => format!("Check that the peer is up and answers. Set a timeout{at}."),
    }
}

#[cfg(test)]
mod tests;
