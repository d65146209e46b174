//! `heartbeat_missed`: a thread or socket was silent for longer than its heartbeat allows.
//!
//! Nothing is guessed here: what has to move, and how often, is set by the user
//! (`--heartbeat thread=NAME,every=300s`, `--heartbeat socket=PORT,every=5s`). A thread moves when it runs, so one that is
//! woken every second only to look at the clock moves, too.

use super::{
    Findings, Scene,
    graph::Graph,
    waiting,
    words::{self, Headline},
};
use remora_model::display::text::{clean, count, counted, duration};
use remora_model::{
    Address, Finding, FindingKind, Process, Severity, SkipReason, Socket, State, Subject, Thread,
    Topic,
};
use std::time::Duration;

/// How many may be set.
pub const MAX_HEARTBEATS: usize = 64;

/// Bytes of a thread's name that the kernel keeps.
const COMM_BYTES: usize = 15;

/// What has to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pulse {
    /// Each thread of this name has to run.
    Thread(String),
    /// A connection with this port, at either end, has to receive.
    Port(u16),
    /// The connection of this descriptor has to receive.
    Descriptor(u32),
}

/// What has to move, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// What.
    pub pulse: Pulse,
    /// At least once in so long.
    pub every: Duration,
}

impl std::str::FromStr for Heartbeat {
    type Err = String;

    /// From `thread=NAME,every=300s`, `socket=PORT,every=5s` or `socket=fd:9,every=5s`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "\"{text}\" {why}: write thread=NAME,every=300s or socket=PORT,every=5s (socket=fd:9 for a descriptor)"
            )
        };
        // A thread's name may have a comma.
        let (pulse, every) = text
            .rsplit_once(",every=")
            .ok_or_else(|| wrong("does not say every="))?;
        let every = match every.parse::<f64>() {
            Ok(seconds) => Duration::try_from_secs_f64(seconds).ok(),
            Err(_) => humantime::parse_duration(every).ok(),
        };
        let every = every.filter(|every| {
            (Duration::from_millis(100)..=Duration::from_secs(7 * 24 * 3600)).contains(every)
        });
        let every = every.ok_or_else(|| wrong("wants a time from 100ms to 7d"))?;
        let pulse = match pulse.split_once('=') {
            Some(("thread", name)) if !name.is_empty() => Pulse::Thread(name.to_owned()),
            Some(("socket", place)) => match place.strip_prefix("fd:") {
                Some(fd) => fd.parse().map(Pulse::Descriptor),
                None => place.trim_start_matches(':').parse().map(Pulse::Port),
            }
            .map_err(|_| wrong("names neither a port nor fd:NUMBER"))?,
            _ => return Err(wrong("names neither a thread nor a socket")),
        };
        Ok(Self { pulse, every })
    }
}

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    for (index, heartbeat) in (0..).zip(scene.heartbeats) {
        let before = findings.found.len();
        match &heartbeat.pulse {
            Pulse::Thread(name) => threads(scene, name, heartbeat.every, findings),
            Pulse::Port(port) => {
                let is_it = |socket: &Socket| has_port(socket, *port);
                let name = format!("port {port}");
                sockets(scene, &name, is_it, heartbeat.every, findings);
            }
            Pulse::Descriptor(fd) => {
                let is_it = |socket: &Socket| socket.fd == *fd;
                sockets(scene, &format!("fd {fd}"), is_it, heartbeat.every, findings);
            }
        }
        // Two that are missed in one process are two findings, not one that is reported twice.
        for finding in findings.found.iter_mut().skip(before) {
            finding.about.push(Subject::Heartbeat(index));
        }
    }
}

fn threads(scene: &Scene<'_>, name: &str, every: Duration, findings: &mut Findings) {
    let mut graph = None;
    let cut = (0..=COMM_BYTES).rev().find(|at| name.is_char_boundary(*at));
    let kept = match name.len() > COMM_BYTES {
        true => name.get(..cut.unwrap_or(0)).unwrap_or(name),
        false => name,
    };
    let is_own =
        |(_, thread): &(usize, &Thread)| is_target(scene, thread.pid) && thread.comm == kept;
    let own = || scene.living().filter(is_own);
    for process in &scene.capture.processes {
        let still = own().filter(|(_, thread)| {
            let waits = matches!(thread.now.state, State::Blocked | State::Runnable);
            thread.pid == process.pid && waits && thread.now.since > every
        });
        let mut still: Vec<(usize, &Thread)> = still.collect();
        still.sort_by_key(|(_, thread)| (std::cmp::Reverse(thread.now.since), thread.tid));
        if let Some(&worst) = still.first() {
            findings.push(silent(
                graph.get_or_insert_with(|| Graph::of(scene)),
                worst,
                &still,
                every,
            ));
        }
    }
    if own().next().is_none()
        && let Some(process) = targets(scene).next()
    {
        let mut finding = scene.about_process(
            FindingKind::HeartbeatMissed,
            Severity::Critical,
            process.pid,
        );
        let name = clean(name);
        finding.summary = Headline {
            who: &scene.process_name(process.pid),
            what: &format!("has no thread {name} (limit {})", duration(every)),
            ..Headline::default()
        }
        .fitted();
        finding.about = vec![Subject::Process(process.pid)];
        finding = finding.fact(
            Topic::Threads,
            format!(
                "{} checked, none is called {name}",
                count(scene.living().count() as u64)
            ),
        );
        finding.next = format!("Check the code that starts {name} and its last exit in the log.");
        findings.push(finding);
    }
}

/// Heartbeats apply to target processes, not to related ones.
fn targets<'a>(scene: &Scene<'a>) -> impl Iterator<Item = &'a Process> {
    let all = scene.capture.processes.iter();
    all.filter(|process| process.is_target())
}

fn is_target(scene: &Scene<'_>, pid: u32) -> bool {
    scene.process(pid).is_some_and(Process::is_target)
}

fn silent(
    graph: &Graph<'_>,
    (index, thread): (usize, &Thread),
    all: &[(usize, &Thread)],
    every: Duration,
) -> Finding {
    let scene = graph.scene();
    let mut finding = scene.about_thread(FindingKind::HeartbeatMissed, Severity::Critical, thread);
    let since = thread.now.since;
    finding.since = Some(since);
    finding.since_at_least = thread.now.since_inferred;
    finding.summary = Headline {
        who: &words::thread(thread),
        of: &scene.process_name(thread.pid),
        what: &format!(
            "has not run for {} (limit {})",
            words::since(since, thread.now.since_inferred),
            duration(every)
        ),
        ..Headline::default()
    }
    .fitted();
    let threads = || all.iter().map(|(_, thread)| Subject::Thread(thread.tid));
    finding.about = threads().collect();
    // What blocks such a thread is a finding about it.
    finding.because_of = threads().chain([Subject::Process(thread.pid)]).collect();
    if thread.now.state == State::Blocked {
        let who = words::thread(thread);
        finding = waiting::evidence(graph, (index, thread), (&who, ""), finding);
    } else {
        finding = finding.fact(Topic::RunQueue, "runnable, without a CPU");
    }
    if all.len() > 1 {
        let more = counted(all.len() as u64 - 1, "more thread");
        let line = format!("{more} of this name missed it");
        finding = finding.fact(Topic::Threads, line);
    }
    if let Some(code) = scene.stack_now(thread).and_then(words::code) {
        finding = finding.fact(Topic::Where, code);
    }
    let place = scene.stack_now(thread).and_then(words::place);
    finding.next = format!(
        "Check the code that should wake {}{}.",
        words::thread(thread),
        words::at(place.as_deref())
    );
    finding
}

fn has_port(socket: &Socket, port: u16) -> bool {
    let of =
        |address: &Option<Address>| matches!(address, Some(Address::Inet(at)) if at.port() == port);
    of(&socket.local) || of(&socket.peer)
}

fn sockets(
    scene: &Scene<'_>,
    name: &str,
    is_it: impl Fn(&Socket) -> bool,
    every: Duration,
    findings: &mut Findings,
) {
    let sockets = scene.capture.sockets.iter();
    let declared: Vec<&Socket> = sockets
        .filter(|socket| {
            is_target(scene, socket.pid) && socket.open && socket.backlog.is_none() && is_it(socket)
        })
        .collect();
    let last = |socket: &Socket| socket.tcp.and_then(|tcp| tcp.last_receive);
    let heard: Vec<(Duration, &Socket)> = declared
        .iter()
        .filter_map(|socket| Some((last(socket)?, *socket)))
        .collect();
    if let Some((silence, socket)) = heard.iter().min_by_key(|(silence, _)| *silence) {
        if *silence > every {
            findings.push(unheard(scene, socket, *silence, every));
        }
    } else if !declared.is_empty() {
        let sockets = name.to_owned();
        findings.skip(
            FindingKind::HeartbeatMissed,
            SkipReason::NoReceiveTime { sockets },
        );
    } else if let Some(process) = targets(scene).next() {
        let mut finding = scene.about_process(
            FindingKind::HeartbeatMissed,
            Severity::Critical,
            process.pid,
        );
        finding.summary = Headline {
            who: &scene.process_name(process.pid),
            what: &format!(
                "has no TCP connection on {name} (limit {})",
                duration(every)
            ),
            ..Headline::default()
        }
        .fitted();
        finding.about = vec![Subject::Process(process.pid)];
        finding = finding.fact(
            Topic::Sockets,
            format!(
                "{} checked, none on {name}",
                count(scene.capture.sockets.len() as u64)
            ),
        );
        finding.next =
            format!("Check the code that connects to {name} and the last disconnect in its log.");
        findings.push(finding);
    }
}

fn unheard(scene: &Scene<'_>, socket: &Socket, silence: Duration, every: Duration) -> Finding {
    let mut finding =
        scene.about_process(FindingKind::HeartbeatMissed, Severity::Critical, socket.pid);
    finding.since = Some(silence);
    finding.summary = Headline {
        who: &scene.process_name(socket.pid),
        what: &format!(
            "has received nothing on fd {} for {} (limit {})",
            socket.fd,
            duration(silence),
            duration(every)
        ),
        ..Headline::default()
    }
    .fitted();
    finding.about = vec![Subject::Socket(socket.inode)];
    finding.because_of = vec![Subject::Socket(socket.inode), Subject::Process(socket.pid)];
    finding = finding.fact(
        Topic::Socket,
        format!(
            "{} ({})",
            words::socket(scene, socket),
            socket.state.label()
        ),
    );
    if let Some(peer) = &socket.peer_process {
        finding.because_of.push(Subject::Process(peer.pid));
        finding = finding.fact(Topic::Peer, format!("{} ({})", clean(&peer.comm), peer.pid));
    }
    finding.next = match &socket.peer_process {
        Some(peer) if scene.process(peer.pid).is_none() => {
            format!("Run: remora triage --pid {}.", peer.pid)
        }
        _ => "Check that the peer still sends and its host is reachable. Reconnect.".to_owned(),
    };
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Thresholds, judge_with};
    use proptest::prelude::*;
    use remora_model::{
        Reason, Tcp,
        fixture::{Builder, ms, socket},
    };

    #[test]
    fn what_is_declared_is_understood() {
        let heartbeat: Heartbeat = "thread=feed,x,every=300s".parse().unwrap();
        assert_eq!(heartbeat.pulse, Pulse::Thread("feed,x".into()));
        assert_eq!(heartbeat.every, Duration::from_secs(300));
        let pulse = |text: &str| text.parse::<Heartbeat>().map(|it| it.pulse);
        assert_eq!(pulse("socket=8080,every=5"), Ok(Pulse::Port(8080)));
        assert_eq!(pulse("socket=fd:9,every=5m"), Ok(Pulse::Descriptor(9)));
        for wrong in [
            "",
            "thread=x",
            "thread=,every=1s",
            "socket=http,every=1s",
            "socket=99999,every=1s",
            "cycle=a,every=1s",
            "thread=x,every=0",
            "thread=x,every=-1s",
            "thread=x,every=NaN",
        ] {
            assert!(pulse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_declared_thread_that_sleeps_too_long_or_is_not_there_is_told() {
        let mut capture = Builder::new(7, "feedd").finish();
        capture.threads[0].now.state = State::Blocked;
        capture.threads[0].now.reason = Some(Reason::Futex);
        capture.threads[0].now.since = ms(314_000);
        let found = |texts: &[&str]| {
            let declared: Vec<Heartbeat> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let judgement = judge_with(&capture, &Thresholds::default(), &declared);
            judgement
                .findings()
                .map(|it| it.summary.clone())
                .collect::<Vec<_>>()
        };
        assert!(found(&["thread=feedd,every=320s"]).is_empty());
        let missed = found(&["thread=feedd,every=300s"]);
        assert!(missed[0].contains("has not run for"), "{missed:?}");
        assert!(found(&["thread=other,every=300s"])[0].contains("has no thread other"));
        assert!(found(&[]).is_empty());
        capture.processes[0].related = Some("it is waited for".into());
        let declared = ["thread=feedd,every=300s".parse().unwrap()];
        let judgement = judge_with(&capture, &Thresholds::default(), &declared);
        assert_eq!(judgement.findings().count(), 0, "it is no target");
    }

    #[test]
    fn of_two_heartbeats_for_one_process_each_is_reported() {
        let capture = Builder::new(7, "feedd").finish();
        let found = |texts: &[&str]| {
            let set: Vec<Heartbeat> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let judgement = judge_with(&capture, &Thresholds::default(), &set);
            judgement.findings().count()
        };
        assert_eq!(found(&["thread=a,every=1s", "thread=b,every=1s"]), 2);
        assert_eq!(found(&["socket=80,every=1s", "socket=fd:9,every=1s"]), 2);
        assert_eq!(found(&["thread=a,every=1s", "socket=80,every=1s"]), 2);
    }

    #[test]
    fn a_declared_connection_that_is_silent_too_long_is_told() {
        let mut capture = Builder::new(7, "feedd").finish();
        let mut silent = socket(7, 9);
        silent.peer = Some(Address::Inet("10.0.0.2:8080".parse().unwrap()));
        silent.tcp = Some(Tcp {
            last_receive: Some(ms(6_000)),
            ..Tcp::default()
        });
        capture.sockets.push(silent);
        let found = |text: &str| {
            let judgement = judge_with(&capture, &Thresholds::default(), &[text.parse().unwrap()]);
            judgement.findings().count()
        };
        assert_eq!(
            (found("socket=8080,every=5s"), found("socket=8080,every=7s")),
            (1, 0)
        );
        assert_eq!(
            (
                found("socket=fd:9,every=5s"),
                found("socket=fd:10,every=7s")
            ),
            (1, 1)
        );
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "(thread|socket|every|=|,|fd:|[0-9a-z]{0,3}){0,12}") {
            let _ = text.parse::<Heartbeat>();
        }
    }
}
