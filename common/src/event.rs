//! Rare events, sent through the ring buffer, and the records that iterators write.

use crate::aggregate::MAX_FRAMES;

/// A process was forked by a target and is followed.
pub const EVENT_FORK: u32 = 1;
/// A target replaced its image: mappings must be read again.
pub const EVENT_EXEC: u32 = 2;
/// Many threads were born: slots of those that are gone should be collected now.
pub const EVENT_BIRTHS: u32 = 3;

/// A walk met an address that lies in no known mapping of its process: they must be read again. Only
/// `kind`, `tgid`, `generation` and `at_ns` are set.
pub const EVENT_MAPPINGS: u32 = 4;

/// Threads born from one [`EVENT_BIRTHS`] to the next.
pub const BIRTHS: u32 = 256;

/// One rare event.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Event {
    /// `EVENT_*`.
    pub kind: u32,
    /// Slot of the thread.
    pub slot: u32,
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub tgid: u32,
    /// The thread's serial.
    pub serial: u32,
    /// Process that forked it (`EVENT_FORK`), else 0.
    pub parent_tgid: u32,
    /// Generation of the address space after the event.
    pub generation: u32,
    /// Always zero.
    pub reserved: u32,
    /// When it happened.
    pub at_ns: u64,
}

const _: () = assert!(size_of::<Event>() == 40);

/// What the task iterator writes of one target thread: header, then `kernel_len` and `user_len` frames
/// of 8 bytes, then `python_len` words ([`crate::python::PythonFrame`]s).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct TaskRecord {
    /// Thread id.
    pub tid: u32,
    /// Process id.
    pub tgid: u32,
    /// Slot in the thread table.
    pub slot: u32,
    /// The thread's serial.
    pub serial: u32,
    /// The task's state bits as the kernel has them (`TASK_*` of `include/linux/sched.h`).
    pub task_state: u32,
    /// Kernel frames that follow.
    pub kernel_len: u32,
    /// `since_ns` of the slot when it was read: tells whether the wait is still the same later.
    pub since_ns: u64,
    /// User frames that follow them.
    pub user_len: u32,
    /// Words of Python frames that follow those.
    pub python_len: u32,
    /// How the walk of the user stack ended ([`crate::unwind::Outcome`]).
    pub user_ending: u32,
    /// As `ending` of a Python stack.
    pub python_ending: u32,
    /// 1: `python_*` mean something: the thread is one of an interpreter's.
    pub python_walked: u32,
    /// Always zero.
    pub reserved: u32,
    /// User instruction pointer at entry to the kernel.
    pub ip: u64,
    /// 1: the thread did not move while its stacks were read.
    pub at_rest: u32,
    /// 1: there are user frames to trust in this record; 0: the agent has to walk them.
    pub user_walked: u32,
    /// User stack pointer.
    pub sp: u64,
    /// User frame pointer.
    pub fp: u64,
    /// arm64: user link register.
    pub lr: u64,
}

const _: () = assert!(size_of::<TaskRecord>() == 96);

/// Bytes of the longest record of the task iterator.
pub const TASK_RECORD_MAX: usize = size_of::<TaskRecord>() + 8 * MAX_FRAMES;
