//! Which threads are event loops, and (`stuck`) which of those have not come back to their wait.
//!
//! A loop that was wedged before the capture never shows a wait in it. It is known by its stack (frames of
//! asyncio, libuv, libevent and others), or because asyncio says that its loop runs there. Any other thread
//! that waits in epoll is taken for a loop only when it serves several sockets by itself: a database server
//! that waits for its one client in epoll, and then works for a minute, is no loop; nor is a worker
//! of a pool whose threads take turns at one epoll instance (tokio, Go).

mod stuck;

pub(crate) use stuck::{Proof, Stuck, stuck};

use super::Scene;
use remora_model::{FrameKind, Idleness, Reason, Site, Stack, Thread, ThreadLoop};
use std::collections::HashMap;
use std::time::Duration;

/// The function of libuv that is one, and its name.
const LIBUV: (&str, &str) = ("uv_run", "libuv");

/// Functions that are an event loop, and what people call it. Those whose loop several threads may run
/// together are left out.
const NATIVE: [(&str, &str); 9] = [
    LIBUV,
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

/// Stacks of the threads, with their samples and waits.
pub(crate) struct Places {
    by_thread: HashMap<usize, Vec<Place>>,
}

/// Where a thread was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
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
    pub(crate) fn new(scene: &Scene<'_>) -> Self {
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
    pub(crate) fn of(&self, thread: usize) -> &[Place] {
        self.by_thread.get(&thread).map_or(&[], Vec::as_slice)
    }
}

/// What makes a thread an event loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its stack, or its interpreter: what people call the loop.
    Framework(&'static str),
    /// It waits in epoll for several sockets, alone.
    Epoll,
    /// Nobody waits on an epoll instance of its process (this descriptor), though something arrived there.
    Orphan(u32),
}

/// What makes a thread a loop.
pub(crate) fn kind(
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
pub(crate) fn task_loop<'a>(
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
pub(crate) fn framework(stack: &Stack) -> Option<(usize, &'static str)> {
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

/// Whether a stack is in a loop that a callback of another one runs: node's `execSync` has one of its own for the
/// child, and the program's does not turn meanwhile. (asyncio and Qt run one and the same loop again.)
pub(crate) fn is_nested(stack: &Stack) -> bool {
    let frames = stack.frames.iter();
    frames.filter(|frame| &*frame.name == LIBUV.0).count() > 1
}

/// The first function of a process of `multiprocessing`: what stands outside of it was copied by the fork.
fn is_forked(frame: &remora_model::Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    frame.kind == FrameKind::Python
        && file.ends_with("multiprocessing/process.py")
        && frame.name.ends_with("_bootstrap")
}

/// Whether a stack is in a wait of epoll.
pub(crate) fn is_in_epoll(stack: &Stack) -> bool {
    let mut names = stack.frames.iter().map(|frame| &*frame.name);
    names.any(|name| EPOLL.iter().any(|prefix| name.starts_with(prefix)))
}

/// The sum of times, as far as one can be told.
pub(crate) fn total(times: impl Iterator<Item = Duration>) -> Duration {
    times.fold(Duration::ZERO, Duration::saturating_add)
}

/// The time that CPU samples stand for.
pub(crate) fn sampled(scene: &Scene<'_>, samples: u64) -> Duration {
    let period = Duration::from_secs(1) / scene.capture.freq_hz.max(1);
    period.saturating_mul(u32::try_from(samples).unwrap_or(u32::MAX))
}

/// Whether a stack is inside a system call.
pub(crate) fn is_in_call(stack: &Stack) -> bool {
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
