//! What kind of wait each sleeping thread is in: the one answer to that question, for all analyzers.
//!
//! Put together from the system call, the memory of locks, what Python's interpreter knows, and the stack from the
//! wait up to the thread's start ([`places`](remora_model::places)). A wait that none of them explains is
//! [`Kind::Unexplained`]: it is not counted as rest.
//!
//! **At rest** is told from the place: an event loop's own wait, the loop of a pool that fetches work, or a wait
//! for whatever comes at the bottom of a thread's stack. Queues for a lock behind somebody who is at rest are rest
//! as well (leader and followers).

pub(crate) mod java;
mod works;

pub(crate) use works::someone_works;

use super::graph::{End, Graph, Node};
use super::{Scene, words};
use remora_model::places::{self, Meaning, Reading};
use remora_model::{
    FrameKind, Lock, LockKind, PythonAwaited, Reason, Site, Stack, State, Thread, takes_lock,
};
use std::collections::HashSet;
use std::time::Duration;

/// Why a thread is at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// An event loop in its own wait.
    EventLoop,
    /// A worker in the loop that fetches its work.
    Worker,
    /// It waits for whatever comes, at the bottom of its stack.
    Bottom,
    /// For a connection to accept, a signal, a completion.
    Arrival,
    /// In turn behind one that is at rest.
    Turn,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: it has nothing to do.
    Rest(Rest),
    /// Some time.
    Timer,
    /// A lock.
    Lock,
    /// The interpreter lock.
    Gil,
    /// The end of a thread.
    Join,
    /// Others that have to arrive or to finish.
    Latch,
    /// To be notified of something.
    Condition,
    /// An element of a queue, or room in one.
    Queue,
    /// What another thread computes.
    Future,
    /// A future that is driven on this thread, from inside a job.
    Runtime,
    /// A free slot of a pool.
    Slot,
    /// A connection to be agreed on.
    Handshake,
    /// The answer of a peer.
    Answer,
    /// Data of a connection or descriptor.
    Data,
    /// The end of a child.
    Child,
    /// Storage, or something else inside the kernel.
    Kernel,
    /// Nobody knows.
    Unexplained,
}

impl Kind {
    /// What the thread waits for, in words: `waits for …`.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Rest(Rest::EventLoop) => "events of its loop",
            Self::Rest(Rest::Worker) => "work of its pool",
            Self::Rest(Rest::Bottom) => "work, at the bottom of its stack",
            Self::Rest(Rest::Arrival) => "a connection, signal or completion",
            Self::Rest(Rest::Turn) => "its turn behind an idle thread",
            Self::Timer => "a timer",
            Self::Lock => "a lock",
            Self::Gil => "the GIL",
            Self::Join => "a thread's exit",
            Self::Latch => "others to arrive at a latch",
            Self::Condition => "a condition or event",
            Self::Queue => "a queue",
            Self::Future => "another thread's result",
            Self::Runtime => "a future that it drives itself",
            Self::Slot => "a free pool slot",
            Self::Handshake => "a handshake",
            Self::Answer => "a peer's answer",
            Self::Data => "data",
            Self::Child => "a child's exit",
            Self::Kernel => "the kernel",
            Self::Unexplained => "another thread, which one is unknown",
        }
    }

    /// Whether another thread, of this process or one that shares its memory, has to end the wait.
    pub(crate) const fn wants_a_thread(self) -> bool {
        matches!(
            self,
            Self::Rest(Rest::Worker | Rest::Bottom | Rest::Turn)
                | Self::Lock
                | Self::Join
                | Self::Latch
                | Self::Condition
                | Self::Queue
                | Self::Future
                | Self::Runtime
                | Self::Slot
                | Self::Unexplained
        )
    }
}

/// A thread that sleeps, and why.
#[derive(Clone, Debug)]
pub(crate) struct Waiting<'a> {
    /// Index of the thread.
    pub index: usize,
    /// The thread.
    pub thread: &'a Thread,
    /// What for.
    pub kind: Kind,
    /// What its stack says.
    pub reading: Reading,
    /// The call has a time limit.
    pub timed: bool,
    /// For how long, and whether that is a lower bound.
    lasts: (Duration, bool),
}

impl Waiting<'_> {
    /// For how long.
    pub(crate) const fn since(&self) -> Duration {
        self.lasts.0
    }

    /// Whether that is a lower bound.
    pub(crate) const fn at_least(&self) -> bool {
        self.lasts.1
    }
}

/// The waits at the end of a capture.
pub(crate) struct Waits<'a> {
    /// Of each thread that sleeps, in the order of the threads.
    pub all: Vec<Waiting<'a>>,
}

impl<'a> Waits<'a> {
    /// That of a thread, given by its index.
    pub(crate) fn of_thread(&self, index: usize) -> Option<&Waiting<'a>> {
        let at = self.all.binary_search_by_key(&index, |it| it.index);
        self.all.get(at.ok()?)
    }

    /// Explains them.
    pub(crate) fn of(graph: &Graph<'a>) -> Self {
        let scene = graph.scene();
        let asleep = scene.living().filter(|(_, thread)| {
            thread.now.state == State::Blocked && thread.now.reason != Some(Reason::Stopped)
        });
        let all = asleep.map(|(index, thread)| {
            let reading = scene.reading_now(thread);
            Waiting {
                index,
                thread,
                kind: kind(graph, (index, thread), &reading),
                reading,
                timed: graph.is_timed(index),
                lasts: lasts(scene, (index, thread)),
            }
        });
        let mut all: Vec<_> = all.collect();
        let leaders = leaders(scene, &all);
        let is_turn = |it: &Waiting<'_>| is_turn(graph, &all, &leaders, it);
        let turns: Vec<bool> = all.iter().map(is_turn).collect();
        for (waiting, _) in all.iter_mut().zip(turns).filter(|(_, turn)| *turn) {
            waiting.kind = Kind::Rest(Rest::Turn);
        }
        Self { all }
    }

    /// Those of a process.
    pub(crate) fn of_process(&self, pid: u32) -> impl Iterator<Item = &Waiting<'a>> {
        self.all.iter().filter(move |it| it.thread.pid == pid)
    }

    /// Those of targets.
    pub(crate) fn of_targets<'s>(
        &'s self,
        scene: &'s Scene<'_>,
    ) -> impl Iterator<Item = &'s Waiting<'a>> {
        let is_target = |pid| {
            scene
                .process(pid)
                .is_none_or(remora_model::Process::is_target)
        };
        self.all.iter().filter(move |it| is_target(it.thread.pid))
    }
}

/// For how long a thread has waited, over wake-ups to ask again.
fn lasts(scene: &Scene<'_>, (index, thread): (usize, &Thread)) -> (Duration, bool) {
    let now = &thread.now;
    match java::asked_again(scene, (index, thread)) {
        Some(always) if always > now.since => (always, true),
        _ => (now.since, now.since_inferred),
    }
}

/// Share of its time that a thread has to spend in waits for locks.
const ALWAYS: f64 = 0.95;
/// A shorter look says nothing.
const LEAST: Duration = Duration::from_secs(2);

/// Whether a thread did nothing but wait for locks in the whole capture, however often it woke up in between to ask
/// again.
pub(crate) fn always_for_locks(scene: &Scene<'_>, index: usize) -> bool {
    always(scene, index, takes_lock)
}

/// Whether a thread spent the whole capture in waits of such stacks.
pub(crate) fn always(scene: &Scene<'_>, index: usize, is_such: impl Fn(&Stack) -> bool) -> bool {
    let capture = scene.capture;
    let thread = capture.threads.get(index);
    let Some(thread) = thread.filter(|thread| thread.observed >= LEAST) else {
        return false;
    };
    let own = capture.waits.iter().filter(|wait| wait.thread == index);
    let such = own.filter(|wait| match wait.site {
        Site::Stack(at) => capture.stacks.get(at).is_some_and(&is_such),
        _ => false,
    });
    let total: Duration = such.map(|wait| wait.total).sum();
    total.as_secs_f64() >= ALWAYS * thread.observed.as_secs_f64()
}

fn kind(graph: &Graph<'_>, (index, thread): (usize, &Thread), reading: &Reading) -> Kind {
    use Reason as R;
    match thread.now.reason.unwrap_or(R::Unknown) {
        R::Futex => futex(graph, (index, thread), reading),
        R::Epoll => match reading.what {
            Some(Meaning::Handshake) => Kind::Handshake,
            // Of a lock manager that wakes its waiters through a descriptor (PostgreSQL's latches).
            Some(Meaning::Lock) if reading.is_lock() && !reading.guessed => Kind::Lock,
            Some(Meaning::Child) => Kind::Child,
            _ => Kind::Rest(Rest::EventLoop),
        },
        R::SocketAccept | R::SignalWait | R::IoUring => Kind::Rest(Rest::Arrival),
        R::SocketReceive | R::SocketSend | R::SocketConnect | R::Poll => data(reading),
        R::PipeRead | R::PipeWrite | R::EventRead | R::EventWrite | R::DeviceRead => data(reading),
        R::Sleep => Kind::Timer,
        R::WaitChild => Kind::Child,
        R::Disk | R::Uninterruptible | R::PageFault | R::FileRead | R::FileWrite => Kind::Kernel,
        R::DeviceWrite | R::Stopped | R::Syscall | R::Compat32 | R::Unknown => Kind::Kernel,
    }
}

/// A descriptor: the stack says what is to come.
fn data(reading: &Reading) -> Kind {
    match reading.what {
        _ if reading.home => Kind::Rest(Rest::Worker),
        Some(Meaning::Handshake) => Kind::Handshake,
        Some(Meaning::Answer) => Kind::Answer,
        Some(Meaning::Child) => Kind::Child,
        Some(Meaning::Slot) => Kind::Slot,
        Some(Meaning::Future) => Kind::Future,
        _ => Kind::Data,
    }
}

fn futex(graph: &Graph<'_>, (index, thread): (usize, &Thread), reading: &Reading) -> Kind {
    let scene = graph.scene();
    let python = scene.capture.python_waits.iter();
    let mut python = python.filter(|wait| wait.tid == thread.tid);
    if let Some(wait) = python.next() {
        return match wait.what {
            PythonAwaited::Lock | PythonAwaited::RLock => Kind::Lock,
            PythonAwaited::Semaphore => Kind::Slot,
            PythonAwaited::Thread => Kind::Join,
        };
    }
    if let Some(kind) = java::kind(scene, thread, reading) {
        return kind;
    }
    match graph.lock(index).map(|lock| lock.kind) {
        Some(LockKind::PythonGil) => return Kind::Gil,
        Some(LockKind::ThreadEnd) => return Kind::Join,
        Some(kind) if notes_owner(kind) => return Kind::Lock,
        _ => {}
    }
    if reading.home {
        return Kind::Rest(Rest::Worker);
    }
    if crate::pool_exhausted::slot_pool(scene, thread).is_some() {
        return Kind::Slot;
    }
    let stack = scene.stack_now(thread);
    match reading.what {
        Some(Meaning::Lock) if reading.guessed || is_no_lock(scene, thread, stack, reading) => {
            Kind::Unexplained
        }
        Some(Meaning::Lock) => Kind::Lock,
        Some(Meaning::Join) => Kind::Join,
        Some(Meaning::Future) => Kind::Future,
        Some(Meaning::Slot) => Kind::Slot,
        Some(Meaning::Child) => Kind::Child,
        Some(Meaning::Handshake) => Kind::Handshake,
        Some(Meaning::Answer) => Kind::Answer,
        _ if reading.may_rest() => Kind::Rest(Rest::Bottom),
        Some(Meaning::Queue) => Kind::Queue,
        Some(Meaning::Runtime) => Kind::Runtime,
        Some(Meaning::Condition | Meaning::Semaphore) => Kind::Condition,
        _ => Kind::Unexplained,
    }
}

/// Locks that are known by their memory, or by contract with the kernel.
const fn notes_owner(kind: LockKind) -> bool {
    matches!(
        kind,
        LockKind::Mutex
            | LockKind::RecursiveMutex
            | LockKind::ErrorCheckMutex
            | LockKind::AdaptiveMutex
            | LockKind::RobustMutex
            | LockKind::PriorityInheriting
            | LockKind::ReadWrite
    )
}

/// Minor versions of CPython 3 whose lock objects are read: where none was found, the thread waits for something
/// else that the interpreter builds of the same parts.
const READ: std::ops::RangeInclusive<u32> = 8..=13;

/// A wait in the interpreter that looks like that for a lock of Python's, and for which its memory has none.
fn is_no_lock(
    scene: &Scene<'_>,
    thread: &Thread,
    stack: Option<&Stack>,
    reading: &Reading,
) -> bool {
    let by = reading.by.and_then(|at| stack?.frames.get(at));
    let by_python = by.is_some_and(|frame| {
        let file = frame.file.as_deref().unwrap_or_default();
        frame.kind == FrameKind::Python
            && !file.contains("/multiprocessing/")
            && !file.ends_with("/threading.py")
    });
    let python = scene.process(thread.pid).and_then(|it| it.python.as_ref());
    let minor = python.and_then(|it| it.version.split('.').nth(1)?.parse().ok());
    by_python && minor.is_some_and(|minor: u32| READ.contains(&minor))
}

/// The functions that threads at rest are in, by process.
fn leaders<'a>(scene: &Scene<'a>, all: &[Waiting<'a>]) -> HashSet<(u32, &'a str)> {
    let at_rest = all.iter().filter(|it| is_rest_of_leader(it.kind));
    let functions = at_rest.flat_map(|it| {
        let stack = scene.stack_now(it.thread);
        let frames = stack.into_iter().flat_map(|stack| &stack.frames);
        frames.map(|frame| (it.thread.pid, &*frame.name))
    });
    functions.collect()
}

/// Whether a thread waits for a lock that somebody holds who is at rest himself: the one that takes the next
/// connection, with the others in line behind it. Of a holder whom nobody knows it is told by the function that
/// both are in.
fn is_turn(
    graph: &Graph<'_>,
    all: &[Waiting<'_>],
    leaders: &HashSet<(u32, &str)>,
    waiting: &Waiting<'_>,
) -> bool {
    if waiting.kind != Kind::Lock {
        return false;
    }
    let chain = graph.chain(waiting.index);
    if !chain.steps.is_empty() {
        let java = graph.scene().java_wait(waiting.thread.tid).is_some();
        let rests = |index: usize| {
            let at = all.binary_search_by_key(&index, |it| it.index);
            at.is_ok_and(|at| all.get(at).is_some_and(|it| is_leader(it.kind, java)))
        };
        // Of a process with several threads it is not known who writes: what counts is that the last one waits for data.
        let last = match (&chain.end, chain.steps.last().map(|step| step.node)) {
            (End::Node(Node::Thread(last)), _) => Some(*last),
            (End::Process(_), Some(Node::Thread(last))) => Some(last),
            _ => None,
        };
        return last.is_some_and(rests);
    }
    let stack = graph.scene().stack_now(waiting.thread);
    let function = stack.and_then(|stack| own(stack, &waiting.reading));
    function.is_some_and(|function| leaders.contains(&(waiting.thread.pid, function)))
}

/// The same. Java's frames do not say that a thread is at the bottom of its stack: one that holds a lock there and waits
/// to be notified may wait for those behind it.
const fn is_leader(kind: Kind, java: bool) -> bool {
    match kind {
        Kind::Rest(Rest::EventLoop | Rest::Arrival) | Kind::Data => true,
        Kind::Rest(_) => !java,
        _ => false,
    }
}

/// What the holder of a lock may do for long while the others have nothing to do either.
const fn is_rest_of_leader(kind: Kind) -> bool {
    matches!(kind, Kind::Rest(_) | Kind::Data)
}

/// The program's own function that waits.
fn own<'s>(stack: &'s Stack, reading: &Reading) -> Option<&'s str> {
    let outer = stack.frames.get(..reading.by?)?.iter().rev();
    let mut own = outer.filter(|frame| frame.named && places::meaning(frame).is_none());
    own.next().map(|frame| &*frame.name)
}

/// A lock that a thread waits for, in words: `futex lock 0x… (heap)`.
pub(crate) fn lock_words(lock: &Lock) -> String {
    super::graph::Thing::of(lock).to_string()
}

/// What a wait is, for how long, and where: `worker-12 waits for a lock for ≥ 30.0 s`.
pub(crate) fn line(waiting: &Waiting<'_>) -> String {
    let who = words::thread(waiting.thread);
    let since = words::since(waiting.since(), waiting.at_least());
    format!("{who} waits for {} for {since}", waiting.kind.words())
}

#[cfg(test)]
pub(super) mod tests;
