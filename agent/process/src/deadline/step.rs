//! The steps of a capture that may hang, each with its limit.

use remora_model::AgentLoss;
use std::time::Duration;

/// Something that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The arguments and the executable's place of a process.
    Select,
    /// Programs are loaded and attached.
    Load,
    /// A hook is tried by `doctor`.
    Trial,
    /// `/proc/PID/maps` of a process.
    Mappings,
    /// The mapped files of a process are opened, those of one file system at a time.
    OpenFiles,
    /// The call frame information of a file.
    UnwindTable,
    /// The kernel makes room for unwind tables.
    UnwindRoom,
    /// One question to the Python interpreter of a process.
    Interpreter,
    /// The threads of the Java virtual machine of a process.
    JavaMachine,
    /// The stacks of threads that sleep.
    SleepingStacks,
    /// The words of locks in the memory of a process.
    LockWords,
    /// The owners of locks that name none, from the code of a process.
    LockOwners,
    /// Whom sleeping threads wait for.
    Dependencies,
    /// The interest set of an event loop.
    Interests,
    /// Tracers, freezers, CPU limits.
    Constraints,
    /// Which pages of a process are resident.
    Pages,
    /// What is inside heaps and interpreters.
    HeapCensus,
    /// All mappings of the targets with their sizes.
    MappingSizes,
    /// The last sample of sockets.
    Sockets,
    /// BPF run-time statistics are switched.
    Statistics,
    /// The hook that counts polls for a moment: in, and out again.
    Polls,
    /// Events of CPUs that came or went are opened and closed.
    CpuEvents,
    /// The watch on allocators enters the targets' text.
    HeapAttach,
    /// The watch on allocators leaves the targets' text.
    HeapDetach,
    /// The names of a file's functions.
    Names,
    /// The names of code made at run time, of a process.
    JitNames,
    /// The report's files.
    Report,
    /// Programs are detached.
    Detach,
}

/// Every step, with the longest wait for it, its name in `loss` and what is missing without it.
const TABLE: [(Step, Duration, AgentLoss, &str); 28] = [
    (
        Step::Select,
        secs(1),
        AgentLoss::GaveUpSelect,
        "command line",
    ),
    (Step::Load, secs(60), AgentLoss::GaveUpLoad, "BPF programs"),
    (Step::Trial, secs(5), AgentLoss::GaveUpTrial, "hooks"),
    (
        Step::Mappings,
        secs(1),
        AgentLoss::GaveUpMappings,
        "memory map",
    ),
    (
        Step::OpenFiles,
        secs(1),
        AgentLoss::GaveUpFiles,
        "mapped files (function names, unwind tables)",
    ),
    (
        Step::UnwindTable,
        secs(20),
        AgentLoss::GaveUpUnwindTables,
        "unwind tables",
    ),
    (
        Step::UnwindRoom,
        secs(3),
        AgentLoss::GaveUpUnwindRoom,
        "room for unwind tables",
    ),
    (
        Step::Interpreter,
        secs(1),
        AgentLoss::GaveUpInterpreter,
        "Python interpreter",
    ),
    (
        Step::JavaMachine,
        secs(1),
        AgentLoss::GaveUpJava,
        "Java virtual machine",
    ),
    (
        Step::SleepingStacks,
        secs(5),
        AgentLoss::GaveUpSleepingStacks,
        "stacks of sleeping threads",
    ),
    (
        Step::LockWords,
        secs(1),
        AgentLoss::GaveUpLockWords,
        "lock words",
    ),
    (
        Step::LockOwners,
        secs(8),
        AgentLoss::GaveUpLockOwners,
        "lock owners",
    ),
    (
        Step::Dependencies,
        secs(2),
        AgentLoss::GaveUpDependencies,
        "other ends of pipes and file locks",
    ),
    (
        Step::Interests,
        secs(1),
        AgentLoss::GaveUpInterests,
        "epoll interest sets",
    ),
    (
        Step::Constraints,
        secs(2),
        AgentLoss::GaveUpConstraints,
        "tracers, freezers and CPU limits",
    ),
    (
        Step::Pages,
        secs(2),
        AgentLoss::GaveUpPages,
        "resident pages",
    ),
    (
        Step::HeapCensus,
        secs(20),
        AgentLoss::GaveUpHeapCensus,
        "heap contents",
    ),
    (
        Step::MappingSizes,
        secs(10),
        AgentLoss::GaveUpMappingSizes,
        "sizes of mappings",
    ),
    (Step::Sockets, secs(5), AgentLoss::GaveUpSockets, "sockets"),
    (
        Step::Statistics,
        secs(2),
        AgentLoss::GaveUpStatistics,
        "cost of the BPF programs",
    ),
    (
        Step::Polls,
        secs(2),
        AgentLoss::GaveUpPolls,
        "polls of event loops",
    ),
    (
        Step::CpuEvents,
        secs(2),
        AgentLoss::GaveUpCpuEvents,
        "CPU samples of CPUs that came or went",
    ),
    (
        Step::HeapAttach,
        secs(5),
        AgentLoss::GaveUpHeapAttach,
        "heap probes",
    ),
    (
        Step::HeapDetach,
        secs(5),
        AgentLoss::GaveUpHeapDetach,
        "the end of the heap probes",
    ),
    (
        Step::Names,
        secs(60),
        AgentLoss::GaveUpNames,
        "function names",
    ),
    (
        Step::JitNames,
        secs(10),
        AgentLoss::GaveUpJitNames,
        "names of run-time code",
    ),
    (
        Step::Report,
        secs(60),
        AgentLoss::GaveUpReport,
        "report files",
    ),
    (
        Step::Detach,
        secs(5),
        AgentLoss::GaveUpDetach,
        "the detaching of programs",
    ),
];

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Step {
    fn row(self) -> &'static (Step, Duration, AgentLoss, &'static str) {
        // In the order of the enum, which a test asserts.
        &TABLE[self as usize]
    }

    /// The longest wait for it while its thread is blocked.
    pub fn limit(self) -> Duration {
        self.row().1
    }

    /// What it gets at the least when the user's time is over: without the report all else was in vain.
    pub(super) fn least(self) -> Duration {
        match self {
            Self::Report => Duration::from_millis(1500),
            _ => Duration::from_millis(50),
        }
    }

    /// Its counter under `loss` in `report.json`.
    pub fn loss(self) -> AgentLoss {
        self.row().2
    }

    /// What is missing where it was given up, in words.
    pub fn missing(self) -> &'static str {
        self.row().3
    }

    /// All of them, with limits and losses: for the docs and their test.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_steps() {
        for (at, step) in Step::all().enumerate() {
            assert_eq!(step as usize, at);
            assert!(step.limit() <= secs(60) && step.loss().key().starts_with("gave_up_"));
        }
        assert_eq!(Step::Detach as usize + 1, TABLE.len());
    }

    #[test]
    fn the_docs_have_every_limit() {
        let docs = include_str!("../../../../docs/deadlines.md");
        for step in Step::all() {
            let row = format!(
                "| `{}` | {} | {} s |",
                step.loss().key(),
                step.missing(),
                step.limit().as_secs()
            );
            assert!(docs.contains(&row), "docs/deadlines.md lacks: {row}");
        }
    }
}
