//! What the agent can lose, one counter each. What the kernel side can lose is
//! [`remora_common::loss::Loss`].

use remora_common::loss::Loss;
use serde::{Deserialize, Serialize};

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident, $key:literal, $what:literal;)*) => {
        /// Something that the agent lost: a key of `loss` in `report.json`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[serde(rename_all = "snake_case")]
        pub enum AgentLoss {
            $($(#[$doc])* $name,)*
        }

        impl AgentLoss {
            /// Every one of them, in the order of their names.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in `report.json`.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
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
    AddressSpacesDropped, "address_spaces_dropped", "address space";
    /// A sample, wait or wake-up beyond the bound on different ones.
    AggregatesDropped, "aggregates_dropped", "aggregate";
    /// An aggregate whose thread's record is gone.
    AggregatesWithoutThread, "aggregates_without_thread", "aggregate";
    /// The entry of a socket that was closed, beyond the bound.
    ClosedSocketsDropped, "closed_sockets_dropped", "closed socket";
    /// What constrains a process from outside.
    ConditionsUnread, "conditions_unread", "process constraint";
    /// The event of a CPU that was offline meanwhile.
    CpuEventsReopened, "cpu_events_reopened", "CPU event";
    /// A CPU sample of a thread that ran where nobody samples.
    CpuSamplesNotTaken, "cpu_samples_not_taken", "CPU sample";
    /// Debug information that is damaged or too large.
    DebugInfoSkipped, "debug_info_skipped", "file's debug information";
    /// The event loop of a thread that ended, beyond the bound.
    EndedLoopsDropped, "ended_loops_dropped", "event loop";
    /// The record of a thread that ended, beyond the bound.
    EndedThreadsDropped, "ended_threads_dropped", "ended thread";
    /// A thread that ended and stands in a sum with others: no time is lost.
    EndedThreadsSummed, "ended_threads_summed", "ended thread's identity";
    /// The interests of an epoll set, or the epoll sets of a process.
    EpollInterestsUnread, "epoll_interests_unread", "epoll set";
    /// The region of a sampled page fault, beyond the bound.
    FaultRegionsMerged, "fault_regions_merged", "page fault's region";
    /// A sampled page fault, beyond the bound.
    FaultSamplesDropped, "fault_samples_dropped", "page fault sample";
    /// A mapped file beyond the bound on open files.
    FilesRefused, "files_refused", "mapped file";
    /// A mapped file that could not be opened.
    FilesUnreadable, "files_unreadable", "mapped file";
    /// The futex of a wait of an ended thread.
    FutexesMerged, "futexes_merged", "ended thread's futex";
    /// Place and kind of a futex beyond the bound.
    FutexesNotLookedUp, "futexes_not_looked_up", "futex";
    /// A step that was given up: tracers, freezers and CPU limits.
    GaveUpConstraints, "gave_up_constraints", "given-up step";
    /// A step that was given up: CPU samples of CPUs that came or went.
    GaveUpCpuEvents, "gave_up_cpu_events", "given-up step";
    /// A step that was given up: other ends of pipes and file locks.
    GaveUpDependencies, "gave_up_dependencies", "given-up step";
    /// A step that was given up: the detaching of programs.
    GaveUpDetach, "gave_up_detach", "given-up step";
    /// A step that was given up: mapped files (function names, unwind tables).
    GaveUpFiles, "gave_up_files", "given-up step";
    /// A step that was given up: heap probes.
    GaveUpHeapAttach, "gave_up_heap_attach", "given-up step";
    /// A step that was given up: heap contents.
    GaveUpHeapCensus, "gave_up_heap_census", "given-up step";
    /// A step that was given up: the end of the heap probes.
    GaveUpHeapDetach, "gave_up_heap_detach", "given-up step";
    /// A step that was given up: epoll interest sets.
    GaveUpInterests, "gave_up_interests", "given-up step";
    /// A step that was given up: Python interpreter.
    GaveUpInterpreter, "gave_up_interpreter", "given-up step";
    /// A step that was given up: Java virtual machine.
    GaveUpJava, "gave_up_java", "given-up step";
    /// A step that was given up: names of run-time code.
    GaveUpJitNames, "gave_up_jit_names", "given-up step";
    /// A step that was given up: BPF programs.
    GaveUpLoad, "gave_up_load", "given-up step";
    /// A step that was given up: lock owners.
    GaveUpLockOwners, "gave_up_lock_owners", "given-up step";
    /// A step that was given up: lock words.
    GaveUpLockWords, "gave_up_lock_words", "given-up step";
    /// A step that was given up: sizes of mappings.
    GaveUpMappingSizes, "gave_up_mapping_sizes", "given-up step";
    /// A step that was given up: memory map.
    GaveUpMappings, "gave_up_mappings", "given-up step";
    /// A step that was given up: function names.
    GaveUpNames, "gave_up_names", "given-up step";
    /// A step that was given up: resident pages.
    GaveUpPages, "gave_up_pages", "given-up step";
    /// A step that was given up: polls of event loops.
    GaveUpPolls, "gave_up_polls", "given-up step";
    /// A step that was given up: report files.
    GaveUpReport, "gave_up_report", "given-up step";
    /// A step that was given up: command line.
    GaveUpSelect, "gave_up_select", "given-up step";
    /// A step that was given up: stacks of sleeping threads.
    GaveUpSleepingStacks, "gave_up_sleeping_stacks", "given-up step";
    /// A step that was given up: sockets.
    GaveUpSockets, "gave_up_sockets", "given-up step";
    /// A step that was given up: cost of the BPF programs.
    GaveUpStatistics, "gave_up_statistics", "given-up step";
    /// A step that was given up: hooks.
    GaveUpTrial, "gave_up_trial", "given-up step";
    /// A step that was given up: room for unwind tables.
    GaveUpUnwindRoom, "gave_up_unwind_room", "given-up step";
    /// A step that was given up: unwind tables.
    GaveUpUnwindTables, "gave_up_unwind_tables", "given-up step";
    /// A sampled call that had not returned when heap tracking ended.
    HeapInFlight, "heap_in_flight", "allocation in flight";
    /// A process whose allocator is not tracked.
    HeapProcessesSkipped, "heap_processes_skipped", "process without heap tracking";
    /// A stack of allocations beyond the bound.
    HeapSitesDropped, "heap_sites_dropped", "allocation stack";
    /// A sampled block whose stack could not be read.
    HeapStacksUnknown, "heap_stacks_unknown", "allocation stack";
    /// File and line of a function in a jitdump.
    JitdumpLinesDamaged, "jitdump_lines_damaged", "jitdump line table";
    /// The end of a jitdump.
    JitdumpsCut, "jitdumps_cut", "jitdump";
    /// Whether a thread holds a lock that records no owner.
    LockHoldersNotLookedFor, "lock_holders_not_looked_for", "possible lock holder";
    /// A lock beyond the bound.
    LocksLeftOut, "locks_left_out", "lock";
    /// The mappings of a process.
    MappingsUnreadable, "mappings_unreadable", "address space";
    /// The mappings of a process, at the start or the end.
    MemoryMappingsUnread, "memory_mappings_unread", "memory map";
    /// The memory of a process beyond the bound.
    MemoryProcessesDropped, "memory_processes_dropped", "process's memory";
    /// A reading of a process's memory.
    MemoryReadingsSkipped, "memory_readings_skipped", "memory reading";
    /// What is left of a region that was faulted in, beyond the bound.
    MemoryRegionsDropped, "memory_regions_dropped", "memory region";
    /// The user stack of a thread that sleeps at the end.
    MemoryUnreadable, "memory_unreadable", "stack";
    /// The process at the other end of a socket.
    PeersUnresolved, "peers_unresolved", "socket peer";
    /// A line of a perf map.
    PerfMapBadLines, "perf_map_bad_lines", "perf map line";
    /// A perf map of another user, or the end of one.
    PerfMapsRefused, "perf_maps_refused", "perf map";
    /// A run of a BPF program that the kernel skipped.
    ProgramRunsSkipped, "program_runs_skipped", "BPF program run";
    /// The name of a Python function: another code object stood there.
    PythonCodeReplaced, "python_code_replaced", "Python function name";
    /// The name of a Python function: its code object was gone.
    PythonCodeUnreadable, "python_code_unreadable", "Python function name";
    /// A Python interpreter that cannot be read.
    PythonInterpretersUnknown, "python_interpreters_unknown", "Python interpreter";
    /// When a thread fell asleep that slept before the capture.
    SleepClocksUnknown, "sleep_clocks_unknown", "start of a wait";
    /// A sample of the sockets that failed.
    SocketSamplesFailed, "socket_samples_failed", "socket sample";
    /// A sample of the sockets that was left out for its cost.
    SocketSamplesSkipped, "socket_samples_skipped", "socket sample";
    /// A socket beyond the bound.
    SocketsUntracked, "sockets_untracked", "socket";
    /// A stack beyond the bound.
    StacksDropped, "stacks_dropped", "stack";
    /// A stack that could not be read out of its table.
    StacksUnreadable, "stacks_unreadable", "stack";
    /// The symbols of a file.
    SymbolFilesUnparsable, "symbol_files_unparsable", "file's symbol table";
    /// The name of a frame that no mapping holds.
    UnmappedFrames, "unmapped_frames", "frame name";
    /// A table or thread that could not be read when the capture ended.
    UnreadAtTheEnd, "unread_at_the_end", "kernel table";
    /// The name of a frame.
    UnsymbolisedFrames, "unsymbolised_frames", "frame name";
    /// A mapped file beyond the bound on unwind tables.
    UnwindFilesLeftOut, "unwind_files_left_out", "mapped file";
    /// A mapping beyond the bound on unwind tables.
    UnwindMappingsLeftOut, "unwind_mappings_left_out", "unwind mapping";
    /// An address space beyond the bound on unwind tables.
    UnwindSpacesUnnumbered, "unwind_spaces_unnumbered", "address space";
    /// An unwind table that was given up for another.
    UnwindTablesEvicted, "unwind_tables_evicted", "unwind table";
    /// An unwind table that found no room.
    UnwindTablesOverBudget, "unwind_tables_over_budget", "unwind table";
    /// An unwind table that was asked for later, for too many were.
    UnwindTablesPostponed, "unwind_tables_postponed", "unwind table";
    /// An unwind table that was still being compiled at the end.
    UnwindTablesUnfinished, "unwind_tables_unfinished", "unwind table";
    /// An unwind table whose source is damaged.
    UnwindTablesUnparsable, "unwind_tables_unparsable", "unwind table";
    /// An unwind table that the kernel did not take.
    UnwindWritesRefused, "unwind_writes_refused", "unwind table";
    /// The stack of a long wait.
    WaitStacksLost, "wait_stacks_lost", "wait's stack";
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
    pub const fn key(self) -> &'static str {
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
