//! What all analyzers look at: the capture, with an index of what they ask it for.

use super::event_loops::{Places, framework};
use super::{Heartbeat, Thresholds, connections::Servers};
use remora_model::display::text::clean;
use remora_model::places::{self, Reading};
use remora_model::{
    Capture, Finding, FindingKind, IdlePlaces, JavaWait, Process, Socket, Stack, State, Thread,
};
use remora_model::{Confidence, HookState, PollCount, Severity, SignalId, ThreadLoop};
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The last sample is a little before the end.
const WHOLE: f64 = 0.8;

/// What was seen for a shorter time says nothing.
const LEAST_LOOK: Duration = Duration::from_secs(1);

/// A capture under examination.
pub struct Scene<'a> {
    /// What was seen.
    pub capture: &'a Capture,
    /// From where on something is wrong.
    pub thresholds: &'a Thresholds,
    /// What was declared to move.
    pub heartbeats: &'a [Heartbeat],
    idle: IdlePlaces<'a>,
    threads: HashMap<u32, usize>,
    processes: HashMap<u32, &'a Process>,
    loops: HashMap<usize, &'a ThreadLoop>,
    polls: HashMap<usize, PollCount>,
    java_waits: HashMap<u32, &'a JavaWait>,
    sockets: HashMap<(u32, u32), &'a Socket>,
    sockets_by_process: HashMap<u32, Vec<&'a Socket>>,
    readings: Vec<OnceCell<Reading>>,
    servers: OnceCell<Servers>,
    places: OnceCell<Places>,
    loop_threads: OnceCell<HashSet<usize>>,
}

impl<'a> Scene<'a> {
    /// Indexes a capture.
    pub fn new(capture: &'a Capture, thresholds: &'a Thresholds) -> Self {
        let living = capture.threads.iter().enumerate();
        let living = living.filter(|(_, thread)| thread.now.state != State::Exited);
        let open = capture.sockets.iter().filter(|socket| socket.open);
        let mut sockets_by_process: HashMap<u32, Vec<&Socket>> = HashMap::new();
        for socket in open.clone() {
            sockets_by_process
                .entry(socket.pid)
                .or_default()
                .push(socket);
        }
        Self {
            capture,
            thresholds,
            heartbeats: &[],
            idle: IdlePlaces::new(capture),
            threads: living.map(|(index, thread)| (thread.tid, index)).collect(),
            processes: capture.processes.iter().map(|p| (p.pid, p)).collect(),
            loops: capture.loops.iter().map(|l| (l.thread, l)).collect(),
            polls: capture.polls.iter().copied().collect(),
            java_waits: capture.java_waits.iter().map(|w| (w.tid, w)).collect(),
            sockets: open
                .map(|socket| ((socket.pid, socket.fd), socket))
                .collect(),
            sockets_by_process,
            readings: vec![OnceCell::new(); capture.stacks.len()],
            servers: OnceCell::new(),
            places: OnceCell::new(),
            loop_threads: OnceCell::new(),
        }
    }

    /// Threads that were alive at the end, with their index.
    pub fn living(&self) -> impl Iterator<Item = (usize, &'a Thread)> {
        let threads = self.capture.threads.iter().enumerate();
        threads.filter(|(_, thread)| thread.now.state != State::Exited)
    }

    /// A living thread by its id, with its index.
    pub fn thread(&self, tid: u32) -> Option<(usize, &'a Thread)> {
        let index = *self.threads.get(&tid)?;
        Some((index, self.capture.threads.get(index)?))
    }

    /// A target process.
    pub fn process(&self, pid: u32) -> Option<&'a Process> {
        self.processes.get(&pid).copied()
    }

    /// The event loop of a thread, by its index.
    pub fn event_loop(&self, thread: usize) -> Option<&'a ThreadLoop> {
        self.loops.get(&thread).copied()
    }

    /// The polls of a thread, by its index, where they were counted.
    pub fn polls(&self, thread: usize) -> Option<PollCount> {
        self.polls.get(&thread).copied()
    }

    /// What a thread of a Java program, by its id, waits for.
    pub fn java_wait(&self, tid: u32) -> Option<&'a JavaWait> {
        self.java_waits.get(&tid).copied()
    }

    /// Whether each poll is seen, not only those that sleep.
    pub fn sees_each_poll(&self) -> bool {
        let mut signals = self.capture.signals.iter();
        signals.any(|it| it.id == SignalId::EventLoops && it.state == HookState::On)
    }

    /// A socket that was open at the end.
    pub fn socket(&self, pid: u32, fd: u32) -> Option<&'a Socket> {
        self.sockets.get(&(pid, fd)).copied()
    }

    /// The sockets of a process that were open at the end.
    pub fn sockets_of(&self, pid: u32) -> impl Iterator<Item = &'a Socket> {
        let own = self.sockets_by_process.get(&pid).into_iter().flatten();
        own.copied()
    }

    /// Whether a client made a connection.
    pub fn is_accepted(&self, socket: &Socket) -> bool {
        let servers = self.servers.get_or_init(|| Servers::of(self.capture));
        servers.accepted(socket)
    }

    /// Where each thread was, by its samples and waits.
    pub(crate) fn places(&self) -> &Places {
        self.places.get_or_init(|| Places::new(self))
    }

    /// Whether the function of an event loop stands in a stack of a thread, by its index: where it is now, or was in a
    /// sample or a wait.
    pub(crate) fn shows_loop(&self, thread: usize) -> bool {
        let all = self.loop_threads.get_or_init(|| {
            let stacks = self.capture.stacks.iter();
            let is_loop: Vec<bool> = stacks.map(|stack| framework(stack).is_some()).collect();
            let shows = |at: usize| is_loop.get(at).copied().unwrap_or(false);
            let threads = self.living().filter(|(index, thread)| {
                let mut places = self.places().of(*index).iter();
                thread.now.stack.is_some_and(shows) || places.any(|it| shows(it.stack))
            });
            threads.map(|(index, _)| index).collect()
        });
        all.contains(&thread)
    }

    /// How long something must have stood still in a socket to have done so in the whole look: nearly as long
    /// as the socket was looked at, a second at least, and `threshold` at the most.
    pub fn whole_look(&self, socket: &Socket, threshold: Duration) -> Duration {
        let looked = self.capture.duration.saturating_sub(socket.first_seen);
        looked.mul_f64(WHOLE).max(LEAST_LOOK).min(threshold)
    }

    /// Those of them that say something of a target: of a process that was looked at for another's sake only
    /// those that lead to a target.
    pub fn sockets_that_matter(&self, process: &Process) -> impl Iterator<Item = &'a Socket> {
        let own = process.is_target();
        self.sockets_of(process.pid).filter(move |socket| {
            let peer = socket.peer_process.as_ref();
            own || peer
                .and_then(|peer| self.process(peer.pid))
                .is_some_and(Process::is_target)
        })
    }

    /// Whether what a thread does now is its normal idle.
    pub fn is_idle_now(&self, thread: usize) -> bool {
        self.idle.now_is_idle(thread)
    }

    /// Where a thread is now, if its stack was taken.
    pub fn stack_now(&self, thread: &Thread) -> Option<&'a Stack> {
        self.capture.stacks.get(thread.now.stack?)
    }

    /// What the stack of a thread says of its wait. Of a stack that was not taken nothing is known.
    pub fn reading_now(&self, thread: &Thread) -> Reading {
        let read = |at: usize| {
            let (stack, known) = (self.capture.stacks.get(at)?, self.readings.get(at)?);
            Some(known.get_or_init(|| places::read(stack)).clone())
        };
        thread.now.stack.and_then(read).unwrap_or(Reading {
            gaps: true,
            ..Reading::default()
        })
    }

    /// `feedd (4711)`.
    pub fn process_name(&self, pid: u32) -> String {
        match self.process(pid) {
            Some(process) => format!("{} ({pid})", clean(&process.comm)),
            None => format!("process {pid}"),
        }
    }

    /// A finding about a process as a whole, to be filled in.
    pub fn about_process(&self, kind: FindingKind, severity: Severity, pid: u32) -> Finding {
        let comm = self.process(pid).map(|process| process.comm.clone());
        Finding {
            kind,
            severity,
            confidence: Confidence::Certain,
            pid,
            tid: None,
            thread: comm.unwrap_or_default(),
            since: None,
            since_at_least: false,
            summary: String::new(),
            evidence: Vec::new(),
            next: String::new(),
            about: Vec::new(),
            because_of: Vec::new(),
        }
    }

    /// A finding about a thread, to be filled in.
    pub fn about_thread(&self, kind: FindingKind, severity: Severity, thread: &Thread) -> Finding {
        Finding {
            tid: Some(thread.tid),
            thread: thread.comm.clone(),
            ..self.about_process(kind, severity, thread.pid)
        }
    }
}
