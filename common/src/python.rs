//! What the kernel side must know of a CPython interpreter to walk its frames, and what it emits.
//!
//! The interpreter's structures differ from version to version; the agent finds the addresses and
//! puts the offsets into [`Interpreter`], so that the kernel side follows pointers and knows no
//! version. Sources: CPython's `Include/internal/pycore_{runtime,interp,frame,ceval_state}.h`,
//! `Include/cpython/{pystate,frameobject,code}.h`, and `_Py_DebugOffsets` from 3.13 on.

/// An offset that this version does not have.
pub const ABSENT: u16 = u16::MAX;

/// Python frames of one stack at the most.
pub const MAX_PYTHON_FRAMES: usize = 512;

/// Bytes of a frame that are read at once, at the most.
pub const FRAME_BYTES: usize = 128;

/// The interpreter of one process: where it lies, and how its structures are laid out.
///
/// Offsets are in bytes. Walk: `runtime + interpreters_head` → interpreter, `+ threads_head` → thread
/// state, whose `thread_id` is the thread's `pthread_self` (its TLS base on x86-64 and, for glibc and
/// musl, on arm64 below it: see `thread_id_bias`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Interpreter {
    /// Address of `_PyRuntime` in the process; 0: no interpreter.
    pub runtime: u64,
    /// Address of the structure that holds the GIL where all interpreters share it (up to 3.11),
    /// else 0.
    pub shared_gil: u64,
    /// What to add to the TLS base to get `pthread_self`, as two's complement.
    pub thread_id_bias: u64,
    /// `_PyRuntimeState.interpreters.head`.
    pub interpreters_head: u16,
    /// `PyInterpreterState.next`.
    pub interpreter_next: u16,
    /// `PyInterpreterState.threads.head` (`tstate_head` up to 3.10).
    pub threads_head: u16,
    /// `PyInterpreterState.ceval.gil`, a pointer (3.12 on); [`ABSENT`] where it is shared.
    pub interpreter_gil: u16,
    /// `_gil_runtime_state.locked`, an `int`.
    pub gil_locked: u16,
    /// `_gil_runtime_state.last_holder`, a thread state.
    pub gil_last_holder: u16,
    /// Size of `_gil_runtime_state`: a futex in it is a wait for the GIL.
    pub gil_size: u16,
    /// `PyThreadState.next`.
    pub thread_next: u16,
    /// `PyThreadState.interp`.
    pub thread_interpreter: u16,
    /// `PyThreadState.thread_id`.
    pub thread_id: u16,
    /// `PyThreadState.frame` (up to 3.10), `.cframe` (3.11, 3.12), `.current_frame` (3.13 on).
    pub thread_frame: u16,
    /// Offset of the frame in what `thread_frame` points to; [`ABSENT`]: it is the frame itself.
    pub cframe_frame: u16,
    /// The frame's code object.
    pub frame_code: u16,
    /// The frame's caller.
    pub frame_previous: u16,
    /// The frame's instruction: a pointer, or an `int` (see `instruction_is_index`).
    pub frame_instruction: u16,
    /// A byte that says what made the frame (`owner`, `is_entry`); [`ABSENT`]: every frame has an
    /// evaluation loop of its own.
    pub frame_owner: u16,
    /// The value of that byte (or above) that marks a frame without code, which begins an
    /// evaluation loop (3.12 on); 0: the byte is a flag of the first frame of a loop (3.11).
    pub entry_owner: u16,
    /// 1: `frame_instruction` is an `int` (up to 3.10).
    pub instruction_is_index: u16,
    /// `PyCodeObject.co_code_adaptive`: subtracted from an instruction pointer.
    pub code_instructions: u16,
    /// `PyCodeObject.co_name`, whose address tells a code object from another at the same place.
    pub code_name: u16,
    /// Mask of tag bits of the code pointer (3.14), 0 before.
    pub code_tag_mask: u16,
    /// 1: free-threaded build: there is no GIL to hold.
    pub free_threaded: u16,
    /// 1: bits of `gil_locked` mean what they say (0 when the GIL could not be found).
    pub gil_known: u16,
    /// Bytes of a frame that hold all these members, below [`FRAME_BYTES`]: a frame may lie at the end
    /// of its memory.
    pub frame_bytes: u16,
}

const _: () = assert!(size_of::<Interpreter>() == 24 + 24 * 2);

/// A Python frame as the kernel side emits it: two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct PythonFrame {
    /// Address of the code object; bit 0 set: the first frame of its evaluation loop, the one that
    /// C code called.
    pub code: u64,
    /// Byte offset of the instruction in the code, or for `instruction_is_index` the index as the
    /// frame has it; -1 (all ones) before the first.
    pub instruction: u32,
    /// Tells the code object from a later one at its address: its `co_name` pointer, shifted right
    /// by 4, low half.
    pub fingerprint: u32,
}

const _: () = assert!(size_of::<PythonFrame>() == 16);

/// How the walk of a thread's Python frames ended.
#[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Ending {
    /// At the thread's first frame.
    #[default]
    Complete = 0,
    /// At the frame limit.
    Truncated = 1,
    /// At a frame that could not be read, or that made no sense: it was being pushed or popped.
    Torn = 2,
}

/// Bit of [`PythonFrame::code`].
pub const ENTRY_FRAME: u64 = 1;

/// How a thread stands to its interpreter's lock.
#[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Gil {
    /// It cannot be told, or there is none (free-threaded builds).
    #[default]
    Unknown = 0,
    /// It holds it.
    Held = 1,
    /// It sleeps in a futex of the lock: it waits for it.
    WaitedFor = 2,
    /// It runs or waits without it.
    NotHeld = 3,
}

/// The `ending` of a Python stack: how the walk ended, and from bit 8 on how the thread stood to the lock; a number that nobody defined reads as torn and unknown.
pub const fn unpack_ending(packed: u32) -> (Ending, Gil) {
    let ending = match packed & 0xff {
        0 => Ending::Complete,
        1 => Ending::Truncated,
        _ => Ending::Torn,
    };
    let gil = match packed >> 8 & 0xff {
        1 => Gil::Held,
        2 => Gil::WaitedFor,
        3 => Gil::NotHeld,
        _ => Gil::Unknown,
    };
    (ending, gil)
}
