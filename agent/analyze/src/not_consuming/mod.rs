//! `not_consuming`: something waits in a receive queue or a backlog, and nobody has taken any of it for
//! longer than the threshold.
//!
//! Healthy programs have unread bytes, too. What tells them apart, in the order in which it is asked:
//!
//! * data under way: they are gone in the next sample. Here nothing was read in the **whole look**;
//! * a slow consumer, a bounded queue: each read counts, however little is read. What the look does not cover
//!   is known from the connection itself (TCP: the last byte came so long ago, so the unread ones have been
//!   there for longer) or from the threads (none of them has run for so long);
//! * idle connections in a pool, on which the server said something that nobody waits for (a session ticket,
//!   a notice): few bytes, from another host, in no epoll set, on a connection that this process made. These
//!   are left alone, as are pairs by which a loop wakes itself, and connections that the peer has closed
//!   (`close_wait` speaks of these);
//! * a master that opened a listening socket for its workers: it accepts nothing itself, they are asked.

mod why;

#[cfg(test)]
mod tests;

use super::connections::{Servers, has_local_peer, is_own_pair};
use super::readers::{LoopThread, Readers, wait};
use super::{
    Findings, Scene, tasks,
    words::{self, Headline},
};
use remora_model::display::text::{clean, count, counted, duration, queue_bytes};
use remora_model::{
    AwaitKind, Confidence, Family, Finding, FindingKind, Reason, Severity, Socket, SocketState,
    Subject, Topic,
};
use std::collections::BTreeMap;
use std::time::Duration;
use why::Why;

/// Sockets that are shown one by one.
const SHOWN: usize = 3;

/// A queue of this length is more than a notice that nobody waits for, in bytes.
const MUCH: u32 = 65_536;

/// A pair by which a process talks to itself may hold this much: wake-ups of a loop, in bytes.
const WAKE_UPS: u32 = 4096;

/// What a task may wait for that would go on when reading did.
const PAUSED: [AwaitKind; 8] = [
    AwaitKind::Stream,
    AwaitKind::Socket,
    AwaitKind::Future,
    AwaitKind::Event,
    AwaitKind::Condition,
    AwaitKind::Queue,
    AwaitKind::Lock,
    AwaitKind::Semaphore,
];

/// A socket that is not read.
struct Stuck<'a> {
    socket: &'a Socket,
    why: Why<'a>,
    thread: Option<LoopThread<'a>>,
    /// What waits there has waited for so long at least.
    age: Duration,
    /// Nobody has read for so long at least.
    quiet: Duration,
    confidence: Confidence,
}

impl Stuck<'_> {
    fn since(&self, scene: &Scene<'_>) -> Duration {
        match self.quiet >= scene.thresholds.not_consuming {
            true => self.quiet,
            false => self.age,
        }
    }
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let servers = Servers::of(scene.capture);
    for process in &scene.capture.processes {
        let own = scene.sockets_that_matter(process);
        let mut unread = own
            .filter(|socket| holds_something(scene, socket) && !is_for_workers(scene, socket))
            .peekable();
        if unread.peek().is_none() {
            continue;
        }
        let readers = Readers::of(scene, process.pid);
        let mut groups: BTreeMap<(bool, u8, u32), Vec<Stuck<'_>>> = BTreeMap::new();
        for stuck in unread.filter_map(|socket| stuck(scene, &readers, &servers, socket)) {
            let (kind, number) = stuck.why.key();
            let key = (stuck.socket.state == SocketState::Listen, kind, number);
            groups.entry(key).or_default().push(stuck);
        }
        for mut group in groups.into_values() {
            group.sort_by_key(|it| (std::cmp::Reverse(it.since(scene)), it.socket.fd));
            findings.found.extend(finding(scene, &readers, &group));
        }
    }
}

/// Something is in its queue now and was in every sample, nothing was read in the whole look, and somebody
/// may still want it.
fn holds_something(scene: &Scene<'_>, socket: &Socket) -> bool {
    let threshold = scene.thresholds.not_consuming;
    let look = scene.whole_look(socket, threshold);
    let waits = match &socket.backlog {
        Some(backlog) => backlog.now > 0,
        None => socket.receive.min > 0 && socket.oldest_unread.is_some(),
    };
    let kind = matches!(
        (socket.family, socket.kind.name()),
        (
            Family::Unix | Family::Ipv4 | Family::Ipv6 | Family::Vsock,
            "stream" | "dgram" | "seqpacket"
        )
    );
    socket.open
        && waits
        && kind
        && !socket.receive_shut
        && matches!(
            socket.state,
            SocketState::Established | SocketState::Unconnected | SocketState::Listen
        )
        && socket.not_read_for >= look
        && socket.samples > 1
}

/// A listening socket that a child of the process has open, too.
fn is_for_workers(scene: &Scene<'_>, socket: &Socket) -> bool {
    let children = || {
        let family = scene
            .capture
            .families
            .iter()
            .find(|it| it.pid == socket.pid);
        let before = family.into_iter().flat_map(|it| &it.children);
        let before = before.map(|child| child.pid);
        let born = scene.capture.processes.iter();
        let born = born.filter(|it| it.parent == Some(socket.pid));
        before.chain(born.map(|it| it.pid))
    };
    let has_it = |pid: u32| {
        let mut own = scene.sockets_of(pid);
        own.any(|it| it.open && it.inode == socket.inode)
    };
    socket.state == SocketState::Listen && children().any(has_it)
}

fn stuck<'a>(
    scene: &Scene<'_>,
    readers: &Readers<'a>,
    servers: &Servers,
    socket: &'a Socket,
) -> Option<Stuck<'a>> {
    let threshold = scene.thresholds.not_consuming;
    let reads = [
        Reason::SocketReceive,
        Reason::SocketAccept,
        Reason::FileRead,
        Reason::DeviceRead,
    ];
    if readers.waits_on(socket.fd, &reads).is_some() {
        // It waits for more than is there: a whole message of a known length.
        return None;
    }
    let (why, thread) = Why::of(scene, readers, socket);
    if !is_wanted(&why, servers, socket) {
        return None;
    }
    let age = socket.oldest_unread.map_or(socket.not_read_for, |unread| {
        // What was there in every sample, while nothing was read, has been there since the first.
        let seen = socket.not_read_for;
        if unread.inferred {
            seen
        } else {
            unread.min.max(seen)
        }
    });
    let (asleep, away) = (readers.asleep_for(), why.away_for(scene));
    let quiet = socket.not_read_for.max(asleep).max(away);
    if age < threshold && quiet < threshold {
        return None;
    }
    let proven = socket.not_read_for.max(asleep) >= threshold;
    let confidence = match proven || (away >= threshold && readers.count() == 1) {
        true => why.confidence(),
        false => Confidence::Inferred,
    };
    Some(Stuck {
        socket,
        why,
        thread,
        age,
        quiet,
        confidence,
    })
}

/// Whether it is more than a notice on an idle connection that nobody waits for.
fn is_wanted(why: &Why<'_>, servers: &Servers, socket: &Socket) -> bool {
    let queue = socket.receive.last;
    if socket.state == SocketState::Listen {
        return true;
    }
    if is_own_pair(socket) {
        return queue > WAKE_UPS;
    }
    let asked = why.is_watched() && !matches!(why, Why::Missed(_));
    asked
        || has_local_peer(socket)
        || servers.accepted(socket)
        || socket.receive.growth() > 0
        || queue >= MUCH
        || queue >= socket.receive_limit / 2
}

fn finding(scene: &Scene<'_>, readers: &Readers<'_>, group: &[Stuck<'_>]) -> Option<Finding> {
    let worst = group.first()?;
    let (socket, why) = (worst.socket, &worst.why);
    let kind = FindingKind::NotConsuming;
    let mut finding = match worst.thread {
        Some(it) => scene.about_thread(kind, Severity::Critical, it.thread),
        None => scene.about_process(kind, Severity::Critical, socket.pid),
    };
    finding.since = Some(worst.since(scene));
    finding.since_at_least = true;
    finding.confidence = worst.confidence;
    finding.summary = summary(scene, worst, group.len());
    for stuck in group.iter().take(SHOWN) {
        finding = finding.fact(Topic::Queue, queue(scene, stuck));
    }
    let others = group.len().saturating_sub(SHOWN);
    if others > 0 {
        let more = counted(others as u64, "more socket");
        finding = finding.fact(Topic::Sockets, format!("{more} for the same reason"));
    }
    let reason = why.words(scene, readers, worst.thread, socket);
    finding = finding.fact(Topic::Reason, reason);
    if matches!(why, Why::Elsewhere(_, it) if it.inferred) {
        finding = finding.fact(Topic::Inferred, "loop thread identified by its stack");
    }
    if let Some(line) = waits(scene, socket) {
        finding = finding.fact(Topic::PeerWaits, line);
    }
    let stack = worst.thread.and_then(|it| scene.stack_now(it.thread));
    if let Some(code) = stack.and_then(words::code) {
        finding = finding.fact(Topic::Where, code);
    } else if worst.thread.is_none() {
        for line in instead(scene, readers) {
            finding = finding.fact(Topic::Where, line);
        }
    }
    if matches!(why, Why::NotWatched | Why::NotAskedFor(_)) {
        for line in tasks::waiting(scene, socket.pid, |it| PAUSED.contains(&it.kind)) {
            finding = finding.fact(Topic::Task, line);
        }
    }
    if worst.quiet < scene.thresholds.not_consuming {
        let line = format!(
            "no read in {}; earlier reads are unknown, but the data is older",
            duration(socket.not_read_for)
        );
        finding = finding.fact(Topic::Inferred, line);
    }
    let place = stack.and_then(words::place);
    finding.next = why.next(scene, readers, socket, place.as_deref());
    finding.about = group
        .iter()
        .map(|it| Subject::Socket(it.socket.inode))
        .collect();
    if let Why::Elsewhere(_, thread) = why {
        finding.because_of = vec![Subject::Thread(thread.thread.tid)];
    } else if let Why::Nobody(watch) = why {
        let own = readers.of_process(watch.pid);
        let threads = own.at_work().map(|(_, thread)| Subject::Thread(thread.tid));
        finding.because_of = threads.collect();
    } else if let (Why::NotWatched, Some(it)) = (why, worst.thread) {
        finding.because_of = vec![Subject::Thread(it.thread.tid)];
    } else if matches!(why, Why::NoReader) {
        let threads = readers.busy().map(|thread| Subject::Thread(thread.tid));
        finding.because_of = threads.collect();
    }
    Some(finding)
}

/// Where the threads are that do not read, one line for each place in the code.
fn instead(scene: &Scene<'_>, readers: &Readers<'_>) -> Vec<String> {
    let mut places: Vec<(String, &str, u64)> = Vec::new();
    let named: Vec<_> = readers
        .busy()
        .filter_map(|thread| {
            let code = words::code(scene.stack_now(thread)?)?;
            Some((words::thread(thread), code))
        })
        .collect();
    for (thread, code) in &named {
        match places.iter_mut().find(|(_, known, _)| known == code) {
            Some((_, _, more)) => *more += 1,
            None => places.push((thread.clone(), code, 0)),
        }
    }
    let line = |(thread, code, more): &(String, &str, u64)| match more {
        0 => format!("{thread}: {code}"),
        more => format!("{thread} and {}: {code}", counted(*more, "more thread")),
    };
    places.iter().take(SHOWN).map(line).collect()
}

fn summary(scene: &Scene<'_>, worst: &Stuck<'_>, number: usize) -> String {
    let socket = worst.socket;
    let since = words::since(worst.since(scene), true);
    let is_quiet = worst.quiet >= scene.thresholds.not_consuming;
    let fd = format!("fd {}", socket.fd);
    let (what, detail) = match (&socket.backlog, number) {
        (Some(backlog), _) => {
            let on = socket.local.as_ref().map_or(fd, ToString::to_string);
            let backlog = format!("backlog {}", count(backlog.now.into()));
            match is_quiet {
                true => (
                    format!("has accepted no connection on {on} for {since}"),
                    backlog,
                ),
                false => (
                    format!("has a connection waiting on {on} for {since}"),
                    backlog,
                ),
            }
        }
        (None, several @ 2..) => {
            let sockets = counted(several as u64, "socket");
            match is_quiet {
                true => (
                    format!("has read nothing from {sockets} for {since}"),
                    String::new(),
                ),
                false => (
                    format!("has unread data on {sockets} for {since}"),
                    String::new(),
                ),
            }
        }
        (None, _) => {
            let peer = socket.peer_process.as_ref();
            let peer = peer.filter(|peer| peer.pid != socket.pid);
            let peer = peer.map_or_else(String::new, |peer| {
                format!("sent by {} ({})", peer.comm, peer.pid)
            });
            match is_quiet {
                true => (format!("has read nothing from {fd} for {since}"), peer),
                false => (format!("has unread data on {fd} for {since}"), peer),
            }
        }
    };
    let headline = Headline {
        who: &scene.process_name(socket.pid),
        what: &what,
        detail: &detail,
        ..Headline::default()
    };
    headline.fitted()
}

/// `fd 4 tcp 10.0.0.1:80, peer feedd (77): 174.7 KiB, oldest ≥ 45.1 s, no read ≥ 3.0 s`.
fn queue(scene: &Scene<'_>, stuck: &Stuck<'_>) -> String {
    let socket = stuck.socket;
    let head = words::socket(scene, socket);
    let (age, quiet) = (
        words::since(stuck.age, true),
        words::since(stuck.quiet, true),
    );
    if let Some(backlog) = &socket.backlog {
        let full = match backlog.now >= backlog.limit {
            true => " (full, new connections are refused)",
            false => "",
        };
        return format!(
            "{head}: backlog {} of {}{full}, oldest {age}, no accept {quiet}",
            count(backlog.now.into()),
            count(backlog.limit.into()),
        );
    }
    let least = if socket.receive_is_lower_bound {
        "≥ "
    } else {
        ""
    };
    let grows = match socket.receive.growth() {
        grown if grown > 0 => format!(" (+{})", queue_bytes(grown.unsigned_abs())),
        _ => String::new(),
    };
    format!(
        "{head}: {least}{}{grows}, oldest {age}, no read {quiet}",
        queue_bytes(socket.receive.last.into()),
    )
}

/// Who on this host waits for the answer.
fn waits(scene: &Scene<'_>, socket: &Socket) -> Option<String> {
    let peer = socket.peer_process.as_ref()?;
    if peer.pid == socket.pid || socket.state == SocketState::Listen {
        return None;
    }
    let name = clean(&peer.comm).into_owned();
    let readers = Readers::of(scene, peer.pid);
    let reasons = [Reason::SocketReceive, Reason::FileRead, Reason::SocketSend];
    if let Some(thread) = readers.waits_on(peer.fd, &reasons) {
        return Some(format!(
            "{} of {name} ({}) waits on its fd {} for {}",
            words::thread(thread),
            peer.pid,
            peer.fd,
            words::since(wait(thread), thread.now.since_inferred),
        ));
    }
    Some(format!("{name} ({}), fd {}, this host", peer.pid, peer.fd))
}
