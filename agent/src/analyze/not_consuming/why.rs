//! Why nobody reads a socket in which something waits.

use crate::analyze::readers::{LoopThread, Readers};
use crate::analyze::{Scene, words};
use crate::model::{
    AgentLoss, Confidence, LossId, Reason, Socket, SocketState, State, Syscall, Watch,
};
use crate::words::{
    label,
    text::{clean, count},
};
use std::time::Duration;

/// The reason, as far as it can be seen from outside.
#[derive(Clone, Copy, Debug)]
pub enum Why<'a> {
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

/// `EPOLLET`.
const EDGE: u32 = 1 << 31;

impl<'a> Why<'a> {
    /// Why, and the thread that it is about.
    pub fn of(
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
        let runs = readers.of_loop(watch);
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
            () if !thread.is_idle() => Self::Ignored(watch),
            () => Self::Asleep(watch),
        };
        (why, runs)
    }

    /// What tells groups of sockets apart that have one explanation.
    pub fn key(&self) -> (u8, u32) {
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
    pub const fn is_watched(&self) -> bool {
        !matches!(self, Self::NotWatched | Self::NoReader)
    }

    /// For so long the loop's thread cannot have read: it was elsewhere.
    pub fn away_for(&self, scene: &Scene<'_>) -> Duration {
        match self {
            Self::Elsewhere(_, thread) => thread.away_for(scene),
            _ => Duration::ZERO,
        }
    }

    /// How it is known.
    pub fn confidence(&self) -> Confidence {
        match self {
            Self::Elsewhere(_, thread) if thread.inferred => Confidence::Inferred,
            Self::Elsewhere(..) | Self::Spent(_) | Self::NotAskedFor(_) | Self::Missed(_) => {
                Confidence::Certain
            }
            Self::NotWatched | Self::NoReader => Confidence::Certain,
            Self::Asleep(_) | Self::Nobody(_) | Self::Ignored(_) => Confidence::Inferred,
        }
    }

    /// The `loop` line of the evidence.
    pub fn words(
        &self,
        scene: &Scene<'_>,
        readers: &Readers<'_>,
        thread: Option<LoopThread<'_>>,
        socket: &Socket,
    ) -> String {
        let fd = socket.fd;
        let who = thread.map_or_else(|| "its loop is not seen".to_owned(), |it| does(&it));
        match self {
            Self::Elsewhere(watch, it) => elsewhere(scene, watch, it, fd),
            Self::Nobody(watch) => format!(
                "fd {fd} is in epoll set fd {}, and no thread was seen waiting on it",
                watch.epoll_fd
            ),
            Self::NoReader => no_reader(readers, socket),
            Self::NotWatched => {
                let mut losses = scene.capture.losses.non_zero();
                match losses.any(|(loss, _)| loss == LossId::Agent(AgentLoss::EpollInterestsUnread))
                {
                    false => format!("{who}; fd {fd} is NOT in any epoll set: reading is paused"),
                    true => format!(
                        "{who}; fd {fd} is in none of the epoll sets that could be read (some could not)"
                    ),
                }
            }
            Self::Spent(watch)
            | Self::NotAskedFor(watch)
            | Self::Missed(watch)
            | Self::Asleep(watch)
            | Self::Ignored(watch) => {
                format!("{who}; fd {fd} {}", self.watched(watch))
            }
        }
    }

    /// How the loop watches it, in vain.
    fn watched(&self, watch: &Watch) -> String {
        let set = watch.epoll_fd;
        match self {
            Self::Spent(_) => format!(
                "is in epoll set fd {set} as a one-shot that has fired and was NOT armed again"
            ),
            Self::NotAskedFor(_) => format!(
                "is in epoll set fd {set} for {} and NOT for reading: reading is paused",
                watch.event_names().join(", ")
            ),
            Self::Missed(_) => format!(
                "is edge-triggered in epoll set fd {set}: it was told once, did not read to the end, and is \
                 not told again before more comes"
            ),
            Self::Asleep(_) => format!(
                "is level-triggered in epoll set fd {set} and should wake it: a low-water mark (SO_RCVLOWAT) \
                 above what is there, or another descriptor of the set, must hold it back"
            ),
            _ => format!("is in epoll set fd {set}: it is told of it and does not read"),
        }
    }

    /// What to look at.
    pub fn next(&self, accepts: bool) -> &'static str {
        match self {
            Self::Elsewhere(..) => {
                "find what holds the loop's thread (code): nothing is read until it returns"
            }
            Self::Spent(_) => {
                "find the handler that does not arm the descriptor again (EPOLL_CTL_MOD) on one of its ways out"
            }
            Self::NotAskedFor(_) | Self::NotWatched if !accepts => {
                "find who pauses reading of this descriptor and why it does not resume"
            }
            Self::NotAskedFor(_) | Self::NotWatched => {
                "find who stopped watching the listening socket and why it does not resume"
            }
            Self::Missed(_) => "find the handler that stops before read or accept says EAGAIN",
            Self::Asleep(_) => {
                "compare SO_RCVLOWAT with what waits; look at the other loops that share the set"
            }
            Self::Nobody(_) => {
                "find the thread that should run this loop: it has ended, or never started"
            }
            Self::Ignored(_) => {
                "find the handler that is called for this descriptor and does not read it"
            }
            Self::NoReader => {
                "find the thread that should read it: what do the threads do instead?"
            }
        }
    }
}

/// The loop's thread does something else.
fn elsewhere(scene: &Scene<'_>, watch: &Watch, it: &LoopThread<'_>, fd: u32) -> String {
    let told = match it.inferred {
        true => " (that this thread runs the loop is told from its stack)",
        false => "",
    };
    let away = match it.away_for(scene) {
        // It was on a CPU throughout.
        Duration::ZERO => scene.capture.duration,
        away => away,
    };
    format!(
        "{}; fd {fd} is in its epoll set (fd {}), which it has not come back to for {}{told}",
        does(it),
        watch.epoll_fd,
        words::since(away, true)
    )
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
                label::reason(reason, thread.now.syscall).into_owned()
            }
            (State::Running | State::Runnable, _) => "busy".to_owned(),
            _ => "unknown".to_owned(),
        };
        match does.iter_mut().find(|(known, _)| *known == what) {
            Some((_, number)) => *number += 1,
            None => does.push((what, 1)),
        }
    }
    does.sort_by_key(|(_, number)| std::cmp::Reverse(*number));
    let list: Vec<_> = does
        .iter()
        .take(4)
        .map(|(what, number)| format!("{} in {}", count(*number as u64), clean(what)))
        .collect();
    format!(
        "no thread {call} fd {}, and it is in no epoll set; of {} thread(s): {}",
        socket.fd,
        count(readers.count() as u64),
        list.join(", ")
    )
}

/// `thread 4711 is idle in epoll_wait for 31.8 s`.
fn does(it: &LoopThread<'_>) -> String {
    let name = words::thread(it.thread);
    let now = &it.thread.now;
    match (now.state, now.reason) {
        (State::Blocked, Some(reason @ (Reason::Epoll | Reason::Poll))) => format!(
            "thread {name} is idle in {} on fd {}",
            now.syscall.map_or(reason.label(), Syscall::name),
            now.args[0]
        ),
        (State::Blocked, Some(reason)) => format!(
            "thread {name} waits in {} ({}) for {}",
            clean(now.syscall.map_or("the kernel", Syscall::name)),
            label::reason(reason, now.syscall),
            words::since(now.since, now.since_inferred)
        ),
        (State::Running | State::Runnable, _) => format!("thread {name} is busy on a CPU"),
        _ => format!("thread {name} is {}", label::state(now.state)),
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
