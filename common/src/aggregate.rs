//! Stacks, and time by (thread, reason, stack): two open-addressed tables in plain arrays, that
//! any program may fill from any context.
//!
//! A hash map would take a bucket lock on insert, with interrupts off, inside the scheduler; here
//! a slot is claimed by one compare-and-swap on its hash and then only added to. Both tables have
//! two banks: programs fill the active one while the agent empties the other.

use crate::{python::MAX_PYTHON_FRAMES, unwind::MAX_USER_FRAMES};

/// Frames in one stack that the kernel walks, its own limit (`kernel.perf_event_max_stack`).
pub const MAX_FRAMES: usize = 127;

/// Steps of linear probing before a table counts as full.
pub const PROBES: u32 = 16;

/// No stack: there was none to take (a kernel stack of a thread in user mode).
pub const STACK_NONE: u32 = 0;
/// The stack table was full: the loss is counted.
pub const STACK_LOST: u32 = u32::MAX;
/// The kernel could not walk the stack: the loss is counted.
pub const STACK_FAULT: u32 = u32::MAX - 1;
/// Not taken by design: the sampling fallback left this wait out.
pub const STACK_SKIPPED: u32 = u32::MAX - 2;

/// Words of a stack in one entry of the table.
pub const BLOCK_WORDS: usize = 64;

/// Words of the longest stack: Python frames take two each.
pub const STACK_WORDS: usize = 1024;

const _: () = assert!(STACK_WORDS.is_multiple_of(BLOCK_WORDS));
const _: () = assert!(MAX_USER_FRAMES <= STACK_WORDS && 2 * MAX_PYTHON_FRAMES <= STACK_WORDS);

/// Kind of a stack: kernel frames.
pub const STACK_KERNEL: u16 = 1;
/// Kind of a stack: user frames; `ending` is an [`crate::unwind::Outcome`].
pub const STACK_USER: u16 = 2;
/// Kind of a stack: Python frames; `ending` is a [`crate::python::Ending`], and how the thread stood to
/// the GIL in the upper byte.
pub const STACK_PYTHON: u16 = 3;
/// Kind of an entry that continues another towards the root.
pub const STACK_CONTINUED: u16 = 4;

/// One block of a stack, leaf first. A stack's id is the index of its leaf block plus one.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct StackEntry {
    /// Hash of the rest, claims the entry; 0 = free.
    pub hash: u64,
    /// Id of the block that continues it towards the root, 0 = none.
    pub next: u32,
    /// Words that are valid.
    pub len: u32,
    /// `STACK_*`.
    pub kind: u16,
    /// How the walk ended.
    pub ending: u16,
    /// Always zero.
    pub reserved: u32,
    /// Instruction addresses, leaf first, return addresses but for the leaf; or
    /// [`crate::python::PythonFrame`]s.
    pub words: [u64; BLOCK_WORDS],
}

const _: () = assert!(size_of::<StackEntry>() == 24 + 8 * BLOCK_WORDS);

/// Kind of an aggregate: a CPU sample.
pub const KIND_CPU: u8 = 1;
/// Kind of an aggregate: long waits by stack.
pub const KIND_WAIT: u8 = 2;
/// Kind of an aggregate: wake-ups by waker.
pub const KIND_WAKE: u8 = 3;
/// Kind of an aggregate: sampled page faults; what they stand for is in [`Aggregate::total_ns`].
pub const KIND_FAULT: u8 = 4;
/// Kind of an aggregate: what the owner of a lock did while others waited for it.
pub const KIND_HOLD: u8 = 5;

/// Kind of an aggregate: sampled allocations, while the targets' allocators are watched. It is there for its
/// stack; [`AggregateKey::object`] is what blocks name it by.
pub const KIND_HEAP: u8 = 6;

/// Bits of an address that [`AggregateKey::object`] leaves out for a page fault: regions of 2 MiB.
pub const FAULT_REGION_BITS: u32 = 21;

/// What an aggregate is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct AggregateKey {
    /// The thread's serial.
    pub serial: u32,
    /// `KIND_*`.
    pub kind: u8,
    /// [`crate::reason::Reason`] of a wait or a wake-up.
    pub reason: u8,
    /// System call number, [`crate::reason::NO_SYSCALL`] for none.
    pub syscall: u16,
    /// User stack id; for a wake-up: the waker's thread id.
    pub user: u32,
    /// Kernel stack id; for a wake-up: the waker's process id.
    pub kernel: u32,
    /// Generation of the address space.
    pub generation: u32,
    /// What tells waiting for work from being held up. Of a futex wait: the operation (low half)
    /// and the expected value, 3 for anything larger (high half); of a poll: 1 for one descriptor,
    /// 2 for more. Otherwise 0.
    pub detail: u32,
    /// Python stack id.
    pub python: u32,
    /// Of a wake-up from the wait for a lock: the thread that the lock's memory named as its owner when
    /// the wait began, 0 = unknown. Otherwise 0.
    pub owner: u32,
    /// What it was about: the address of the futex of a wait, a wake-up or a hold; the region of a page
    /// fault (address >> [`FAULT_REGION_BITS`]); of allocations the number of the stack in all fillings of the
    /// tables. Otherwise 0.
    pub object: u64,
}

/// Count and time of one key.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Aggregate {
    /// Hash of the key, claims the entry; 0 = free.
    pub hash: u64,
    /// The key, written once by the claimer.
    pub key: AggregateKey,
    /// Samples, waits or wake-ups.
    pub count: u64,
    /// Time in them; 0 for CPU samples; for page faults, those that they stand for: the sum of the
    /// weights.
    pub total_ns: u64,
    /// The longest of them.
    pub max_ns: u64,
    /// Those inside of a late iteration of an event loop: how many.
    pub late_count: u64,
    /// The same: their time. Of wake-ups: when the last of them was.
    pub late_ns: u64,
}

const _: () = assert!(size_of::<AggregateKey>() == 40);
const _: () = assert!(size_of::<Aggregate>() == 88);

/// What the agent tells the running programs, and they tell it: one mapped record.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Control {
    /// 1 while events are counted: all programs start and stop counting at once. Written by the
    /// agent.
    pub recording: u32,
    /// How often the banks were changed; the lowest bit says which one is being filled. Written
    /// by the agent.
    pub epoch: u32,
    /// How event loops are followed: [`crate::event_loop`]'s `LOOP_*`. Written by the agent.
    pub event_loops: u32,
    /// 1 while the targets' allocators are watched. Written by the agent.
    pub heap: u32,
    /// From when on polls are counted ([`crate::thread::PollTotals`]); 0 while they are not. Written by the agent.
    pub polls_from_ns: u64,
    /// Serial of the thread enlisted last. Written by the kernel side, as are the rest.
    pub last_serial: u64,
    /// Aggregates claimed in each bank.
    pub aggregates_used: [u64; 2],
    /// Stacks claimed in each bank.
    pub stacks_used: [u64; 2],
    /// How far `CLOCK_MONOTONIC` is ahead of the scheduler's clock (`rq->clock`), a signed number: the smallest that
    /// was read. Valid when there are readings.
    pub clock_ahead_ns: u64,
    /// How often that was read.
    pub clock_readings: u64,
    /// Processes whose children are not followed, for they are watched for a target's sake only; 0: none. Written by
    /// the agent.
    pub unfollowed: [u32; UNFOLLOWED],
}

/// Processes whose children are not followed, at most.
pub const UNFOLLOWED: usize = 16;

const _: () = assert!(size_of::<Control>() == 144);
