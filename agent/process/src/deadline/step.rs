//! The steps of a capture that may hang, each with its limit.

use remora_model::AgentLoss;
use std::time::Duration;
use strum::VariantArray;

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident, $seconds:literal s, $loss:ident, $missing:literal;)*) => {
        /// Something that is waited for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, VariantArray)]
        pub enum Step {
            $($(#[$doc])* $name,)*
        }

        impl Step {
            /// All of them, with limits and losses: for the docs and their test.
            pub const ALL: &'static [Self] = Self::VARIANTS;

            /// The longest wait for it while its thread is blocked.
            pub const fn limit(self) -> Duration {
                match self { $(Self::$name => Duration::from_secs($seconds),)* }
            }

            /// Its counter under `loss` in `report.json`.
            pub const fn loss(self) -> AgentLoss {
                match self { $(Self::$name => AgentLoss::$loss,)* }
            }

            /// What is missing where it was given up, in words.
            pub const fn missing(self) -> &'static str {
                match self { $(Self::$name => $missing,)* }
            }
        }
    };
}

steps! {
    /// The arguments and the executable's place of a process.
    Select, 1 s, GaveUpSelect, "command line";
    /// Programs are loaded and attached.
    Load, 60 s, GaveUpLoad, "BPF programs";
    /// A hook is tried by `doctor`.
    FeatureProbe, 5 s, GaveUpTrial, "hooks";
    /// `/proc/PID/maps` of a process.
    Mappings, 1 s, GaveUpMappings, "memory map";
    /// The mapped files of a process are opened, those of one file system at a time.
    OpenFiles, 1 s, GaveUpFiles, "mapped files (function names, unwind tables)";
    /// The call frame information of a file.
    UnwindTable, 20 s, GaveUpUnwindTables, "unwind tables";
    /// The kernel makes room for unwind tables.
    UnwindRoom, 3 s, GaveUpUnwindRoom, "room for unwind tables";
    /// One question to the Python interpreter of a process.
    Interpreter, 1 s, GaveUpInterpreter, "Python interpreter";
    /// The threads of the Java virtual machine of a process.
    JavaMachine, 1 s, GaveUpJava, "Java virtual machine";
    /// The stacks of threads that sleep.
    SleepingStacks, 5 s, GaveUpSleepingStacks, "stacks of sleeping threads";
    /// The words of locks in the memory of a process.
    LockWords, 1 s, GaveUpLockWords, "lock words";
    /// The owners of locks that name none, from the code of a process.
    LockOwners, 8 s, GaveUpLockOwners, "lock owners";
    /// Whom sleeping threads wait for.
    Dependencies, 2 s, GaveUpDependencies, "other ends of pipes and file locks";
    /// The interest set of an event loop.
    Interests, 1 s, GaveUpInterests, "epoll interest sets";
    /// Tracers, freezers, CPU limits.
    Constraints, 2 s, GaveUpConstraints, "tracers, freezers and CPU limits";
    /// Which pages of a process are resident.
    Pages, 2 s, GaveUpPages, "resident pages";
    /// What is inside heaps and interpreters.
    HeapCensus, 20 s, GaveUpHeapCensus, "heap contents";
    /// All mappings of the targets with their sizes.
    MappingSizes, 10 s, GaveUpMappingSizes, "sizes of mappings";
    /// The last sample of sockets.
    Sockets, 5 s, GaveUpSockets, "sockets";
    /// BPF run-time statistics are switched.
    Statistics, 2 s, GaveUpStatistics, "cost of the BPF programs";
    /// The hook that counts polls for a moment: in, and out again.
    Polls, 2 s, GaveUpPolls, "polls of event loops";
    /// Events of CPUs that came or went are opened and closed.
    CpuEvents, 2 s, GaveUpCpuEvents, "CPU samples of CPUs that came or went";
    /// The watch on allocators enters the targets' text.
    HeapAttach, 5 s, GaveUpHeapAttach, "heap probes";
    /// The watch on allocators leaves the targets' text.
    HeapDetach, 5 s, GaveUpHeapDetach, "the end of the heap probes";
    /// The names of a file's functions.
    Names, 60 s, GaveUpNames, "function names";
    /// The names of code made at run time, of a process.
    JitNames, 10 s, GaveUpJitNames, "names of run-time code";
    /// The report's files.
    Report, 60 s, GaveUpReport, "report files";
    /// Programs are detached.
    Detach, 5 s, GaveUpDetach, "the detaching of programs";
}

impl Step {
    /// What it gets at the least when the user's time is over: without the report all else was in vain.
    pub(super) fn least(self) -> Duration {
        match self {
            Self::Report => Duration::from_millis(1500),
            _ => Duration::from_millis(50),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_has_a_loss_of_its_own_and_a_limit_of_a_minute_at_the_most() {
        let mut losses = std::collections::BTreeSet::new();
        for step in Step::ALL {
            assert!(step.limit() <= Duration::from_secs(60));
            assert!(step.loss().key().starts_with("gave_up_"));
            assert!(losses.insert(step.loss()), "{step:?} shares its counter");
        }
    }

    #[test]
    fn the_docs_have_every_limit() {
        let docs = include_str!("../../../../docs/deadlines.md");
        for step in Step::ALL {
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
