//! Why nobody reads a socket in which something waits.

use crate::readers::{LoopThread, Readers, wait};
use crate::{Scene, words};
use remora_model::display::{
    label,
    text::{clean, count, counted},
};
use remora_model::{
    AgentLoss, Confidence, LossId, Reason, Socket, SocketState, State, Syscall, Watch,
};
use std::time::Duration;

/// The reason, as far as it can be seen from outside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Why<'a> {
    /// Watched; the loop's thread is somewhere else and does not come back.
    Elsewhere(&'a Watch, LoopThread<'a>),
    /// A one-shot interest that has fired and was not set again.
    Spent(&'a Watch),
    /// Watched for other events than something to read.
    NotAskedFor(&'a Watch),
    /// Edge-triggered: it was told once, and did not read to the end.
    Missed(&'a Watch),
    /// Level-triggered, and yet the loop sleeps.
    Asleep(&'a Watch),
    /// Watched, and no thread was seen waiting there.
    Nobody(&'a Watch),
    /// The loop goes on and is told each time, and does not read.
    Ignored(&'a Watch),
    /// In no epoll set, while the process has event loops.
    NotWatched,
    /// No event loop: no thread is in a call that reads it.
    NoReader,
}

/// A loop that has slept for less may just have begun to: what is there will wake it at once.
const ASLEEP: Duration = Duration::from_millis(50);

/// Threads that are named.
const SHOWN: usize = 3;

/// `EPOLLET`.
const EDGE: u32 = 1 << 31;

impl<'a> Why<'a> {
    /// Why, and the thread that it is about.
    pub(super) fn of(
        scene: &Scene<'_>,
        readers: &Readers<'a>,
        socket: &'a Socket,
    ) -> (Self, Option<LoopThread<'a>>) {
        let watch = socket.watched_by.iter().max_by_key(|watch| {
            let own = watch.pid == socket.pid;
            (own, watch.reads(), !watch.tids.is_empty())
        });
        let Some(watch) = watch else {
            let only = readers.only_loop();
            let waits = only.is_some_and(|it| {
                it.is_idle() || scene.event_loop(it.index).is_some_and(|it| it.waits > 0)
            });
            let why = if waits {
                Self::NotWatched
            } else {
                Self::NoReader
            };
            return (why, only.filter(|_| waits).or_else(|| readers.alone()));
        };
        let runs = match watch.pid == socket.pid {
            true => readers.of_loop(watch),
            false => readers.of_process(watch.pid).of_loop(watch),
        };
        let Some(thread) = runs else {
            return (Self::Nobody(watch), None);
        };
        let away = thread.away_for(scene);
        let is_away = away
            >= scene
                .thresholds
                .loop_blocked
                .min(scene.capture.duration / 2)
            || is_busy_throughout(scene, &thread);
        let why = match () {
            () if !thread.is_idle() && is_away => Self::Elsewhere(watch, thread),
            () if !watch.armed() => Self::Spent(watch),
            () if !watch.reads() => Self::NotAskedFor(watch),
            () if watch.events & EDGE != 0 => Self::Missed(watch),
            () if !thread.is_idle() || wait(thread.thread) < ASLEEP => Self::Ignored(watch),
            () => Self::Asleep(watch),
        };
        (why, runs)
    }

    /// What tells groups of sockets apart that have one explanation.
    pub(super) fn key(&self) -> (u8, u32) {
        match self {
            Self::Elsewhere(_, thread) => (0, thread.thread.tid),
            Self::Spent(watch) => (1, watch.epoll_fd),
            Self::NotAskedFor(watch) => (2, watch.epoll_fd),
            Self::Missed(watch) => (3, watch.epoll_fd),
            Self::Asleep(watch) => (4, watch.epoll_fd),
            Self::Nobody(watch) => (5, watch.epoll_fd),
            Self::Ignored(watch) => (6, watch.epoll_fd),
            Self::NotWatched => (7, 0),
            Self::NoReader => (8, 0),
        }
    }

    /// Whether somebody asked for it to be read.
    pub(super) const fn is_watched(&self) -> bool {
        !matches!(self, Self::NotWatched | Self::NoReader)
    }

    /// For so long the loop's thread cannot have read: it was elsewhere.
    pub(super) fn away_for(&self, scene: &Scene<'_>) -> Duration {
        match self {
            Self::Elsewhere(_, thread) => thread.away_for(scene),
            _ => Duration::ZERO,
        }
    }

    /// How it is known.
    pub(super) fn confidence(&self) -> Confidence {
        match self {
            Self::Elsewhere(_, thread) if thread.inferred => Confidence::Inferred,
            Self::Elsewhere(..) | Self::Spent(_) | Self::NotAskedFor(_) | Self::Missed(_) => {
                Confidence::Certain
            }
            Self::NotWatched | Self::NoReader => Confidence::Certain,
            Self::Asleep(_) | Self::Nobody(_) | Self::Ignored(_) => Confidence::Inferred,
        }
    }

    /// The reason in words.
    pub(super) fn words(
        &self,
        scene: &Scene<'_>,
        readers: &Readers<'_>,
        thread: Option<LoopThread<'_>>,
        socket: &Socket,
    ) -> String {
        let fd = socket.fd;
        let who = thread.map_or_else(|| "its loop was not seen".to_owned(), |it| does(&it));
        let set = |watch: &Watch| format!("fd {fd} in epoll set fd {}", watch.epoll_fd);
        match self {
            Self::Elsewhere(watch, it) => format!(
                "{} instead of epoll_wait on fd {} for {}",
                does(it),
                watch.epoll_fd,
                words::since(away(scene, it), true)
            ),
            Self::Nobody(watch) => {
                let set = set(watch);
                match candidates(scene, readers, watch) {
                    Some(busy) if !busy.is_empty() => {
                        format!("{set}: no thread waits on that set; {}", busy.join(", "))
                    }
                    Some(_) => format!("{set}: no thread waits on that set"),
                    None => format!("{set} of process {}, which is not watched", watch.pid),
                }
            }
            Self::NoReader => no_reader(readers, socket),
            Self::NotWatched => {
                let mut losses = scene.capture.losses.non_zero();
                let lost = LossId::Agent(AgentLoss::EpollInterestsUnread);
                match losses.any(|(loss, _)| loss == lost) {
                    false => format!("fd {fd} is in no epoll set, reading is paused; {who}"),
                    true => format!("fd {fd} is in none of the epoll sets that were read; {who}"),
                }
            }
            Self::Spent(watch) => format!("{}: EPOLLONESHOT not re-armed; {who}", set(watch)),
            Self::NotAskedFor(watch) => format!(
                "{}: not registered for EPOLLIN, only {}; {who}",
                set(watch),
                watch.event_names().join(", ")
            ),
            Self::Missed(watch) => format!(
                "{}: EPOLLET, handler stopped before EAGAIN; {who}",
                set(watch)
            ),
            Self::Asleep(watch) => format!(
                "{}: level-triggered, yet the loop sleeps (SO_RCVLOWAT?); {who}",
                set(watch)
            ),
            Self::Ignored(watch) => format!("{}: reported each time and not read", set(watch)),
        }
    }

    /// What to do; `place` is where the loop's thread is.
    pub(super) fn next(
        &self,
        scene: &Scene<'_>,
        readers: &Readers<'_>,
        socket: &Socket,
        place: Option<&str>,
    ) -> String {
        let fd = socket.fd;
        let accepts = socket.state == SocketState::Listen;
        let (reads, call) = match accepts {
            true => ("accepts on", "accept"),
            false => ("reads on", "read"),
        };
        match self {
            Self::Elsewhere(..) => format!("Unblock the loop{}.", words::at(place)),
            Self::Spent(_) => {
                format!("Re-arm fd {fd} (EPOLL_CTL_MOD) on every return path of its handler.")
            }
            Self::NotAskedFor(_) | Self::NotWatched => {
                format!("Find the code that pauses {reads} fd {fd} and make it resume.")
            }
            Self::Missed(_) => format!("Make the handler of fd {fd} {call} until EAGAIN."),
            Self::Asleep(_) => format!(
                "Compare SO_RCVLOWAT of fd {fd} with its queue. Check the other loops of its epoll set."
            ),
            Self::Nobody(watch) => nobody(scene, readers, watch),
            Self::Ignored(_) => format!("Make the handler of fd {fd} {call} it."),
            Self::NoReader => format!("Find the code that should {call} fd {fd}: no thread does."),
        }
    }
}

/// What the threads do that may have to run the loop; `None` where its process is not watched.
fn candidates(scene: &Scene<'_>, readers: &Readers<'_>, watch: &Watch) -> Option<Vec<String>> {
    scene.process(watch.pid)?;
    let own = readers.of_process(watch.pid);
    let busy = own.at_work().take(SHOWN);
    let does = busy.map(|(index, thread)| {
        does(&LoopThread {
            index,
            thread,
            inferred: true,
            elsewhere: true,
        })
    });
    Some(does.collect())
}

/// A set that no thread waits on: that its thread has ended is left as an explanation only where no other thread of
/// the process is at work.
fn nobody(scene: &Scene<'_>, readers: &Readers<'_>, watch: &Watch) -> String {
    let own = readers.of_process(watch.pid);
    let mut busy = own.at_work();
    match (scene.process(watch.pid), busy.next(), busy.next()) {
        (None, ..) => format!("Run: remora triage --pid {}.", watch.pid),
        (_, None, _) if own.any_waits_for_events() => format!(
            "Find which thread should wait on epoll fd {}: none does, some wait on other sets.",
            watch.epoll_fd
        ),
        (_, None, _) => format!(
            "Check the thread that should wait on epoll fd {}: it exited or never started.",
            watch.epoll_fd
        ),
        (_, Some((_, only)), None) => {
            let place = scene.stack_now(only).and_then(words::place);
            format!(
                "Check what {} does{}: no other thread is at work to wait on epoll fd {}.",
                words::thread(only),
                words::at(place.as_deref()),
                watch.epoll_fd
            )
        }
        (_, Some(_), Some(_)) => format!(
            "Find which thread should wait on epoll fd {}, and what it does instead.",
            watch.epoll_fd
        ),
    }
}

/// For how long the loop's thread has been elsewhere; it may have been on a CPU throughout.
fn away(scene: &Scene<'_>, it: &LoopThread<'_>) -> Duration {
    match it.away_for(scene) {
        Duration::ZERO => scene.capture.duration,
        away => away,
    }
}

/// Without an event loop: what the threads do instead.
fn no_reader(readers: &Readers<'_>, socket: &Socket) -> String {
    let call = match socket.state {
        SocketState::Listen => "accepts on",
        _ => "reads",
    };
    let mut does: Vec<(String, usize)> = Vec::new();
    for thread in readers.busy() {
        let what = match (thread.now.state, thread.now.reason) {
            (State::Blocked, Some(reason)) => {
                let what = label::reason(reason, thread.now.syscall);
                format!("in {}", clean(&what))
            }
            (State::Running | State::Runnable, _) => "busy".to_owned(),
            _ => "in an unknown state".to_owned(),
        };
        match does.iter_mut().find(|(known, _)| *known == what) {
            Some((_, number)) => *number += 1,
            None => does.push((what, 1)),
        }
    }
    does.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let list = does.iter().take(4);
    let list: Vec<_> = list
        .map(|(what, number)| format!("{} {what}", count(*number as u64)))
        .collect();
    format!(
        "no thread {call} fd {}, and no epoll set has it; of {}: {}",
        socket.fd,
        counted(readers.count() as u64, "thread"),
        list.join(", ")
    )
}

/// `feedd-4711 is idle in epoll on fd 3`.
fn does(it: &LoopThread<'_>) -> String {
    let name = words::thread(it.thread);
    let now = &it.thread.now;
    match (now.state, now.reason) {
        // The first argument of `poll` is no descriptor.
        (State::Blocked, Some(reason @ Reason::Poll)) if it.elsewhere => {
            let call = now.syscall.map_or(reason.label(), Syscall::name);
            format!("{name} is in {call}")
        }
        (State::Blocked, Some(reason @ Reason::Poll)) => {
            let call = now.syscall.map_or(reason.label(), Syscall::name);
            format!("{name} is idle in {call}")
        }
        (State::Blocked, Some(reason @ Reason::Epoll)) if it.elsewhere => {
            let call = now.syscall.map_or(reason.label(), Syscall::name);
            format!("{name} is in {call} on fd {}", now.args[0])
        }
        (State::Blocked, Some(reason @ Reason::Epoll)) => {
            let call = now.syscall.map_or(reason.label(), Syscall::name);
            format!("{name} is idle in {call} on fd {}", now.args[0])
        }
        (State::Blocked, Some(reason)) => {
            let call = now.syscall.map_or(reason.label(), Syscall::name);
            format!("{name} is in {}", clean(call))
        }
        (State::Runnable, _) => format!("{name} is runnable, without a CPU"),
        (State::Running, _) => format!("{name} is busy on a CPU"),
        _ => format!("{name} is {}", label::state(now.state)),
    }
}

/// On a CPU, or wanting one, for nearly the whole look.
fn is_busy_throughout(scene: &Scene<'_>, thread: &LoopThread<'_>) -> bool {
    let own = thread.thread;
    let queued = own
        .run_queue
        .after_wake
        .saturating_add(own.run_queue.preempted);
    let waits = scene
        .event_loop(thread.index)
        .map_or(0, |event_loop| event_loop.waits);
    waits == 0
        && (own.on_cpu.saturating_add(queued)).as_secs_f64() > 0.9 * own.observed.as_secs_f64()
}
