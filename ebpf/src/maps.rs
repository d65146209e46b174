//! Every map. Sizes marked `set at load` are overridden by the agent.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf, Stack},
};
use remora_common::{
    aggregate::{Aggregate, Control, MAX_FRAMES, StackEntry},
    event::TASK_RECORD_MAX,
    loss::LOSSES,
    reason::SYSCALL_TABLE,
    thread::{ThreadSlot, TidChunk},
};

/// Thread id → slot, 2,048 ids an element. Set at load: covers `pid_max`.
#[map]
pub static TIDS: Array<TidChunk> = Array::with_max_entries(16, 0);

/// The thread state table; element 0 is never used. Set at load.
#[map]
pub static SLOTS: Array<ThreadSlot> = Array::with_max_entries(2048, BPF_F_MMAPABLE);

/// Free slots, filled by the agent. Set at load.
#[map]
pub static FREE_SLOTS: Stack<u32> = Stack::with_max_entries(2048, 0);

/// Target processes while they are enlisted: process id → start time in clock ticks since boot.
#[map]
pub static TARGETS: HashMap<u32, u64> = HashMap::with_max_entries(4096, 0);

/// System call number → `SyscallClass`.
#[map]
pub static SYSCALLS: Array<u8> = Array::with_max_entries(SYSCALL_TABLE as u32, 0);

/// Two halves of interned stacks. Set at load.
#[map]
pub static STACKS: Array<StackEntry> = Array::with_max_entries(2, 0);

/// Two halves of aggregates. Set at load.
#[map]
pub static AGGREGATES: Array<Aggregate> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// One record shared with the agent.
#[map]
pub static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Loss counters, by `Loss`.
#[map]
pub static LOSS: PerCpuArray<u64> = PerCpuArray::with_max_entries(LOSSES as u32, 0);

/// Rare events: forks, execs, exits.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(256 * 1024, 0);

/// A stack before it is interned. One element for each program that may interrupt another.
#[map]
pub static FRAMES: PerCpuArray<[u64; MAX_FRAMES + 1]> = PerCpuArray::with_max_entries(3, 0);

/// A record of the task iterator while it is put together.
#[map]
pub static TASK_RECORD: PerCpuArray<[u64; TASK_RECORD_MAX / 8]> =
    PerCpuArray::with_max_entries(1, 0);
