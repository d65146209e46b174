//! Which threads are event loops, and which of those have not come back to their wait.
//!
//! A loop that was wedged before the capture never shows a wait in it. It is known by its stack (frames of
//! asyncio, libuv, libevent and others), or because asyncio says that its loop runs there. Any other thread
//! that waits in epoll is taken for a loop only when it serves several sockets by itself: a database server
//! that waits for its one client in epoll, and then works for a minute, is no loop; nor is a worker
//! of a pool whose threads take turns at one epoll instance (tokio, Go).

use super::Scene;
use remora_model::{FrameKind, Idleness, Reason, Site, Stack, State, Thread, ThreadLoop};
use std::collections::HashMap;
use std::time::Duration;

/// Functions that are an event loop, and what people call it. Those whose loop several threads may run
/// together are left out.
const NATIVE: [(&str, &str); 9] = [
    ("uv_run", "libuv"),
    ("event_base_loop", "libevent"),
    ("ev_run", "libev"),
    ("aeMain", "redis"),
    ("ngx_process_events_and_timers", "nginx"),
    ("sd_event_run", "sd-event"),
    ("sd_event_loop", "sd-event"),
    ("QEventLoop::exec", "Qt"),
    ("evloop_run", "event"),
];

/// The same of Python: end of the function's name, end of its file's.
const PYTHON: [(&str, &str, &str); 2] = [
    ("_run_once", "base_events.py", "asyncio"),
    ("unrolled_run", "_run.py", "trio"),
];

/// Kernel and library functions of a wait in epoll begin so.
const EPOLL: [&str; 8] = [
    "epoll_",
    "__epoll_",
    "ep_",
    "do_epoll",
    "__x64_sys_epoll",
    "__arm64_sys_epoll",
    "__do_sys_epoll",
    "__se_sys_epoll",
];

/// Frames of Go's runtime, which moves its waits from thread to thread.
const GO: &str = "runtime.";

/// Frames behind the one of the loop that all its stacks share when it is in one callback: what calls
/// callbacks, and the callback.
const SHARED_FRAMES: usize = 2;

/// CPU samples from which it is said that none lies elsewhere.
const ENOUGH_SAMPLES: u64 = 30;

/// Share of the samples of a handler that serves no input: more system calls than that may be a loop
/// that never runs dry.
const FEW_CALLS: f64 = 0.05;

/// Stacks of the threads, with their samples and waits.
pub struct Places {
    by_thread: HashMap<usize, Vec<Place>>,
}

/// Where a thread was.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Index in [`remora_model::Capture::stacks`].
    pub stack: usize,
    /// CPU samples there.
    pub samples: u64,
    /// Of them in late iterations.
    pub late_samples: u64,
    /// Time blocked there.
    pub blocked: Duration,
    /// Of it in late iterations.
    pub late_blocked: Duration,
}

impl Places {
    /// Collects them; idle waits are none.
    pub fn new(scene: &Scene<'_>) -> Self {
        let mut by_thread: HashMap<usize, Vec<Place>> = HashMap::new();
        for sample in &scene.capture.samples {
            by_thread.entry(sample.thread).or_default().push(Place {
                stack: sample.stack,
                samples: sample.count,
                late_samples: sample.late,
                blocked: Duration::ZERO,
                late_blocked: Duration::ZERO,
            });
        }
        for wait in &scene.capture.waits {
            let Site::Stack(stack) = wait.site else {
                continue;
            };
            if wait.idle == Idleness::EventLoop {
                continue;
            }
            by_thread.entry(wait.thread).or_default().push(Place {
                stack,
                samples: 0,
                late_samples: 0,
                blocked: wait.total,
                late_blocked: wait.late,
            });
        }
        Self { by_thread }
    }

    /// Of a thread.
    pub fn of(&self, thread: usize) -> &[Place] {
        self.by_thread.get(&thread).map_or(&[], Vec::as_slice)
    }
}

/// What makes a thread an event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Its stack, or its interpreter: what people call the loop.
    Framework(&'static str),
    /// It waits in epoll for several sockets, alone.
    Epoll,
    /// Nobody waits on an epoll instance of its process (this descriptor), though something arrived there.
    Orphan(u32),
}

/// A loop that has not come back to its wait.
#[derive(Clone, Copy, Debug)]
pub struct Stuck {
    /// What makes it a loop.
    pub kind: Kind,
    /// For how long.
    pub since: Duration,
    /// That is a bound.
    pub at_least: bool,
    /// It sits in one wait that is not the loop's; else it runs, or waits now and then.
    pub blocked: bool,
    /// Concluded from samples: polls that do not block were not seen.
    pub inferred: bool,
    /// A stack that shows what it does.
    pub stack: Option<usize>,
    /// CPU samples that this rests on.
    pub samples: u64,
}

/// Whether a thread is an event loop, and stuck for at least `threshold`.
pub fn stuck(
    scene: &Scene<'_>,
    places: &Places,
    (index, thread): (usize, &Thread),
    threshold: Duration,
) -> Option<Stuck> {
    let now = &thread.now;
    let in_wait = now.state == State::Blocked && now.reason == Some(Reason::Epoll);
    if in_wait || now.reason == Some(Reason::Stopped) || now.state == State::Exited {
        return None;
    }
    let condition = scene.capture.conditions.of(thread.pid);
    if condition.is_some_and(|it| it.inherited_loops) {
        return None;
    }
    let own = scene
        .event_loop(index)
        .filter(|own| own.kind == Reason::Epoll && own.waits > 0);
    let kind = kind(scene, places, (index, thread), own)?;
    let came_back = own.is_some()
        || thread
            .waits
            .iter()
            .any(|waits| waits.reason == Reason::Epoll && waits.count > 0);
    let (since, at_least) = match own {
        Some(own) => (own.busy_now?, false),
        None if came_back => return None,
        None if now.state == State::Blocked && now.since >= thread.observed => {
            (now.since, now.since_inferred)
        }
        None => (thread.observed, true),
    };
    if since < threshold || is_in_selector(scene, thread) || has_left(scene, thread, kind) {
        return None;
    }
    let blocked = now.state == State::Blocked && now.since >= threshold;
    let stuck = Stuck {
        kind,
        since,
        at_least,
        blocked,
        inferred: false,
        stack: now.stack,
        samples: 0,
    };
    if blocked {
        let idle = !matches!(kind, Kind::Framework(_)) && scene.is_idle_now(index);
        let inferred = matches!(kind, Kind::Orphan(_));
        return (!idle).then_some(Stuck { inferred, ..stuck });
    }
    let exact = own.is_some_and(|own| own.exact);
    let shown = in_one_callback(scene, places.of(index), kind, own.is_some())?;
    Some(Stuck {
        inferred: !exact,
        stack: Some(shown.0),
        samples: shown.1,
        ..stuck
    })
}

/// What makes a thread a loop.
pub fn kind(
    scene: &Scene<'_>,
    places: &Places,
    (index, thread): (usize, &Thread),
    own: Option<&ThreadLoop>,
) -> Option<Kind> {
    let stacks = thread
        .now
        .stack
        .into_iter()
        .chain(places.of(index).iter().map(|it| it.stack));
    let mut is_go = false;
    for stack in stacks.filter_map(|stack| scene.capture.stacks.get(stack)) {
        if let Some((_, name)) = framework(stack) {
            return Some(Kind::Framework(name));
        }
        is_go |= stack.frames.iter().any(|frame| frame.name.starts_with(GO));
    }
    if task_loop(scene, thread).is_some() {
        return Some(Kind::Framework("asyncio"));
    }
    if own.is_some() {
        return (!is_go && serves(scene, thread) >= 2).then_some(Kind::Epoll);
    }
    orphan(scene, (index, thread))
        .filter(|_| !is_go)
        .map(Kind::Orphan)
}

/// The epoll instance that this thread should wait on, as far as that can be concluded: no thread waits on it,
/// something has come for it, and this is the process's main thread, or the only one that does not idle.
fn orphan(scene: &Scene<'_>, (index, thread): (usize, &Thread)) -> Option<u32> {
    if scene.is_idle_now(index) {
        return None;
    }
    let own = || scene.living().filter(|(_, other)| other.pid == thread.pid);
    let main_idles = own().any(|(at, other)| other.tid == other.pid && scene.is_idle_now(at));
    let alone = own().all(|(at, _)| at == index || scene.is_idle_now(at));
    if own().any(|(_, other)| other.now.reason == Some(Reason::Epoll))
        || !(alone || (thread.tid == thread.pid && !main_idles))
    {
        return None;
    }
    let threshold = scene.thresholds.loop_blocked;
    let waits = |socket: &&remora_model::Socket| {
        socket
            .oldest_unread
            .is_some_and(|unread| unread.min >= threshold)
            || socket.backlog.is_some_and(|backlog| backlog.now > 0)
    };
    let sockets = scene.capture.sockets.iter();
    let mut waiting = sockets
        .filter(|it| it.open && it.pid == thread.pid)
        .filter(waits);
    waiting.find_map(|socket| {
        let watch = socket
            .watched_by
            .iter()
            .find(|watch| watch.reads() && watch.tids.is_empty())?;
        Some(watch.epoll_fd)
    })
}

/// The asyncio loop that a thread runs: process-wide index of its look.
pub fn task_loop<'a>(
    scene: &Scene<'a>,
    thread: &Thread,
) -> Option<(&'a remora_model::Tasks, &'a remora_model::EventLoop)> {
    let (_, tasks) = scene
        .capture
        .tasks
        .iter()
        .find(|(pid, _)| *pid == thread.pid)?;
    let own = tasks.loops.iter().find(|it| it.tid == Some(thread.tid))?;
    Some((tasks, own))
}

/// Sockets that a thread alone watches; 0 where threads take turns.
fn serves(scene: &Scene<'_>, thread: &Thread) -> usize {
    let mut sockets = 0;
    for socket in scene
        .capture
        .sockets
        .iter()
        .filter(|it| it.open && it.pid == thread.pid)
    {
        for watch in &socket.watched_by {
            match watch.tids[..] {
                [tid] if tid == thread.tid => sockets += 1,
                [] | [_] => {}
                ref several if several.contains(&thread.tid) => return 0,
                _ => {}
            }
        }
    }
    sockets
}

/// The innermost frame of an event loop in a stack, and the loop's name.
pub fn framework(stack: &Stack) -> Option<(usize, &'static str)> {
    let known = |(at, frame): (usize, &remora_model::Frame)| {
        let name = match frame.kind {
            FrameKind::Kernel => None,
            FrameKind::Python => PYTHON.iter().find_map(|(function, file, name)| {
                let in_file = frame.file.as_ref().is_some_and(|path| path.ends_with(file));
                (in_file && frame.name.ends_with(function)).then_some(*name)
            }),
            _ => NATIVE
                .iter()
                .find(|(function, _)| *frame.name == **function)
                .map(|it| it.1),
        };
        name.map(|name| (at, name))
    };
    let frames = stack.frames.iter().enumerate().rev();
    frames
        .take_while(|(_, frame)| !is_forked(frame))
        .find_map(known)
}

/// The first function of a process of `multiprocessing`: what stands outside of it was copied by the fork.
fn is_forked(frame: &remora_model::Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    frame.kind == FrameKind::Python
        && file.ends_with("multiprocessing/process.py")
        && frame.name.ends_with("_bootstrap")
}

/// Whether a stack is in a wait of epoll.
pub fn is_in_epoll(stack: &Stack) -> bool {
    let mut names = stack.frames.iter().map(|frame| &*frame.name);
    names.any(|name| EPOLL.iter().any(|prefix| name.starts_with(prefix)))
}

/// Whether a thread is in the wait of a Python loop that does not use epoll.
fn is_in_selector(scene: &Scene<'_>, thread: &Thread) -> bool {
    let Some(stack) = scene.stack_now(thread) else {
        return false;
    };
    let mut python = stack
        .frames
        .iter()
        .rev()
        .filter(|frame| frame.kind == FrameKind::Python);
    let leaf = python.next();
    let caller = python.next();
    leaf.is_some_and(|frame| {
        frame
            .file
            .as_ref()
            .is_some_and(|file| file.ends_with("selectors.py"))
    }) && caller.is_some_and(|frame| frame.name.ends_with("_run_once"))
}

/// Whether a thread stands outside of the loop that it ran: the loop has ended.
fn has_left(scene: &Scene<'_>, thread: &Thread, kind: Kind) -> bool {
    let outside = |stack: &Stack| !stack.truncated && framework(stack).is_none();
    matches!(kind, Kind::Framework(_))
        && task_loop(scene, thread).is_none()
        && scene.stack_now(thread).is_some_and(outside)
}

/// Whether everything that a thread did (`late`: in late iterations) was in one callback; then the stack
/// with the most of it, and the samples that say so.
fn in_one_callback(
    scene: &Scene<'_>,
    places: &[Place],
    kind: Kind,
    late: bool,
) -> Option<(usize, u64)> {
    let weight = |place: &Place| match late {
        true => (place.late_samples, place.late_blocked),
        false => (place.samples, place.blocked),
    };
    let stacks: Vec<(usize, u64, Duration, &Stack)> = places
        .iter()
        .filter_map(|place| {
            let (samples, blocked) = weight(place);
            let stack = scene.capture.stacks.get(place.stack)?;
            (samples > 0 || !blocked.is_zero()).then_some((place.stack, samples, blocked, stack))
        })
        .collect();
    let samples = stacks
        .iter()
        .fold(0_u64, |sum, it| sum.saturating_add(it.1));
    let blocked = total(stacks.iter().map(|it| it.2));
    if stacks.iter().any(|it| is_in_epoll(it.3)) {
        return None;
    }
    let on_cpu = sampled(scene, samples);
    if samples < ENOUGH_SAMPLES && blocked < on_cpu.max(Duration::from_millis(500)) {
        return None;
    }
    let shared = match kind {
        Kind::Framework(_) => share_callback(stacks.iter().map(|it| it.3)),
        Kind::Epoll | Kind::Orphan(_) => {
            let calls = stacks
                .iter()
                .filter(|it| is_in_call(it.3))
                .fold(0_u64, |sum, it| sum.saturating_add(it.1));
            calls as f64 <= FEW_CALLS * samples as f64
        }
    };
    let most = stacks
        .iter()
        .max_by_key(|it| sampled(scene, it.1).saturating_add(it.2))?;
    shared.then_some((most.0, samples))
}

/// The sum of times, as far as one can be told.
pub fn total(times: impl Iterator<Item = Duration>) -> Duration {
    times.fold(Duration::ZERO, Duration::saturating_add)
}

/// The time that CPU samples stand for.
pub fn sampled(scene: &Scene<'_>, samples: u64) -> Duration {
    let period = Duration::from_secs(1) / scene.capture.freq_hz.max(1);
    period.saturating_mul(u32::try_from(samples).unwrap_or(u32::MAX))
}

/// Whether a stack is inside a system call.
pub fn is_in_call(stack: &Stack) -> bool {
    let mut kernel = stack
        .frames
        .iter()
        .filter(|frame| frame.kind == FrameKind::Kernel);
    kernel.any(|frame| {
        let name = &*frame.name;
        name.starts_with("do_syscall")
            || name.starts_with("entry_SYSCALL")
            || name.starts_with("invoke_syscall")
    })
}

/// Whether the stacks go the same way from the loop's frame to a callback.
fn share_callback<'a>(stacks: impl Iterator<Item = &'a Stack>) -> bool {
    let mut first: Option<Vec<&str>> = None;
    for stack in stacks {
        let Some((at, _)) = framework(stack) else {
            return false;
        };
        let python = matches!(stack.frames.get(at), Some(frame) if frame.kind == FrameKind::Python);
        let behind = stack.frames.iter().skip(at + 1);
        let behind = behind.filter(|frame| !python || frame.kind == FrameKind::Python);
        let way: Vec<&str> = behind
            .map(|frame| &*frame.name)
            .take(SHARED_FRAMES)
            .collect();
        if way.len() < SHARED_FRAMES {
            return false;
        }
        match &first {
            None => first = Some(way),
            Some(first) if *first == way => {}
            Some(_) => return false,
        }
    }
    first.is_some()
}
