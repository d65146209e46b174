//! The kernel side as the agent sees it: loaded, attached, enlisted, read. The only module that
//! knows aya.
//!
//! | module | what |
//! | --- | --- |
//! | [`load`](self) | globals, table sizes, the choice of hooks |
//! | `hooks` | attaches one program each, and turns a refusal into words |
//! | `events` | programs on events of single CPUs |
//! | `loops` | hooks on the waits of event loops, and their records |
//! | `polls` | counts polls exactly, for a moment |
//! | `heap` | probes in the targets' allocators, and the blocks that they saw |
//! | `mapped` | a map's memory, read without a system call |
//! | `unwind` | unwind tables and address spaces into the maps |
//! | `tables` | threads, aggregates and stacks out of the maps |
//! | `aggregate` | what aggregates say, each kind with the fields that it has |
//! | `iterate` | runs the task iterators |
//! | `sockets` | runs the iterators over descriptors |
//! | `perf` | opens an event of a CPU or a point of code |
//! | `link` | binds an iterator to a process, a program to an event |
//! | `feature_probe` | tries every hook, for `remora doctor` |
//! | `cost` | what the programs cost and what they lost |

mod aggregate;
mod cost;
mod error;
mod events;
mod feature_probe;
mod heap;
mod hooks;
mod iterate;
mod link;
mod load;
#[cfg(feature = "debug-log")]
mod log;
mod loops;
mod mapped;
mod object;
mod perf;
mod polls;
mod sockets;
mod tables;
mod unwind;

pub use aggregate::{Tally, ThreadTally, Times, WaitForm, Waker};
pub use cost::StatisticsOn;
pub use error::ProbeError;
pub use events::{DEFAULT_FAULT_PERIOD, FaultHook};
pub use feature_probe::{FeatureProbe, probe_features};
pub use heap::{Detached, HeapPoint, HeapProbes, HeapPrograms, TrapCost};
pub use iterate::BlockedThread;
pub use load::{Settings, WaitHook};
pub use loops::{ExactHook, LoopHook};
pub use object::has_kernel_side;
pub use sockets::{SocketProbe, records};
pub use tables::Drained;

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray, RingBuf, Stack},
};
use mapped::Mapped;
use remora_common::{
    aggregate::{Aggregate, Control, StackEntry},
    event::Event,
    event_loop::EventLoop,
    thread::ThreadSlot,
    unwind::Chunk,
};
use remora_model::Signal;
use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};
use unwind::UnwindMaps;

/// The running kernel side. Dropping it detaches everything.
pub struct Probe {
    ebpf: Ebpf,
    control: Mapped<Control>,
    slots: Mapped<ThreadSlot>,
    loops: Mapped<EventLoop>,
    free_loops: Stack<MapData, u32>,
    polls: polls::PollCounter,
    aggregates: Mapped<Aggregate>,
    stacks: Array<MapData, StackEntry>,
    stacks_per_bank: u32,
    free_slots: Stack<MapData, u32>,
    targets: HashMap<MapData, u32, u64>,
    events: RingBuf<MapData>,
    loss: PerCpuArray<MapData, u64>,
    /// Python stacks whose frames were given out, in this filling of the tables.
    python_seen: (u32, std::collections::HashSet<u32>),
    map_bytes: u64,
    unwind: UnwindMaps,
    /// User stacks are walked by tables.
    unwinds: bool,
    /// The iterator that shows sleeping threads.
    snapshot: &'static str,
    signals: Vec<Signal>,
    cpu_events: Vec<events::CpuEvents>,
    heap: heap::HeapMaps,
    /// Loaded where allocators may be watched, until they are taken.
    heap_programs: Option<Result<HeapPrograms, ProbeError>>,
    heap_probes: HeapProbes,
    #[cfg(feature = "debug-log")]
    log: log::KernelLog,
}

impl Probe {
    /// Prints what the kernel side has to say of itself.
    #[cfg(feature = "debug-log")]
    pub fn show_log(&mut self) {
        self.log.show();
    }

    /// Which hook serves each signal.
    pub fn signals(&self) -> &[Signal] {
        &self.signals
    }

    /// Kernel memory of all maps, in bytes.
    pub fn map_bytes(&self) -> u64 {
        self.map_bytes + u64::from(self.chunks()) * size_of::<Chunk>() as u64
    }

    /// From now on events count; returns `CLOCK_MONOTONIC` nanoseconds.
    pub fn start(&self) -> u64 {
        let now = now_ns();
        self.set_recording(1);
        now
    }

    /// Events no longer count, from this moment on: the tables stand still. Returns
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub fn stop(&self) -> u64 {
        self.set_recording(0);
        now_ns()
    }

    /// Descriptor that becomes readable when a fork or exec wants attention.
    pub fn events_fd(&self) -> io::Result<OwnedFd> {
        self.events.as_fd().try_clone_to_owned()
    }

    /// The next rare event, if there is one.
    pub fn next_event(&mut self) -> Option<Event> {
        let item = self.events.next()?;
        bytemuck::try_pod_read_unaligned(&item).ok()
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds, the clock of `bpf_ktime_get_ns`.
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
