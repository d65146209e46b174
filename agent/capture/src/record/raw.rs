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

/// Everything that a session leaves behind.
pub(crate) struct RawCapture {
    pub started_unix_s: f64,
    pub start_ns: u64,
    pub end_ns: u64,
    pub end: End,
    pub freq_hz: u32,
    pub sampling: CpuSampling,
    /// CPU events that were opened again.
    pub reopened: u64,
    pub min_block: Duration,
    pub arch: Arch,
    /// By which it is known when threads fell asleep.
    pub clock: SchedulerClock,
    pub processes: BTreeMap<u32, Process>,
    /// Threads that were there at the end.
    pub living: Vec<ThreadSlot>,
    pub aggregates: AggregateStore,
    pub spaces: Spaces,
    pub interpreters: Interpreters,
    /// Asyncio tasks at the end, by process.
    pub tasks: Vec<(u32, Tasks)>,
    /// Objects of interpreters and blocks of malloc at the start and the end.
    pub census: HeapCensus,
    pub sockets: SocketsSeen,
    pub blocked: BlockedStacks,
    pub memory: MemoryRecord,
    /// Of a watch on allocators.
    pub heap: Option<HeapRecord>,
    /// What holds the processes, and what was not read of it.
    pub constraints: (Constraints, u64),
    pub kernel_losses: BTreeMap<Loss, u64>,
    /// Program runs that the kernel skipped.
    pub skipped_runs: u64,
    /// Unwind tables that could not be had, by name.
    pub table_losses: Vec<(AgentLoss, u64)>,
    /// Tables and threads that could not be read when the capture ended.
    pub unread: u64,
    pub signals: Vec<Signal>,
    pub overhead: Overhead,
    /// What was looked up of futexes.
    pub futexes: FutexStates,
    /// Who owns those that note no owner.
    pub owners: OwnersByCode,
    /// Whom sleeping threads wait for otherwise.
    pub dependencies: Vec<Dependency>,
    /// And in locks of Python.
    pub python_waits: Vec<PythonWait>,
    /// What Python calls its threads, by thread id.
    pub python_names: HashMap<u32, String>,
    /// Executors of Python programs.
    pub python_pools: Vec<PythonPool>,
    /// Java virtual machines, and what their threads wait for.
    pub java: JavaStates,
    /// Pools that threads of theirs wait for a slot of.
    pub slot_pools: Vec<SlotPool>,
    /// Event loops of the threads that were there at the end, by serial.
    pub loops: HashMap<u32, EventLoop>,
    pub loops_are_exact: bool,
    /// Polls of threads that seemed stuck.
    pub polls: PollsSeen,
    /// From this length on an iteration is late.
    pub late_from: Duration,
    /// Length of the finest windows.
    pub window: Duration,
    pub windows: Windows,
    pub windows_coarsened: u64,
}
