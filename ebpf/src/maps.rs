//! Every map. Sizes marked `set at load` are overridden by the agent.

use crate::{stack::TAKERS, unwind::Walk};
use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, bpf_map_type::BPF_MAP_TYPE_ARRAY},
    btf_maps::ArrayOfMaps,
    helpers::generated::bpf_map_lookup_elem,
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, RingBuf, Stack},
};
use remora_common::{
    aggregate::{Aggregate, Control, STACK_WORDS, StackEntry},
    event::TASK_RECORD_MAX,
    event_loop::{EventLoop, LOOPS},
    heap::{Block, BlockKey, HeapCounts, HeapThread},
    loss::LOSSES,
    python::FRAME_BYTES,
    reason::SYSCALL_TABLE,
    socket::SOCKET_RECORD_MAX,
    thread::{ThreadSlot, TidChunk},
    unwind::{CACHED_ROWS, CachedRow, Chunk, SEGMENT_CHUNKS, Space},
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

/// Event loops; element 0 is never used.
#[map]
pub static EVENT_LOOPS: Array<EventLoop> = Array::with_max_entries(LOOPS, BPF_F_MMAPABLE);

/// Free elements of `EVENT_LOOPS`, filled by the agent.
#[map]
pub static FREE_LOOPS: Stack<u32> = Stack::with_max_entries(LOOPS, 0);

/// Target processes while they are enlisted: process id → start time in clock ticks since boot.
#[map]
pub static TARGETS: HashMap<u32, u64> = HashMap::with_max_entries(4096, 0);

/// System call number → `SyscallClass`.
#[map]
pub static SYSCALLS: Array<u8> = Array::with_max_entries(SYSCALL_TABLE as u32, 0);

/// Two banks of interned stacks. Set at load.
#[map]
pub static STACKS: Array<StackEntry> = Array::with_max_entries(2, 0);

/// Two banks of aggregates. Set at load.
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

/// Words of a stack, and what a walk by blocks may touch behind them.
pub type Words = [u64; STACK_WORDS + 8];

/// Stacks while they are walked. One element for each program that may interrupt another.
#[map]
pub static WALKS: PerCpuArray<Walk> = PerCpuArray::with_max_entries(TAKERS, 0);

/// Rows that were found lately, by address. One element as above.
#[map]
pub static ROWS: PerCpuArray<[CachedRow; CACHED_ROWS]> = PerCpuArray::with_max_entries(TAKERS, 0);

/// A Python frame while it is looked at. One element as above.
#[map]
pub static PYTHON_FRAME: PerCpuArray<[u64; FRAME_BYTES / 8]> =
    PerCpuArray::with_max_entries(TAKERS, 0);

/// Process and generation → element of `SPACES`.
#[map]
pub static SPACE_OF: HashMap<u64, u32> = HashMap::with_max_entries(8192, 0);

/// Address spaces; element 0 is never used. Set at load.
#[map]
pub static SPACES: Array<Space> = Array::with_max_entries(2, BPF_F_MMAPABLE);

/// Unwind tables: segments of chunks, added by the agent as they are needed.
#[btf_map]
pub static SEGMENTS: ArrayOfMaps<Segment, 4096> = ArrayOfMaps::new();

/// 1 MiB of chunks: an array of them, as the loader reads it from BTF.
///
/// By sizes, not types: before Linux 6.3 an array whose element has a type is of another kind than
/// one without, and those that the agent adds have none.
#[repr(C)]
pub struct Segment {
    r#type: *const [i32; BPF_MAP_TYPE_ARRAY as usize],
    key_size: *const [i32; size_of::<u32>()],
    value_size: *const [i32; size_of::<Chunk>()],
    max_entries: *const [i32; SEGMENT_CHUNKS as usize],
}

impl Segment {
    /// The chunk with this number in the segment.
    #[inline(always)]
    pub fn chunk(&self, number: u32) -> Option<*mut Chunk> {
        let map = (&raw const *self).cast_mut().cast();
        // SAFETY: an element of SEGMENTS is a map, and its keys are of this type.
        let chunk = unsafe { bpf_map_lookup_elem(map, (&raw const number).cast()) };
        if chunk.is_null() {
            None
        } else {
            Some(chunk.cast())
        }
    }
}

/// A record of the task iterator while it is put together.
#[map]
pub static TASK_RECORD: PerCpuArray<[u64; TASK_RECORD_MAX / 8]> =
    PerCpuArray::with_max_entries(1, 0);

/// A record of the iterator over descriptors while it is put together.
#[map]
pub static SOCKET_RECORD: PerCpuArray<[u64; SOCKET_RECORD_MAX / 8]> =
    PerCpuArray::with_max_entries(1, 0);

/// Sampled blocks that are not freed. Set at load: one element where no allocator is watched.
#[map]
pub static HEAP_BLOCKS: HashMap<BlockKey, Block> = HashMap::with_max_entries(1, 0);

/// What each thread does in its allocator, by slot. Set at load.
#[map]
pub static HEAP_THREADS: Array<HeapThread> = Array::with_max_entries(1, 0);

/// What allocators did.
#[map]
pub static HEAP_COUNTS: PerCpuArray<HeapCounts> = PerCpuArray::with_max_entries(1, 0);

/// 1 while a thread takes the stack of an allocation on this CPU.
#[map]
pub static HEAP_BUSY: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
