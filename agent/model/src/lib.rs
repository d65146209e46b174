//! What a capture saw, as plain data: no I/O, no clock, no kernel types but [`Reason`].
//!
//! Everything downstream (findings, reports) is a function of [`Capture`]; it can be made by hand
//! in a test.

mod constraint;
mod cpus;
mod dependency;
mod descriptors;
pub mod display;
mod fidelity;
mod finding;
mod frame;
mod heap;
mod heap_watch;
mod histogram;
mod idle;
mod idle_places;
mod java;
mod ledger;
mod lock;
mod loss;
mod memory;
mod memory_trend;
mod objects;
pub mod places;
mod polls;
mod process_tree;
mod python;
pub mod recording;
mod report;
mod socket;
mod socket_state;
mod syscall;
mod task;
mod thread;
mod thread_limit;
mod thread_loop;
pub mod timeline;
mod topic;

#[cfg(test)]
mod contract;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;

pub use constraint::{Actor, Busy, Call, Constraint, Constraints, CpuLimit, Policy, Scheduling};
pub use cpus::{CpuSampling, Cpus, Unsampled};
pub use dependency::{Awaited, Dependency, PythonAwaited, PythonPool, PythonWait, SlotPool};
pub use descriptors::{Census, DescriptorKind, Descriptors};
pub use fidelity::Fidelity;
pub use finding::{
    Confidence, Fact, Finding, Incident, JudgeLimit, Judgement, Kind as FindingKind, LimitOf,
    Notice, NoticeKind, Severity, SkipReason, Skipped, Subject, Verdict,
};
pub use frame::{Frame, FrameKind, PythonWalk, Stack, UNMAPPED, Walk};
pub use heap::{HeapSizes, HeapUse, SizeClass};
pub use heap_watch::{HeapSite, HeapWatch, WatchCost, WatchEnd, WatchedFile, WatchedProcess};
pub use histogram::{Histogram, Quantiles};
pub use idle::{Idleness, classify, is_event_loop, takes_lock, user_sites};
pub use idle_places::IdlePlaces;
pub use java::{Java, JavaAwaited, JavaWait};
pub use ledger::{HookState, Losses, Overhead, ProgramCost, Signal, SignalId, Unanswered};
pub use lock::{
    FutexOperation, Holder, Keeper, Lock, LockKind, LockStack, Owner, OwnerFrom, Waiter,
};
pub use loss::{AgentLoss, LossId};
pub use memory::{
    Growth, LimitKind, Mapping, MappingKind, Memory, MemoryLimit, MemoryReading, Resident,
    Source as MemorySource,
};
pub use memory_trend::{GrowthForm, LeakLevel, MemoryTrend, Reached};
pub use objects::{PythonObjects, TypeCount};
pub use polls::{PollCost, PollCount};
pub use process_tree::{ProcessTree, Relative};
pub use python::{GilUse, Python};
pub use remora_common::{
    python::{Ending, Gil, PythonFrame},
    reason::Reason,
    unwind::Outcome,
};
pub use report::Report;
pub use socket::{
    Address, Backlog, Depth, Family, Kind, PeerProcess, Socket, SocketCounts, Tcp, Unread, Watch,
};
pub use socket_state::SocketState;
pub use syscall::Syscall;
pub use task::{Await, AwaitKind, EventLoop, Task, TaskFrame, TaskLoss, TaskState, Tasks};
pub use thread::{Now, ReasonTotals, RunQueue, State, Thread};
pub use thread_limit::{ThreadLimit, ThreadLimitKind, ThreadLimits};
pub use thread_loop::ThreadLoop;
pub use timeline::Timeline;
pub use topic::Topic;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Why a capture ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum End {
    /// Its duration was over.
    Elapsed,
    /// The user ended it early.
    Interrupted,
    /// No target was left.
    TargetsExited,
}

/// One target process.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Process {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Name of its main thread.
    pub comm: String,
    /// Its name before it executed another program during the capture, the first time that it did.
    #[serde(default)]
    pub was: Option<String>,
    /// Path of its executable as the process sees it; empty when it could not be read.
    pub exe: String,
    /// Threads seen during the capture.
    pub threads: u32,
    /// It ended during the capture.
    pub exited: bool,
    /// Process that forked it during the capture.
    pub parent: Option<u32>,
    /// It is no target: why it was looked at all the same.
    pub related: Option<String>,
    /// It was not asked for: it is a child of this process, which has no work of its own.
    #[serde(default)]
    pub followed: Option<u32>,
    /// The Python interpreter in it.
    pub python: Option<Python>,
}

impl Process {
    /// Whether it was asked for, or came of one that was.
    pub const fn is_target(&self) -> bool {
        self.related.is_none()
    }
}

/// A stack as addresses, before it has names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RawStack {
    /// User frames, leaf first; return addresses but for the leaf.
    pub user: Vec<u64>,
    /// How the walk of the user frames ended; `None` when there was none.
    pub outcome: Option<Outcome>,
    /// Frames of the thread's Python interpreter; `None` for a thread that is none of one's.
    pub python: Option<RawPython>,
    /// Kernel frames, leaf first.
    pub kernel: Vec<u64>,
}

/// Python frames as addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RawPython {
    /// Leaf first.
    pub frames: Vec<PythonFrame>,
    /// Whether the walk reached the thread's first frame.
    pub ending: Ending,
    /// How the thread stood to the interpreter lock.
    pub gil: Gil,
}

/// CPU samples of one thread in one stack.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Sample {
    /// Index in [`Capture::threads`].
    pub thread: usize,
    /// Index in [`Capture::stacks`].
    pub stack: usize,
    /// Number of samples; each stands for 1 / `freq_hz` seconds.
    pub count: u64,
    /// Those that lay in a late iteration of the thread's event loop.
    pub late: u64,
}

/// Waits of one thread for one reason in one stack.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Wait {
    /// Index in [`Capture::threads`].
    pub thread: usize,
    /// Why it waited.
    pub reason: Reason,
    /// Name of the system call it waited in, where it was in one.
    pub syscall: Option<Syscall>,
    /// Where it waited.
    pub site: Site,
    /// A futex wait in the form that condition variables and semaphores use (`FUTEX_WAIT_BITSET`,
    /// as glibc's `pthread_cond_wait` and `sem_wait` do), not the plain `FUTEX_WAIT` of a mutex;
    /// `false` for every other reason.
    pub event_form: bool,
    /// Number of waits.
    pub count: u64,
    /// Time in them, as far as it lies inside the capture.
    pub total: Duration,
    /// The part of it in late iterations of the thread's event loop.
    pub late: Duration,
    /// Whether this is what the thread does when it has nothing to do.
    pub idle: Idleness,
}

/// What is known of the place of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum Site {
    /// Index in [`Capture::stacks`].
    Stack(usize),
    /// Waits under the threshold: counted and timed, without a stack by design.
    Short,
    /// The stack was lost; the cause is counted in [`Losses`].
    Lost,
}

/// Wake-ups of one thread by another.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Wake {
    /// The woken thread: index in [`Capture::threads`].
    pub thread: usize,
    /// What it had waited for.
    pub reason: Reason,
    /// The waker's thread id, 0 for an interrupt.
    pub waker_tid: u32,
    /// The waker's process id, 0 for an interrupt.
    pub waker_pid: u32,
    /// The waker's name, empty when it was gone before it could be read.
    pub waker: String,
    /// Number of wake-ups.
    pub count: u64,
    /// Time that the woken thread had been blocked before them.
    pub blocked: Duration,
}

/// Everything that one capture saw.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Capture {
    /// When it began, seconds since the Unix epoch.
    pub started_unix_s: f64,
    /// How long it lasted.
    pub duration: Duration,
    /// Why it ended.
    pub end: End,
    /// CPU samples a second and CPU.
    pub freq_hz: u32,
    /// On which CPUs they were taken.
    #[serde(default)]
    pub sampling: CpuSampling,
    /// Waits from this length on have stacks.
    pub min_block: Duration,
    /// Kernel release of the host.
    pub kernel: String,
    /// Target processes, in the order of their pids.
    pub processes: Vec<Process>,
    /// Their parents and children when it began.
    pub families: Vec<ProcessTree>,
    /// Their threads, by process, then by tid.
    pub threads: Vec<Thread>,
    /// Distinct stacks, symbolised.
    pub stacks: Vec<Stack>,
    /// CPU samples.
    pub samples: Vec<Sample>,
    /// Waits.
    pub waits: Vec<Wait>,
    /// Wake-ups.
    pub wakes: Vec<Wake>,
    /// Event loops, by thread.
    pub loops: Vec<ThreadLoop>,
    /// Polls of threads that seemed not to come back to them, by index in [`Capture::threads`].
    #[serde(default)]
    pub polls: Vec<(usize, PollCount)>,
    /// Locks and other futexes, those with the longest waits first.
    pub locks: Vec<Lock>,
    /// Whom threads that sleep at the end wait for, beyond locks and sockets.
    pub dependencies: Vec<Dependency>,
    /// The same in locks and joins of Python's `threading`.
    pub python_waits: Vec<PythonWait>,
    /// Java virtual machines, by process.
    #[serde(default)]
    pub java: Vec<Java>,
    /// What threads of Java programs that sleep wait for.
    #[serde(default)]
    pub java_waits: Vec<JavaWait>,
    /// Executors of Python programs that have threads, most queued jobs first.
    #[serde(default)]
    pub python_pools: Vec<PythonPool>,
    /// Pools that threads of Python programs wait for a slot of.
    #[serde(default)]
    pub slot_pools: Vec<SlotPool>,
    /// What each thread did, window by window.
    pub timeline: Timeline,
    /// Asyncio tasks at the end of the capture, by process.
    pub tasks: Vec<(u32, Tasks)>,
    /// Descriptors of sockets, by process and number.
    pub sockets: Vec<Socket>,
    /// What the descriptors of a process are of, by process.
    pub descriptors: Vec<Descriptors>,
    /// What ends the growth of threads, by process.
    #[serde(default)]
    pub thread_limits: Vec<ThreadLimits>,
    /// How many there were.
    pub socket_counts: SocketCounts,
    /// Memory, by process.
    pub memory: Vec<Memory>,
    /// What constrains the processes from outside.
    pub conditions: Constraints,
    /// Objects of Python interpreters at the start and the end, by process.
    #[serde(default)]
    pub python_objects: Vec<PythonObjects>,
    /// Blocks of glibc's malloc at the start and the end, by process.
    #[serde(default)]
    pub heaps: Vec<HeapSizes>,
    /// What a watch on allocators saw; `None` where it was not asked for.
    #[serde(default)]
    pub heap_watch: Option<HeapWatch>,
    /// Which hook each signal took, or why it is off.
    pub signals: Vec<Signal>,
    /// What was lost.
    pub losses: Losses,
    /// What was asked for and was not there in time.
    #[serde(default)]
    pub unanswered: Vec<Unanswered>,
    /// What the capture cost.
    pub overhead: Overhead,
}
