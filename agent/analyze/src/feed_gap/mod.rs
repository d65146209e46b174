//! `feed_gap`: a connection on which data used to come of themselves has been silent for many of its own
//! intervals.
//!
//! Nearly every connection is silent most of the time, so this asks for much before it speaks, and says
//! *inferred*. What tells a feed from a quiet connection:
//!
//! * a feed talks, and is hardly talked to: segments with data came in ten times as often as they went out. A
//!   request and its answer are one and one;
//! * an answer of many segments (a download, a stream of tokens) is asked for. A feed goes on long after the
//!   last word from this side (`feed-life`); or this side said something since the last data came, such as a
//!   ping, and has waited for the answer for several of its own intervals;
//! * or it was never asked for anything: this side made the connection, has said nothing on it, and was seen to be fed
//!   for a while (`Habit`). A client that pushes its log to this side does the same in bursts: accepted
//!   connections are not judged by that;
//! * the interval is an upper bound. Where as many intervals were seen in the capture as have to be missed, and no pause
//!   between them was nearly as long as the silence, the capture tells it, however short that was. Else the life of the
//!   whole process by the segments that came: so a young connection of an old process is not judged after the fact.

#[cfg(test)]
mod tests;

use crate::{
    Findings, Scene,
    words::{self, Headline},
};
use remora_model::display::text::{bytes, clean, count, counted, duration, queue_bytes};
use remora_model::{
    Confidence, Finding, FindingKind, Severity, Socket, SocketState, Subject, Tcp, Topic,
};
use std::time::Duration;

/// Segments that make a habit.
const SEGMENTS: u32 = 100;
/// A feed's segments come so many times as often as they go.
const ONE_WAY: u32 = 10;
/// Samples that must have seen new segments, for what came between two of them is a burst.
const SAMPLES: u32 = 2;
/// So many times as long as the longest pause before it a silence has to be.
const PAUSES: u32 = 10;
/// The age of a process is read before the capture begins: by less than this.
const BEFORE: Duration = Duration::from_secs(10);
/// Silence in intervals of what this side sends, where the peer owes an answer.
const OWED: f64 = 3.0;

/// A feed that fell silent.
struct Gap<'a> {
    socket: &'a Socket,
    tcp: Tcp,
    silence: Duration,
    habit: Habit,
    /// This side spoke last, so long ago.
    asked: Option<Duration>,
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let targets = scene.capture.processes.iter();
    for process in targets.filter(|process| process.is_target()) {
        let gaps = scene.sockets_of(process.pid);
        let mut gaps: Vec<_> = gaps.filter_map(|socket| gap(scene, socket)).collect();
        gaps.sort_by_key(|gap| (std::cmp::Reverse(gap.silence), gap.socket.fd));
        let found = gaps.iter().map(|gap| finding(scene, gap));
        findings.found.extend(found);
    }
}

fn gap<'a>(scene: &Scene<'_>, socket: &'a Socket) -> Option<Gap<'a>> {
    let tcp = socket
        .tcp
        .filter(|_| socket.open && socket.state == SocketState::Established)?;
    let (silence, last_send) = (tcp.last_receive?, tcp.last_send?);
    let sent = tcp.segments_out.max(1);
    let one_way = tcp.segments_in / ONE_WAY >= sent;
    if !one_way || socket.receive.last > 0 || silence < scene.thresholds.feed_gap {
        return None;
    }
    let habit = habit(scene, socket, &tcp, silence)?;
    let owed = habit.life.as_secs_f64() * OWED / f64::from(sent);
    let pushed = last_send.saturating_sub(silence) >= scene.thresholds.feed_life;
    let asked = last_send >= scene.thresholds.feed_gap
        && last_send < silence
        && silence.as_secs_f64() >= owed;
    let unasked = habit.seen && tcp.segments_out == 0 && !scene.is_accepted(socket);
    let long =
        silence.as_secs_f64() >= scene.thresholds.feed_gap_intervals * habit.interval.as_secs_f64();
    ((pushed || asked || unasked) && long).then_some(Gap {
        socket,
        tcp,
        silence,
        habit,
        asked: (tcp.segments_out > 0 && last_send < silence).then_some(last_send),
    })
}

/// How often data came before the silence.
#[derive(Clone, Copy, Debug)]
struct Habit {
    /// The mean interval between segments, at most.
    interval: Duration,
    /// Over which time.
    life: Duration,
    /// It was seen in the capture.
    seen: bool,
}

fn habit(scene: &Scene<'_>, socket: &Socket, tcp: &Tcp, silence: Duration) -> Option<Habit> {
    let watched = socket.seen_for().saturating_sub(silence);
    let steady =
        tcp.samples_with_data >= SAMPLES && silence >= tcp.longest_pause.saturating_mul(PAUSES);
    if steady && tcp.segments_in_capture as f64 >= scene.thresholds.feed_gap_intervals {
        let segments = u32::try_from(tcp.segments_in_capture).unwrap_or(u32::MAX);
        return Some(Habit {
            interval: watched / segments.max(1),
            life: watched,
            seen: true,
        });
    }
    if tcp.segments_in < SEGMENTS {
        return None;
    }
    let kin = scene
        .capture
        .families
        .iter()
        .find(|kin| kin.pid == socket.pid)?;
    let life = kin
        .age
        .saturating_add(scene.capture.duration)
        .saturating_add(BEFORE)
        .saturating_sub(silence);
    Some(Habit {
        interval: life / tcp.segments_in.max(1),
        life,
        seen: false,
    })
}

fn finding(scene: &Scene<'_>, gap: &Gap<'_>) -> Finding {
    let socket = gap.socket;
    let mut finding = scene.about_process(FindingKind::FeedGap, Severity::Warning, socket.pid);
    finding.confidence = Confidence::Inferred;
    finding.since = Some(gap.silence);
    let from = match (&socket.peer_process, &socket.peer) {
        (Some(peer), _) => format!("{} ({})", peer.comm, peer.pid),
        (None, Some(peer)) => peer.to_string(),
        (None, None) => "its peer".to_owned(),
    };
    finding.summary = Headline {
        who: &scene.process_name(socket.pid),
        what: &format!(
            "received no data from {} for {}, usual interval ≤ {}",
            clean(&from),
            duration(gap.silence),
            duration(gap.habit.interval)
        ),
        ..Headline::default()
    }
    .fitted();
    let intervals = gap.silence.as_secs_f64() / gap.habit.interval.as_secs_f64().max(1e-9);
    let feed = format!(
        "{}: {} received, {} sent, {} in total; silent for {} intervals",
        words::socket(scene, socket),
        counted(gap.tcp.segments_in.into(), "segment"),
        count(gap.tcp.segments_out.into()),
        bytes(gap.tcp.bytes_received),
        count(intervals.min(1e15) as u64),
    );
    finding = finding.fact(Topic::Socket, state(gap));
    finding = finding.fact(Topic::Reader, reader(socket));
    finding = finding.fact(Topic::Feed, feed);
    let why = match gap.habit.seen {
        true => format!(
            "a feed by its {} in this capture, longest pause seen {}",
            counted(gap.tcp.segments_in_capture, "segment"),
            duration(gap.tcp.longest_pause)
        ),
        false => "a feed by its segments; the interval is the mean over the life of the process"
            .to_owned(),
    };
    finding = finding.fact(Topic::Inferred, why);
    finding.next = match gap.socket.send.last > 0 {
        true => "Check firewall, NAT and peer host. Reconnect.".to_owned(),
        false => format!(
            "Check that {} still sends and the subscription is active. Reconnect.",
            clean(&from)
        ),
    };
    finding.about = vec![Subject::Socket(socket.inode)];
    if let Some(peer) = &socket.peer_process {
        finding.because_of = vec![Subject::Process(peer.pid), Subject::Socket(peer.inode)];
    }
    finding
}

/// Whether the peer is still there, as far as the connection knows.
fn state(gap: &Gap<'_>) -> String {
    let acked = gap.tcp.last_ack.map(duration).unwrap_or_default();
    match (gap.socket.send.last, gap.asked) {
        (0, Some(asked)) => format!(
            "peer ACKed our last send {} ago, application silent",
            duration(asked)
        ),
        (0, None) => {
            format!("last ACK {acked} ago, nothing sent since: silent or half-open, unknown")
        }
        (unacknowledged, _) => format!(
            "half-open: {} unacknowledged, {}, last ACK {acked} ago",
            queue_bytes(unacknowledged.into()),
            counted(gap.tcp.retransmits.into(), "retransmit"),
        ),
    }
}

fn reader(socket: &Socket) -> String {
    match socket.watched_by.iter().find(|watch| watch.reads()) {
        Some(watch) => format!(
            "receive queue empty, watched by epoll fd {}",
            watch.epoll_fd
        ),
        None => "receive queue empty".to_owned(),
    }
}
