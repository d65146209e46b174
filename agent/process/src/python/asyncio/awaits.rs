//! What a waiting task awaits: told by the future that it waits for, and by the function of asyncio
//! that made that future.
//!
//! A future does not say what it is for. But nearly all are made inside asyncio, by a coroutine that
//! then awaits them itself: it is the innermost of the chain, its name says what is awaited and its
//! first local variable (`self` of `Lock.acquire`) on what object. Two more are told by what is to
//! be called when they are done: `shield` and executors.

use super::Reader;
use super::coroutine::Link;
use super::future::{is_future, is_task};
use crate::memory::Memory;
use remora_model::{Await, AwaitKind, TaskFrame};
use std::time::Duration;

/// Tasks that one awaits, listed at the most.
const MAX_AWAITED: usize = 1000;
/// Locals of a frame that are read: the timer of `asyncio.sleep` (`h`) is the sixth at the most.
const LOCALS: usize = 6;
/// Longer times are none: a year has 31,536,000 seconds.
const MAX_SLEEP_S: f64 = 1e9;

/// What a function's first local variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// The object that is waited for.
    Object,
    /// A future, or a set of them.
    Futures,
    /// A `TaskGroup`.
    Group,
    /// The loop; the second one is the object.
    Loop,
    /// A number of seconds.
    Delay,
    /// Nothing that says more than the future.
    Nothing,
}

/// File below `asyncio/`, function, or the beginning of its name before a `*`.
type Rule = (&'static str, &'static str, AwaitKind, First);

/// `Lib/asyncio` of 3.8 to 3.13.
const RULES: &[Rule] = &[
    ("tasks.py", "sleep", AwaitKind::Sleep, First::Delay),
    ("tasks.py", "wait_for", AwaitKind::Task, First::Futures),
    (
        "tasks.py",
        "_cancel_and_wait",
        AwaitKind::Task,
        First::Futures,
    ),
    ("tasks.py", "_wait", AwaitKind::Wait, First::Futures),
    (
        "taskgroups.py",
        "TaskGroup.*",
        AwaitKind::TaskGroup,
        First::Group,
    ),
    ("locks.py", "Lock.*", AwaitKind::Lock, First::Object),
    ("locks.py", "Event.*", AwaitKind::Event, First::Object),
    (
        "locks.py",
        "Condition.*",
        AwaitKind::Condition,
        First::Object,
    ),
    (
        "locks.py",
        "Semaphore.*",
        AwaitKind::Semaphore,
        First::Object,
    ),
    ("locks.py", "Barrier.*", AwaitKind::Barrier, First::Object),
    ("queues.py", "Queue.*", AwaitKind::Queue, First::Object),
    ("streams.py", "*", AwaitKind::Stream, First::Object),
    ("base_subprocess.py", "*", AwaitKind::Process, First::Object),
    (
        "base_events.py",
        "Server.*",
        AwaitKind::Server,
        First::Object,
    ),
    (
        "base_events.py",
        "BaseEventLoop.shutdown_default_executor",
        AwaitKind::Executor,
        First::Nothing,
    ),
    (
        "unix_events.py",
        "_UnixSelectorEventLoop._make_subprocess_transport",
        AwaitKind::Process,
        First::Nothing,
    ),
    ("base_events.py", "*", AwaitKind::Socket, First::Loop),
    ("selector_events.py", "*", AwaitKind::Socket, First::Loop),
    ("unix_events.py", "*", AwaitKind::Socket, First::Loop),
];

/// Functions that wait by means of another object of asyncio, which says less.
const OUTER: &[(&str, &str)] = &[
    ("queues.py", "Queue.join"),
    ("locks.py", "Barrier._wait"),
    ("locks.py", "Barrier._block"),
];

/// The rule for a frame; none for functions that are not asyncio's.
fn rule(frame: &TaskFrame) -> Option<&'static Rule> {
    let (folder, file) = frame.file.rsplit_once('/')?;
    if folder != "asyncio" && !folder.ends_with("/asyncio") {
        return None;
    }
    RULES.iter().find(|(rule_file, function, ..)| {
        *rule_file == file
            && match function.strip_suffix('*') {
                Some(beginning) => frame.function.starts_with(beginning),
                None => frame.function == *function,
            }
    })
}

/// The rule of a chain, and which of its frames it is for: the innermost one, or an outer function
/// of asyncio that says more.
fn rule_of(frames: &[TaskFrame]) -> Option<(&'static Rule, usize)> {
    let last = frames.len().checked_sub(1)?;
    let innermost = rule(frames.get(last)?)?;
    let outer = (0..last)
        .rev()
        .map_while(|at| Some((rule(&frames[at])?, at)));
    let better = outer.into_iter().find(|((file, ..), at)| {
        let names = OUTER.iter();
        names
            .filter(|(outer_file, _)| outer_file == file)
            .any(|(_, function)| frames[*at].function == *function)
    });
    better.or(Some((innermost, last)))
}

impl<M: Memory> Reader<'_, M> {
    /// What a task awaits whose chain of coroutines ends here. `future` is what it waits for.
    pub(super) fn awaits(
        &self,
        future: u64,
        links: &[Link],
        frames: &[TaskFrame],
        now: Duration,
    ) -> Option<Await> {
        let kind = self.objects.type_of(future)?;
        let mut awaited = Await {
            kind: AwaitKind::Other,
            call: String::new(),
            class: kind.short_name().to_owned(),
            object: future,
            tasks: Vec::new(),
            left_s: None,
        };
        if is_task(&kind) {
            awaited.kind = AwaitKind::Task;
            awaited.tasks = vec![future];
        } else if let Some(children) = self.gathered(future) {
            awaited.kind = AwaitKind::Gather;
            awaited.tasks = children;
        } else if is_future(&kind) {
            awaited.kind = AwaitKind::Future;
            if !self.by_callback(&mut awaited) {
                self.by_function(&mut awaited, links, frames, now);
            }
        }
        Some(awaited)
    }

    /// The futures and tasks behind `gather()`; `None` for other futures.
    fn gathered(&self, future: u64) -> Option<Vec<u64>> {
        if !self.objects.type_of(future)?.is_a("_GatheringFuture") {
            return None;
        }
        let children = self.objects.attribute(future, "_children")?;
        let children = self.objects.sequence(children, MAX_AWAITED)?;
        Some(self.only_tasks(children))
    }

    fn only_tasks(&self, futures: Vec<u64>) -> Vec<u64> {
        let is_one = |future: &u64| {
            let kind = self.objects.type_of(*future);
            kind.is_some_and(|kind| is_task(&kind))
        };
        futures.into_iter().filter(is_one).collect()
    }

    /// `shield()` and executors: whether the future is one of theirs.
    fn by_callback(&self, awaited: &mut Await) -> bool {
        let Some((function, futures)) = self.callback(awaited.object) else {
            return false;
        };
        match function.as_str() {
            "shield.<locals>._outer_done_callback" => {
                awaited.tasks = self.only_tasks(futures);
                if !awaited.tasks.is_empty() {
                    awaited.kind = AwaitKind::Task;
                }
                "shield".clone_into(&mut awaited.call);
                true
            }
            "_chain_future.<locals>._call_check_cancel" => {
                awaited.kind = AwaitKind::Executor;
                true
            }
            _ => false,
        }
    }

    fn by_function(
        &self,
        awaited: &mut Await,
        links: &[Link],
        frames: &[TaskFrame],
        now: Duration,
    ) {
        let Some((&(_, _, kind, first), at)) = rule_of(frames) else {
            return;
        };
        let (Some(link), Some(frame)) = (links.get(at), frames.get(at)) else {
            return;
        };
        awaited.kind = kind;
        awaited.call.clone_from(&frame.function);
        let Some(locals) = self.locals::<LOCALS>(link.frame) else {
            return;
        };
        match first {
            First::Nothing => {}
            First::Object => self.set_object(awaited, locals[0]),
            First::Loop => self.set_object(awaited, locals[1]),
            First::Futures => {
                awaited.tasks = self.members(locals[0]);
                if awaited.tasks.is_empty() {
                    awaited.kind = AwaitKind::Future;
                }
            }
            First::Group => {
                self.set_object(awaited, locals[0]);
                let tasks = self.objects.attribute(awaited.object, "_tasks");
                awaited.tasks = tasks.map_or_else(Vec::new, |tasks| self.members(tasks));
            }
            First::Delay => awaited.left_s = self.left_s(&locals, now),
        }
    }

    fn set_object(&self, awaited: &mut Await, local: u64) {
        if let Some(object) = self.uncelled(local)
            && let Some(kind) = self.objects.type_of(object)
        {
            awaited.object = object;
            kind.short_name().clone_into(&mut awaited.class);
        }
    }

    /// What a local variable holds: of one that an inner function uses, the cell is all there is.
    fn uncelled(&self, local: u64) -> Option<u64> {
        if self.objects.type_of(local)?.name == "cell" {
            self.cell(local)
        } else {
            Some(local)
        }
    }

    /// The tasks that a local variable holds, itself or in a set.
    fn members(&self, object: u64) -> Vec<u64> {
        let members = self.objects.set(object, MAX_AWAITED);
        self.only_tasks(members.map_or_else(|| vec![object], |members| members.items))
    }

    /// Time until the timer of a `sleep` fires, by the clock of loops (`time.monotonic`).
    fn left_s(&self, locals: &[u64], now: Duration) -> Option<f64> {
        let timer = locals.iter().copied().find(|local| {
            let kind = self.objects.type_of(*local);
            kind.is_some_and(|kind| kind.name == "TimerHandle")
        })?;
        let when = self.objects.float(self.objects.slot(timer, "_when")?)?;
        let left = when - now.as_secs_f64();
        (-MAX_SLEEP_S..MAX_SLEEP_S).contains(&left).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(file: &str, function: &str) -> TaskFrame {
        TaskFrame {
            function: function.to_owned(),
            file: file.to_owned(),
            line: None,
        }
    }

    fn kind_of(frames: &[TaskFrame]) -> Option<(AwaitKind, usize)> {
        rule_of(frames).map(|((_, _, kind, _), at)| (*kind, at))
    }

    #[test]
    fn the_innermost_function_of_asyncio_tells() {
        let own = frame("/srv/app.py", "handle");
        let get = frame("/usr/lib/python3.11/asyncio/queues.py", "Queue.get");
        assert_eq!(
            kind_of(&[own.clone(), get.clone()]),
            Some((AwaitKind::Queue, 1))
        );
        assert_eq!(kind_of(&[get, own.clone()]), None);
        assert_eq!(kind_of(&[own]), None);
        assert_eq!(kind_of(&[]), None);
    }

    #[test]
    fn only_asyncio_is_asyncio() {
        assert_eq!(kind_of(&[frame("/srv/queues.py", "Queue.get")]), None);
        assert_eq!(
            kind_of(&[frame("/srv/notasyncio/queues.py", "Queue.get")]),
            None
        );
        assert_eq!(kind_of(&[frame("/x/asyncio/queues.py", "Queues")]), None);
    }

    #[test]
    fn a_join_is_more_than_the_event_that_it_waits_for() {
        let join = frame("/x/asyncio/queues.py", "Queue.join");
        let event = frame("/x/asyncio/locks.py", "Event.wait");
        assert_eq!(
            kind_of(&[join.clone(), event.clone()]),
            Some((AwaitKind::Queue, 0))
        );
        let own = frame("/srv/app.py", "handle");
        assert_eq!(
            kind_of(&[join, own, event]),
            Some((AwaitKind::Event, 2)),
            "not across a function of the program"
        );
    }
}
