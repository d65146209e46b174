//! The sockets of the targets: sampled a few times a second on a thread of their own, tracked from sample
//! to sample, and at the end joined with the event loops that watch them and with their peers.
//!
//! | module | what |
//! | --- | --- |
//! | `entry` | one descriptor over its samples |
//! | `tracker` | all of them; what came, went, and was used again |
//! | `age` | how long the oldest unread byte has been waiting |
//! | `epoll` | interest sets of event loops |
//! | `peers` | who is at the other end |

mod age;
mod entry;
mod epoll;
mod peers;
mod tracker;

use epoll::Loops;
pub(crate) use epoll::count_instances;
use remora_common::thread::ThreadSlot;
use remora_model::timeline::SocketWindow;
use remora_model::{AgentLoss, Socket, SocketCounts};
use remora_probe::{SocketProbe, records};
use remora_process::deadline::{self, Step, Subject};
use rustix::{
    process::{Pid, test_kill_process},
    time::{ClockId, clock_getres, clock_gettime},
};
use std::{
    collections::BTreeSet,
    future::pending,
    io,
    time::{Duration, Instant},
};
use tokio::{
    sync::oneshot,
    time::{sleep_until, timeout},
};
use tracker::Tracker;

/// A pass that took no longer the last time is made without a thread of its own.
const AT_ONCE: Duration = Duration::from_millis(1);

/// A sample may take one part in so many of the time: where samples are slow, they are fewer.
const PART: u32 = 20;

/// Time for finding who is at the other end, once, after the capture.
const PEERS_TIME: Duration = Duration::from_secs(1);

/// Time for a look at the peers of senders that seem stuck, once, at the beginning.
const FIRST_PEERS_TIME: Duration = Duration::from_millis(200);

/// A pass that ended.
pub(crate) struct Passed {
    probe: SocketProbe,
    output: Vec<u8>,
    result: io::Result<()>,
    took: Duration,
    /// The part of that on a CPU.
    on_cpu: Duration,
}

/// What the sampling does at the moment.
enum Work {
    /// Nothing, for good.
    Off,
    /// It waits for its time.
    Idle(SocketProbe, Vec<u8>),
    /// A pass is under way, on another thread.
    Running(oneshot::Receiver<Passed>),
}

/// The sampling of sockets, and what came of it so far.
pub(crate) struct Sockets {
    work: Work,
    period: Duration,
    due: Instant,
    /// Length of the last pass.
    last_took: Duration,
    processes: BTreeSet<u32>,
    tracker: Tracker,
    loops: Loops,
    /// Peers of senders that seemed stuck at the first sample.
    first_peers: Option<peers::First>,
    failed: u64,
    skipped: u64,
}

/// What a capture knows of sockets.
#[derive(Debug, Default)]
pub(crate) struct SocketsSeen {
    /// By process, descriptor and age.
    pub sockets: Vec<Socket>,
    /// How many came and went.
    pub counts: SocketCounts,
    /// What was lost, by name.
    pub losses: Vec<(AgentLoss, u64)>,
}

impl Sockets {
    /// Samples every `period`; never without `probe`.
    pub(crate) fn new(probe: Option<SocketProbe>, period: Option<Duration>) -> Self {
        let work = match (probe, period) {
            (Some(probe), Some(_)) => Work::Idle(probe, Vec::new()),
            _ => Work::Off,
        };
        Self {
            work,
            period: period.unwrap_or(Duration::MAX),
            due: Instant::now(),
            // The first pass may find any number.
            last_took: Duration::MAX,
            processes: BTreeSet::new(),
            tracker: Tracker::new(tick_ns()),
            loops: Loops::default(),
            first_peers: None,
            failed: 0,
            skipped: 0,
        }
    }

    /// From the next sample on the sockets of this process are looked at.
    pub(crate) fn watch(&mut self, pid: u32) {
        self.processes.insert(pid);
    }

    /// The next sample, when its time has come and its pass is over; give it to
    /// [`settle`](Self::settle). May be dropped at any time: nothing is lost.
    pub(crate) async fn passed(&mut self) -> Passed {
        loop {
            match &mut self.work {
                Work::Off => pending().await,
                Work::Idle(..) => {
                    sleep_until(self.due.into()).await;
                    self.processes.retain(|pid| is_there(*pid));
                    if self.last_took <= AT_ONCE
                        && let Work::Idle(probe, output) =
                            std::mem::replace(&mut self.work, Work::Off)
                    {
                        // Waking a thread for it would cost more.
                        return pass(probe, output, &self.processes);
                    }
                    self.begin();
                }
                Work::Running(pass) => {
                    let passed = pass.await;
                    self.work = Work::Off;
                    match passed {
                        Ok(passed) => return passed,
                        Err(_) => self.failed += 1,
                    }
                }
            }
        }
    }

    fn begin(&mut self) {
        if let Work::Idle(probe, output) = std::mem::replace(&mut self.work, Work::Off) {
            let processes = self.processes.clone();
            let (give, given) = oneshot::channel();
            // Without a thread the other end hears of it at once.
            deadline::begin(Subject::Host, move || {
                drop(give.send(pass(probe, output, &processes)));
            });
            self.work = Work::Running(given);
        }
    }

    /// Takes a sample in. `threads` tells which of them wait in which epoll.
    pub(crate) fn settle(&mut self, passed: Passed, threads: &[ThreadSlot]) {
        self.last_took = passed.took;
        let whole = passed.result.is_ok();
        self.failed += u64::from(!whole);
        self.tracker
            .pass(records(&passed.output), whole, passed.took);
        self.loops.note(threads);
        if self.first_peers.is_none() {
            self.first_peers = Some(self.inspect_peers(&passed.probe));
        }
        let rest = passed.on_cpu.saturating_mul(PART);
        if rest > self.period {
            self.skipped += (rest.as_nanos() / self.period.as_nanos().max(1)) as u64 - 1;
        }
        let pause = rest.max(self.period).saturating_sub(passed.took);
        self.due = Instant::now() + pause;
        self.work = Work::Idle(passed.probe, passed.output);
    }

    /// Whether a peer takes what waits for it shows by comparison with another look at the end.
    fn inspect_peers(&self, probe: &SocketProbe) -> peers::First {
        let stuck = self.tracker.stuck_senders();
        if stuck.is_empty() {
            return peers::First::new();
        }
        peers::first(probe, Instant::now() + FIRST_PEERS_TIME, &stuck)
    }

    /// Whether a thread was seen taking turns with others at one epoll instance.
    pub(crate) fn takes_turns(&self, thread: &ThreadSlot) -> bool {
        self.loops.takes_turns(thread)
    }

    /// The last sample, now.
    pub(crate) async fn last(&mut self, threads: &[ThreadSlot]) {
        if let Work::Running(_) = self.work {
            let limit = deadline::left(Step::Sockets.limit());
            match timeout(limit, self.passed()).await {
                Ok(passed) => self.settle(passed, threads),
                Err(_) => {
                    deadline::gave_up(Step::Sockets, Subject::Host);
                    self.work = Work::Off;
                }
            }
        }
        if let Work::Idle(probe, output) = std::mem::replace(&mut self.work, Work::Off) {
            let passed = pass(probe, output, &self.processes);
            self.settle(passed, threads);
        }
    }

    /// Who holds the other ends of these sockets, told by process and descriptor: pairs of the first process
    /// and one that does. Nothing while a sample is under way.
    pub(crate) fn peers_of(&self, wanted: &[(u32, u32)], start_ns: u64) -> Vec<(u32, u32)> {
        let Work::Idle(probe, _) = &self.work else {
            return Vec::new();
        };
        let mut sockets = self.tracker.sockets(start_ns);
        sockets.retain(|socket| socket.open && wanted.contains(&(socket.pid, socket.fd)));
        if sockets.is_empty() {
            return Vec::new();
        }
        peers::find(
            probe,
            Instant::now() + PEERS_TIME,
            &mut sockets,
            peers::First::new(),
        );
        let peers = sockets
            .iter()
            .filter_map(|it| Some((it.pid, it.peer_process.as_ref()?)));
        peers
            .flat_map(|(pid, peer)| peer.held_by.iter().map(move |other| (pid, *other)))
            .filter(|(pid, other)| pid != other)
            .collect()
    }

    /// Ends a window of the timeline: see [`Tracker::window`].
    pub(crate) fn window(&mut self) -> Vec<SocketWindow> {
        self.tracker.window()
    }

    /// See [`Tracker::gone`].
    pub(crate) fn gone(&mut self) -> Vec<u32> {
        self.tracker.gone()
    }

    /// After the capture, which began at `start_ns`: who watches them, and who is at the other end. Takes
    /// a second at the most.
    pub(crate) fn finish(&mut self, start_ns: u64) -> SocketsSeen {
        let mut seen = SocketsSeen {
            sockets: self.tracker.sockets(start_ns),
            counts: self.tracker.counts(),
            losses: Vec::new(),
        };
        let Work::Idle(probe, _) = &self.work else {
            seen.losses
                .push((AgentLoss::SocketSamplesFailed, self.failed));
            return seen;
        };
        self.processes.retain(|pid| is_there(*pid));
        let interests_unread = self.loops.join(&self.processes, &mut seen.sockets);
        let deadline = Instant::now() + PEERS_TIME;
        let first = self.first_peers.take().unwrap_or_default();
        let peers_unresolved = peers::find(probe, deadline, &mut seen.sockets, first);
        seen.losses = vec![
            (AgentLoss::SocketSamplesFailed, self.failed),
            (AgentLoss::SocketSamplesSkipped, self.skipped),
            (AgentLoss::SocketsUntracked, self.tracker.untracked),
            (AgentLoss::ClosedSocketsDropped, self.tracker.closed_dropped),
            (AgentLoss::EpollInterestsUnread, interests_unread),
            (AgentLoss::PeersUnresolved, peers_unresolved),
        ];
        seen
    }
}

fn pass(mut probe: SocketProbe, mut output: Vec<u8>, processes: &BTreeSet<u32>) -> Passed {
    let (began, before) = (Instant::now(), own_cpu());
    let result = probe.pass(processes, &mut output);
    Passed {
        probe,
        output,
        result,
        took: began.elapsed(),
        on_cpu: own_cpu().saturating_sub(before),
    }
}

/// Time of this thread on a CPU.
fn own_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

fn is_there(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

/// Length of the kernel's timer tick, which TCP counts its times in: the resolution of the clocks that
/// move with it (`KTIME_LOW_RES`, kernel/time/posix-timers.c).
fn tick_ns() -> u64 {
    let resolution = clock_getres(ClockId::MonotonicCoarse);
    let ns = i128::from(resolution.tv_sec) * 1_000_000_000 + i128::from(resolution.tv_nsec);
    u64::try_from(ns).unwrap_or(0)
}
