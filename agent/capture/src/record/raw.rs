//! What a recording leaves behind: all that assembly has to work on.

use super::{heap::HeapRecord, timeline::Windows};
use crate::{
    inspect::{
        blocked::BlockedStacks, futexes::FutexStates, interpreters::Interpreters, java::JavaStates,
        memory::MemoryRecord, objects::HeapCensus, owners::OwnersByCode, polls::PollsSeen,
        sockets::SocketsSeen,
    },
    store::{aggregates::AggregateStore, spaces::Spaces},
};
use remora_common::{event_loop::EventLoop, loss::Loss, thread::ThreadSlot};
use remora_kernel::{Arch, clocks::SchedulerClock};
use remora_model::{
    AgentLoss, Constraints, CpuSampling, Dependency, End, Overhead, Process, PythonPool,
    PythonWait, Signal, SlotPool, Tasks,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Everything that a recording leaves behind.
pub(crate) struct RawCapture {
    pub(crate) run: RunFacts,
    pub(crate) sampling: CpuSampling,
    pub(crate) processes: BTreeMap<u32, Process>,
    /// Threads that were there at the end.
    pub(crate) living: Vec<ThreadSlot>,
    pub(crate) aggregates: AggregateStore,
    pub(crate) spaces: Spaces,
    pub(crate) interpreters: Interpreters,
    pub(crate) python: PythonSeen,
    /// Java virtual machines, and what their threads wait for.
    pub(crate) java: JavaStates,
    /// Objects of interpreters and blocks of malloc at the start and the end.
    pub(crate) census: HeapCensus,
    pub(crate) sockets: SocketsSeen,
    pub(crate) blocked: BlockedStacks,
    pub(crate) memory: MemoryRecord,
    /// Of a watch on allocators.
    pub(crate) heap: Option<HeapRecord>,
    /// What holds the processes, and what was not read of it.
    pub(crate) constraints: (Constraints, u64),
    pub(crate) signals: Vec<Signal>,
    pub(crate) overhead: Overhead,
    /// What was looked up of futexes.
    pub(crate) futexes: FutexStates,
    /// Who owns those that note no owner.
    pub(crate) owners: OwnersByCode,
    /// Whom sleeping threads wait for otherwise.
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) loops: LoopsSeen,
    /// Polls of threads that seemed stuck.
    pub(crate) polls: PollsSeen,
    pub(crate) timeline: RawTimeline,
    pub(crate) lost: RawLosses,
}

/// When and how it was recorded.
#[derive(Clone, Copy)]
pub(crate) struct RunFacts {
    pub(crate) started_unix_s: f64,
    pub(crate) start_ns: u64,
    pub(crate) end_ns: u64,
    pub(crate) end: End,
    pub(crate) freq_hz: u32,
    pub(crate) min_block: Duration,
    pub(crate) arch: Arch,
    /// By which it is known when threads fell asleep.
    pub(crate) clock: SchedulerClock,
}

/// What was read of Python at the end.
pub(crate) struct PythonSeen {
    /// Asyncio tasks, by process.
    pub(crate) tasks: Vec<(u32, Tasks)>,
    /// Whom threads wait for in locks of Python.
    pub(crate) waits: Vec<PythonWait>,
    /// What Python calls its threads, by thread id.
    pub(crate) names: HashMap<u32, String>,
    /// Executors.
    pub(crate) pools: Vec<PythonPool>,
    /// Pools that threads wait for a slot of.
    pub(crate) slots: Vec<SlotPool>,
}

/// Event loops of the threads that were there at the end.
pub(crate) struct LoopsSeen {
    /// By the thread's serial.
    pub(crate) by_serial: HashMap<u32, EventLoop>,
    /// Every iteration was seen.
    pub(crate) exact: bool,
    /// From this length on an iteration is late.
    pub(crate) late_from: Duration,
}

/// The flight recorder's windows.
pub(crate) struct RawTimeline {
    /// Length of the finest windows.
    pub(crate) window: Duration,
    pub(crate) windows: Windows,
    pub(crate) coarsened: u64,
}

/// What was lost in the recording itself.
pub(crate) struct RawLosses {
    pub(crate) kernel: BTreeMap<Loss, u64>,
    /// Program runs that the kernel skipped.
    pub(crate) skipped_runs: u64,
    /// Unwind tables that could not be had, by name.
    pub(crate) tables: Vec<(AgentLoss, u64)>,
    /// Tables and threads that could not be read when it ended.
    pub(crate) unread: u64,
    /// CPU events that were opened again.
    pub(crate) reopened: u64,
}
