//! What a capture is asked for, and what it tells while it goes on.

use super::{heap::HeapPlan, sampling::CpuChoice, timeline::Keep};
use remora_model::timeline::Window;
use remora_probe::{DEFAULT_FAULT_PERIOD, FaultHook, LoopHook, WaitHook};
use remora_process::Selection;
use std::time::Duration;

/// What to record.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which processes.
    pub selection: Selection,
    /// For how long.
    pub duration: Duration,
    /// CPU samples a second and CPU.
    pub freq_hz: u32,
    /// On which CPUs.
    pub cpus: CpuChoice,
    /// Waits from this length on get a stack.
    pub min_block: Duration,
    /// Where the stacks of waits are taken.
    pub wait_hook: WaitHook,
    /// Kernel memory that unwind tables may take, in bytes.
    pub unwind_bytes: u64,
    /// Whether frames of Python interpreters are shown.
    pub python: PythonMode,
    /// How finely the timeline is kept.
    pub keep: Keep,
    /// How event loops are followed.
    pub loops: LoopHook,
    /// Iterations of event loops from this length on are late.
    pub late: Duration,
    /// From one look at the sockets to the next; `None`: never.
    pub socket_period: Option<Duration>,
    /// One page fault in so many is sampled at the least; 0: none is.
    pub fault_period: u32,
    /// Where page faults are seen.
    pub fault_hook: FaultHook,
    /// Processes that the targets wait for are looked at too.
    pub related: bool,
    /// Their allocators are watched.
    pub heap: Option<HeapPlan>,
}

impl Plan {
    /// A capture with everything on, each signal by its best hook.
    pub fn new(selection: Selection, duration: Duration) -> Self {
        Self {
            selection,
            duration,
            freq_hz: 99,
            cpus: CpuChoice::default(),
            min_block: Duration::from_millis(1),
            wait_hook: WaitHook::Auto,
            unwind_bytes: 128 << 20,
            python: PythonMode::Auto,
            keep: Keep {
                window: Duration::from_secs(1),
                whole: Duration::from_secs(600),
            },
            loops: LoopHook::Auto,
            late: Duration::from_millis(100),
            socket_period: Some(Duration::from_millis(500)),
            fault_period: DEFAULT_FAULT_PERIOD,
            fault_hook: FaultHook::Auto,
            related: false,
            heap: None,
        }
    }
}

/// When frames of Python interpreters are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PythonMode {
    /// Where a target has an interpreter that can be read.
    Auto,
    /// The same, and a target without one is an error.
    On,
    /// Never.
    Off,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// Everything is attached: the time counts from now.
    Recording {
        /// Target processes.
        processes: usize,
        /// Their threads.
        threads: usize,
    },
    /// A beat has passed.
    Beat {
        /// Time since the beginning.
        elapsed: Duration,
    },
    /// A window of the timeline is over.
    Window(&'a Window),
    /// The recording is over: names are looked up.
    Naming,
    /// Something that the user is to know now.
    Note(&'a str),
}
