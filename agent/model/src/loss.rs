//! What the agent can lose, one counter each. What the kernel side can lose is
//! [`remora_common::loss::Loss`].

use remora_common::loss::Loss;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)*) => {
        /// Something that the agent lost: a key of `loss` in `report.json`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[derive(IntoStaticStr, VariantArray)]
        #[serde(rename_all = "snake_case")]
        #[strum(serialize_all = "snake_case")]
        pub enum AgentLoss {
            $($(#[$doc])* $name,)*
        }

        impl AgentLoss {
            /// Every one of them, in the order of their names.
            pub const ALL: &'static [Self] = Self::VARIANTS;

            /// Its name in `report.json`.
            pub fn key(self) -> &'static str {
                self.into()
            }

            /// What one of it is, in the singular.
            pub const fn what(self) -> &'static str {
                match self { $(Self::$name => $what,)* }
            }
        }
    };
}

losses! {
    /// An address space beyond the bound: its frames have no names.
    AddressSpacesDropped, "address space";
    /// A sample, wait or wake-up beyond the bound on different ones.
    AggregatesDropped, "aggregate";
    /// An aggregate of a kind that the agent does not know.
    AggregatesUnknown, "aggregate";
    /// An aggregate whose thread's record is gone.
    AggregatesWithoutThread, "aggregate";
    /// The entry of a socket that was closed, beyond the bound.
    ClosedSocketsDropped, "closed socket";
    /// What constrains a process from outside.
    ConditionsUnread, "process constraint";
    /// The event of a CPU that was offline meanwhile.
    CpuEventsReopened, "CPU event";
    /// A CPU sample of a thread that ran where nobody samples.
    CpuSamplesNotTaken, "CPU sample";
    /// Debug information that is damaged or too large.
    DebugInfoSkipped, "file's debug information";
    /// The event loop of a thread that ended, beyond the bound.
    EndedLoopsDropped, "event loop";
    /// The record of a thread that ended, beyond the bound.
    EndedThreadsDropped, "ended thread";
    /// A thread that ended and stands in a sum with others: no time is lost.
    EndedThreadsSummed, "ended thread's identity";
    /// The interests of an epoll set, or the epoll sets of a process.
    EpollInterestsUnread, "epoll set";
    /// The region of a sampled page fault, beyond the bound.
    FaultRegionsMerged, "page fault's region";
    /// A sampled page fault, beyond the bound.
    FaultSamplesDropped, "page fault sample";
    /// A mapped file beyond the bound on open files.
    FilesRefused, "mapped file";
    /// A mapped file that could not be opened.
    FilesUnreadable, "mapped file";
    /// The futex of a wait of an ended thread.
    FutexesMerged, "ended thread's futex";
    /// Place and kind of a futex beyond the bound.
    FutexesNotLookedUp, "futex";
    /// A step that was given up: tracers, freezers and CPU limits.
    GaveUpConstraints, "given-up step";
    /// A step that was given up: CPU samples of CPUs that came or went.
    GaveUpCpuEvents, "given-up step";
    /// A step that was given up: other ends of pipes and file locks.
    GaveUpDependencies, "given-up step";
    /// A step that was given up: the detaching of programs.
    GaveUpDetach, "given-up step";
    /// A step that was given up: mapped files (function names, unwind tables).
    GaveUpFiles, "given-up step";
    /// A step that was given up: heap probes.
    GaveUpHeapAttach, "given-up step";
    /// A step that was given up: heap contents.
    GaveUpHeapCensus, "given-up step";
    /// A step that was given up: the end of the heap probes.
    GaveUpHeapDetach, "given-up step";
    /// A step that was given up: epoll interest sets.
    GaveUpInterests, "given-up step";
    /// A step that was given up: Python interpreter.
    GaveUpInterpreter, "given-up step";
    /// A step that was given up: Java virtual machine.
    GaveUpJava, "given-up step";
    /// A step that was given up: names of run-time code.
    GaveUpJitNames, "given-up step";
    /// A step that was given up: BPF programs.
    GaveUpLoad, "given-up step";
    /// A step that was given up: lock owners.
    GaveUpLockOwners, "given-up step";
    /// A step that was given up: lock words.
    GaveUpLockWords, "given-up step";
    /// A step that was given up: sizes of mappings.
    GaveUpMappingSizes, "given-up step";
    /// A step that was given up: memory map.
    GaveUpMappings, "given-up step";
    /// A step that was given up: function names.
    GaveUpNames, "given-up step";
    /// A step that was given up: resident pages.
    GaveUpPages, "given-up step";
    /// A step that was given up: polls of event loops.
    GaveUpPolls, "given-up step";
    /// A step that was given up: report files.
    GaveUpReport, "given-up step";
    /// A step that was given up: command line.
    GaveUpSelect, "given-up step";
    /// A step that was given up: stacks of sleeping threads.
    GaveUpSleepingStacks, "given-up step";
    /// A step that was given up: sockets.
    GaveUpSockets, "given-up step";
    /// A step that was given up: cost of the BPF programs.
    GaveUpStatistics, "given-up step";
    /// A step that was given up: hooks.
    GaveUpTrial, "given-up step";
    /// A step that was given up: room for unwind tables.
    GaveUpUnwindRoom, "given-up step";
    /// A step that was given up: unwind tables.
    GaveUpUnwindTables, "given-up step";
    /// A sampled call that had not returned when heap tracking ended.
    HeapInFlight, "allocation in flight";
    /// A process whose allocator is not tracked.
    HeapProcessesSkipped, "process without heap tracking";
    /// A stack of allocations beyond the bound.
    HeapSitesDropped, "allocation stack";
    /// A sampled block whose stack could not be read.
    HeapStacksUnknown, "allocation stack";
    /// File and line of a function in a jitdump.
    JitdumpLinesDamaged, "jitdump line table";
    /// The end of a jitdump.
    JitdumpsCut, "jitdump";
    /// Whether a thread holds a lock that records no owner.
    LockHoldersNotLookedFor, "possible lock holder";
    /// A lock beyond the bound.
    LocksLeftOut, "lock";
    /// The mappings of a process.
    MappingsUnreadable, "address space";
    /// The mappings of a process, at the start or the end.
    MemoryMappingsUnread, "memory map";
    /// The memory of a process beyond the bound.
    MemoryProcessesDropped, "process's memory";
    /// A reading of a process's memory.
    MemoryReadingsSkipped, "memory reading";
    /// What is left of a region that was faulted in, beyond the bound.
    MemoryRegionsDropped, "memory region";
    /// The user stack of a thread that sleeps at the end.
    MemoryUnreadable, "stack";
    /// The process at the other end of a socket.
    PeersUnresolved, "socket peer";
    /// A line of a perf map.
    PerfMapBadLines, "perf map line";
    /// A perf map of another user, or the end of one.
    PerfMapsRefused, "perf map";
    /// A run of a BPF program that the kernel skipped.
    ProgramRunsSkipped, "BPF program run";
    /// The name of a Python function: another code object stood there.
    PythonCodeReplaced, "Python function name";
    /// The name of a Python function: its code object was gone.
    PythonCodeUnreadable, "Python function name";
    /// A Python interpreter that cannot be read.
    PythonInterpretersUnknown, "Python interpreter";
    /// When a thread fell asleep that slept before the capture.
    SleepClocksUnknown, "start of a wait";
    /// A sample of the sockets that failed.
    SocketSamplesFailed, "socket sample";
    /// A sample of the sockets that was left out for its cost.
    SocketSamplesSkipped, "socket sample";
    /// A socket beyond the bound.
    SocketsUntracked, "socket";
    /// A stack beyond the bound.
    StacksDropped, "stack";
    /// A stack that could not be read out of its table.
    StacksUnreadable, "stack";
    /// The symbols of a file.
    SymbolFilesUnparsable, "file's symbol table";
    /// The name of a frame that no mapping holds.
    UnmappedFrames, "frame name";
    /// A table or thread that could not be read when the capture ended.
    UnreadAtTheEnd, "kernel table";
    /// The name of a frame.
    UnsymbolisedFrames, "frame name";
    /// A mapped file beyond the bound on unwind tables.
    UnwindFilesLeftOut, "mapped file";
    /// A mapping beyond the bound on unwind tables.
    UnwindMappingsLeftOut, "unwind mapping";
    /// An address space beyond the bound on unwind tables.
    UnwindSpacesUnnumbered, "address space";
    /// An unwind table that was given up for another.
    UnwindTablesEvicted, "unwind table";
    /// An unwind table that found no room.
    UnwindTablesOverBudget, "unwind table";
    /// An unwind table that was asked for later, for too many were.
    UnwindTablesPostponed, "unwind table";
    /// An unwind table that was still being compiled at the end.
    UnwindTablesUnfinished, "unwind table";
    /// An unwind table whose source is damaged.
    UnwindTablesUnparsable, "unwind table";
    /// An unwind table that the kernel did not take.
    UnwindWritesRefused, "unwind table";
    /// The stack of a long wait.
    WaitStacksLost, "wait's stack";
}

/// Something that was lost, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LossId {
    /// By the kernel side.
    Kernel(Loss),
    /// By the agent.
    Agent(AgentLoss),
}

impl LossId {
    /// Its name in `report.json`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Kernel(loss) => loss.key(),
            Self::Agent(loss) => loss.key(),
        }
    }

    /// What one of it is, in the singular: an `s` behind it makes the plural.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Kernel(loss) => of_kernel(loss),
            Self::Agent(loss) => loss.what(),
        }
    }
}

const fn of_kernel(loss: Loss) -> &'static str {
    match loss {
        Loss::StackTableFull => "stack",
        Loss::UserStackFailed => "user stack",
        Loss::KernelStackFailed => "kernel stack",
        Loss::AggregateTableFull => "aggregate",
        Loss::ThreadTableFull => "thread",
        Loss::EventRingFull => "fork, exec or exit event",
        Loss::Compat32Waits => "wait reason of a 32-bit task",
        Loss::RegistersUnreadable => "wait reason",
        Loss::DescriptorUnreadable => "wait reason",
        Loss::WaitStackSkipped => "wait's stack",
        Loss::TidOutOfRange => "thread",
        Loss::StateTorn => "state change",
        Loss::StackTruncated => "stack root",
        Loss::PythonThreadNotFound => "Python stack",
        Loss::EventLoopTableFull => "event loop",
        Loss::LateMarksLost => "late mark",
        Loss::FaultRegionDropped => "page fault's region",
        Loss::FaultSampleDropped => "page fault sample",
        Loss::HeapTableFull => "allocation sample",
        Loss::HeapStackDropped => "allocation stack",
        Loss::HeapFreeMissed => "free",
        Loss::HeapReturnMissed => "allocation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_are_what_serde_writes() {
        let keys: Vec<_> = AgentLoss::ALL.iter().map(|loss| loss.key()).collect();
        assert!(keys.is_sorted(), "{keys:?}");
        for loss in AgentLoss::ALL {
            let written = serde_json::to_string(loss).expect("a name");
            assert_eq!(written, format!("\"{}\"", loss.key()));
        }
    }
}
