//! Who could read a socket: the threads of its process, for how long none of them can have done so, and
//! which of them runs the loop that watches it.

use super::Scene;
use super::event_loops::is_nested;
use remora_model::{Reason, State, Thread, Watch};
use std::time::Duration;

/// The threads of a process.
pub(crate) struct Readers<'a> {
    scene: &'a Scene<'a>,
    threads: Vec<(usize, &'a Thread)>,
}

/// The thread of an event loop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoopThread<'a> {
    /// Index of the thread.
    pub index: usize,
    /// The thread.
    pub thread: &'a Thread,
    /// It was not seen to wait there: it is the process's only thread, or its stack says so.
    pub inferred: bool,
    /// It waits for events of other descriptors than its loop's, in a `poll` in the middle of a callback.
    pub elsewhere: bool,
}

impl<'a> Readers<'a> {
    /// Those of a process that are alive.
    pub(crate) fn of(scene: &'a Scene<'a>, pid: u32) -> Self {
        let threads = scene.living().filter(|(_, thread)| thread.pid == pid);
        Self {
            scene,
            threads: threads.collect(),
        }
    }

    /// For so long no thread of the process has run, so none can have read or sent anything.
    pub(crate) fn asleep_for(&self) -> Duration {
        let waits = self.threads.iter().map(|(_, thread)| wait(thread));
        waits.min().unwrap_or_default()
    }

    /// The only thread of the process.
    pub(crate) fn alone(&self) -> Option<LoopThread<'a>> {
        match self.threads[..] {
            [(index, thread)] => Some(LoopThread {
                index,
                thread,
                inferred: false,
                elsewhere: false,
            }),
            _ => None,
        }
    }

    /// The thread that runs the loop on this epoll instance, the one that is longest away from its wait
    /// where there are several.
    pub(crate) fn of_loop(&self, watch: &Watch) -> Option<LoopThread<'a>> {
        // The first argument of `poll` and `select` is no descriptor.
        let in_epoll = |thread: &Thread| thread.now.reason == Some(Reason::Epoll);
        let waits_there = |thread: &Thread| {
            waits_for_events(thread)
                && in_epoll(thread)
                && thread.now.args[0] == u64::from(watch.epoll_fd)
        };
        let seen = self.threads.iter().filter(|(index, thread)| {
            watch.tids.contains(&thread.tid)
                || waits_there(thread)
                || self
                    .scene
                    .event_loop(*index)
                    .is_some_and(|it| it.epoll_fd == Some(watch.epoll_fd))
        });
        let found = seen.max_by_key(|(_, thread)| (!waits_there(thread), wait(thread)));
        let found = found.map(|(index, thread)| LoopThread {
            index: *index,
            thread,
            inferred: false,
            elsewhere: false,
        });
        let found = found.or_else(|| self.alone()).or_else(|| self.by_stack());
        // An epoll set in which something waits ends a `poll` that asks for the set, or a wait on another set that has
        // this one in it: this one does not. A loop inside of a callback is not that of the callback.
        found.map(|it| {
            let there = waits_there(it.thread) || watch.tids.contains(&it.thread.tid);
            let own = in_epoll(it.thread) && there && !self.is_nested(it.thread);
            LoopThread {
                elsewhere: waits_for_events(it.thread) && !own,
                ..it
            }
        })
    }

    /// Those of another process.
    pub(crate) fn of_process(&self, pid: u32) -> Self {
        Self::of(self.scene, pid)
    }

    /// Threads that are not at rest, with their index: each of them may be the one that should read.
    pub(crate) fn at_work(&self) -> impl Iterator<Item = (usize, &'a Thread)> {
        let all = self.threads.iter().copied();
        let arrivals = [Reason::SocketAccept, Reason::SignalWait, Reason::IoUring];
        let rests = move |thread: &Thread| {
            let of = |reason| arrivals.contains(&reason);
            thread.now.state == State::Blocked && thread.now.reason.is_some_and(of)
        };
        all.filter(move |(index, thread)| {
            !waits_for_events(thread) && !rests(thread) && !self.scene.is_idle_now(*index)
        })
    }

    /// The one thread that runs an event loop, whichever.
    pub(crate) fn only_loop(&self) -> Option<LoopThread<'a>> {
        let mut loops = self.threads.iter().filter(|(index, thread)| {
            waits_for_events(thread) || self.scene.event_loop(*index).is_some()
        });
        match (loops.next(), loops.next()) {
            (Some((index, thread)), None) => Some(LoopThread {
                index: *index,
                thread,
                inferred: false,
                elsewhere: false,
            }),
            (None, _) => self.alone().or_else(|| self.by_stack()),
            _ => None,
        }
    }

    /// The one thread in whose stacks stands the function of an event loop and that does not wait for events of
    /// another one; the main thread where there are several.
    fn by_stack(&self) -> Option<LoopThread<'a>> {
        let away = |thread: &Thread| !waits_for_events(thread) || self.is_nested(thread);
        let threads = self.threads.iter();
        let found: Vec<_> = threads
            .filter(|(index, thread)| away(thread) && self.scene.shows_loop(*index))
            .collect();
        let main = found.iter().find(|(_, thread)| thread.tid == thread.pid);
        let (index, thread) = match found[..] {
            [only] => only,
            _ => main?,
        };
        Some(LoopThread {
            index: *index,
            thread,
            inferred: true,
            elsewhere: false,
        })
    }

    /// Whether a thread is in a loop inside of a callback of its loop.
    fn is_nested(&self, thread: &Thread) -> bool {
        self.scene.stack_now(thread).is_some_and(is_nested)
    }

    /// Whether one of the threads waits for events.
    pub(crate) fn any_waits_for_events(&self) -> bool {
        let mut threads = self.threads.iter();
        threads.any(|(_, thread)| waits_for_events(thread))
    }

    /// Threads that wait for something other than events, each with the time of its present wait.
    pub(crate) fn busy(&self) -> impl Iterator<Item = &'a Thread> {
        let threads = self.threads.iter().map(|(_, thread)| *thread);
        threads.filter(|thread| !waits_for_events(thread))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.threads.len()
    }

    /// A thread that waits in a system call on this descriptor, for one of these reasons.
    pub(crate) fn waits_on(&self, fd: u32, reasons: &[Reason]) -> Option<&'a Thread> {
        let mut threads = self.threads.iter().map(|(_, thread)| *thread);
        threads.find(|thread| {
            thread.now.state == State::Blocked
                && thread.now.args[0] == u64::from(fd)
                && thread
                    .now
                    .reason
                    .is_some_and(|reason| reasons.contains(&reason))
        })
    }
}

impl LoopThread<'_> {
    /// It sits in its wait for events.
    pub(crate) fn is_idle(&self) -> bool {
        waits_for_events(self.thread) && !self.elsewhere
    }

    /// How long it has been away from its wait without coming back.
    pub(crate) fn away_for(&self, scene: &Scene<'_>) -> Duration {
        if self.is_idle() {
            return Duration::ZERO;
        }
        let iteration = scene.event_loop(self.index).and_then(|it| it.busy_now);
        let counted = scene.polls(self.index).map(|polls| polls.open);
        let away = iteration.unwrap_or_default().max(wait(self.thread));
        away.max(counted.unwrap_or_default())
    }
}

/// How long a thread has been in its present wait; nothing when it is in none.
pub(crate) fn wait(thread: &Thread) -> Duration {
    match thread.now.state {
        State::Blocked => thread.now.since,
        _ => Duration::ZERO,
    }
}

/// Asleep in epoll, poll or select.
pub(crate) fn waits_for_events(thread: &Thread) -> bool {
    let reason = thread.now.reason;
    thread.now.state == State::Blocked && matches!(reason, Some(Reason::Epoll | Reason::Poll))
}
