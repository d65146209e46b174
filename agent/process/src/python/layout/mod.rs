//! How the structures of each CPython version are laid out.
//!
//! Up to 3.12 the offsets stand in a table, checked against the headers of each version by the
//! test beside it. From 3.13 on the interpreter publishes most of them (`_Py_DebugOffsets`, first
//! in `_PyRuntime`), and [`published`] takes them from there: free-threaded and patched builds
//! come out right.

pub mod published;
mod table;
#[cfg(test)]
mod tests;

use super::Version;
use remora_common::python::{ABSENT, Interpreter};

/// Offsets in bytes from the beginning of a structure, [`ABSENT`] for a member that the version
/// does not have.
pub type Offset = u16;

/// The structures of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// `_PyRuntimeState`.
    pub runtime: Runtime,
    /// `PyInterpreterState`.
    pub interpreter: InterpreterState,
    /// `_gil_runtime_state`.
    pub gil: Gil,
    /// `PyThreadState`.
    pub thread: ThreadState,
    /// `PyFrameObject` up to 3.10, then `_PyInterpreterFrame`.
    pub frame: Frame,
    /// `PyCodeObject`.
    pub code: Code,
    /// `PyObject` and `PyTypeObject`.
    pub object: Object,
    /// `PyUnicodeObject` and the structures that it extends.
    pub unicode: Unicode,
    /// `PyBytesObject.ob_sval`; its length is `object.items`.
    pub bytes_data: Offset,
    /// `PyGenObject`, whose head coroutines and async generators share.
    pub generator: Generator,
    /// A free-threaded build (3.13 on).
    pub free_threaded: bool,
}

/// Members of `_PyRuntimeState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// `interpreters.head`.
    pub interpreters_head: Offset,
    /// `ceval.gil`, the structure itself (up to 3.11).
    pub gil: Offset,
}

/// Members of `PyInterpreterState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpreterState {
    /// `id`, an `int64_t`; 0 is the main interpreter.
    pub id: Offset,
    /// `next`.
    pub next: Offset,
    /// `tstate_head` up to 3.10, then `threads.head`.
    pub threads_head: Offset,
    /// `modules` up to 3.11, then `imports.modules`: the dictionary `sys.modules`.
    pub modules: Offset,
    /// `gc`, the structure itself (3.9 on).
    pub gc: Offset,
    /// `ceval.gil`, a pointer (3.12 on).
    pub gil: Offset,
}

/// Members of `_gil_runtime_state` (`pycore_gil.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gil {
    /// `last_holder`, a thread state.
    pub last_holder: Offset,
    /// `locked`, an `int`: 1 while it is held.
    pub locked: Offset,
    /// Bytes of the whole.
    pub size: u16,
}

/// Members of `PyThreadState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadState {
    /// `next`.
    pub next: Offset,
    /// `interp`.
    pub interpreter: Offset,
    /// `thread_id`: `pthread_self()`, as `threading.get_ident()` shows it.
    pub thread_id: Offset,
    /// `native_thread_id`: the kernel's, in the innermost PID namespace (3.11 on).
    pub native_thread_id: Offset,
    /// `frame` up to 3.10, `cframe` in 3.11 and 3.12, then `current_frame`.
    pub frame: Offset,
    /// The frame in what `frame` leads to (3.11, 3.12).
    pub cframe_frame: Offset,
}

/// Members of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// `f_code`, `f_executable`.
    pub code: Offset,
    /// `f_back`, `previous`.
    pub previous: Offset,
    /// `f_lasti` (an `int`), `prev_instr`, `instr_ptr` (pointers).
    pub instruction: Offset,
    /// `is_entry` in 3.11, then `owner`; a byte.
    pub owner: Offset,
    /// The value of `owner` from which on the frame has no code and begins an evaluation loop; 0:
    /// `owner` is a flag.
    pub entry_owner: u16,
    /// `f_localsplus`, `localsplus`: locals, cells, then the value stack.
    pub locals: Offset,
    /// `f_stacktop` (a pointer) up to 3.9, `f_stackdepth` (an `int`) in 3.10, `stacktop` (an `int`,
    /// in items of `locals`) up to 3.13, then `stackpointer` (a pointer).
    pub stack_top: Offset,
    /// `f_valuestack`, a pointer (up to 3.10).
    pub value_stack: Offset,
    /// The low bits of `code` that are no part of the address (3.14 on).
    pub tag_mask: u16,
}

impl Frame {
    /// Bytes from the frame's beginning in which `code`, `previous`, `instruction` and `owner` lie.
    pub fn bytes(&self) -> u16 {
        let words = [self.code, self.previous, self.instruction];
        let end = words.map(|word| word.saturating_add(8)).into_iter().max();
        let owner = match self.owner {
            ABSENT => 0,
            owner => owner.saturating_add(1),
        };
        end.unwrap_or(0).max(owner)
    }
}

/// Members of `PyCodeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `co_filename`.
    pub filename: Offset,
    /// `co_name`.
    pub name: Offset,
    /// `co_qualname` (3.11 on).
    pub qualname: Offset,
    /// `co_firstlineno`, an `int`.
    pub first_line: Offset,
    /// `co_flags`, an `int`.
    pub flags: Offset,
    /// `co_nlocals` up to 3.10, then `co_nlocalsplus`, an `int`.
    pub locals: Offset,
    /// `co_lnotab` up to 3.9, then `co_linetable`, a bytes object.
    pub lines: Offset,
    /// How it is written.
    pub line_format: LineFormat,
    /// `co_code`, a bytes object, up to 3.10, then `co_code_adaptive`, the instructions themselves.
    pub instructions: Offset,
}

/// How a table of lines is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineFormat {
    /// `co_lnotab` (3.8, 3.9): pairs of bytes, and signed line.
    Lnotab,
    /// `co_linetable` of 3.10 (PEP 626): pairs of bytes, and signed line or none.
    Pairs,
    /// `co_linetable` from 3.11 on (PEP 657): entries of one to many bytes, with columns.
    Locations,
}

/// Members of `PyObject`, `PyVarObject` and `PyTypeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Bytes of `PyObject`.
    pub size: u16,
    /// `ob_type`.
    pub type_: Offset,
    /// `ob_size` of a `PyVarObject`.
    pub items: Offset,
    /// `tp_name` of a type, a C string.
    pub type_name: Offset,
    /// `tp_flags` of a type.
    pub type_flags: Offset,
}

/// Members of unicode objects (`Include/cpython/unicodeobject.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unicode {
    /// `length`, in code points.
    pub length: Offset,
    /// `state`, a word of 4 bytes.
    pub state: Offset,
    /// Where in `state` the three bits of `kind` may begin (1, 2 or 4 bytes a code point); `compact`
    /// and `ascii` are the bits behind. `interned` in front was 2 bits wide up to 3.12, and is 2, 8
    /// or 16 since, by build; as it is at most 3, the first place with `compact` set is the one.
    pub kind_shifts: &'static [u8],
    /// Bytes of `PyASCIIObject`: the text of a compact ASCII object follows.
    pub ascii_data: u16,
    /// Bytes of `PyCompactUnicodeObject`: the text of another compact object follows.
    pub compact_data: u16,
}

/// Members of `PyGenObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generator {
    /// `gi_frame`, a pointer (null when finished), up to 3.10; then `gi_iframe`, the frame itself.
    pub frame: Offset,
    /// `gi_frame_state`, an `int8_t` (3.11 on). 3.10 has `f_state`, a member of the frame, here;
    /// 3.8 and 3.9 have `gi_running`, a flag.
    pub state: Offset,
    /// `gi_name`.
    pub name: Offset,
    /// `gi_qualname`.
    pub qualname: Offset,
}

impl Layout {
    /// The layout of a version whose structures do not depend on how it was built: 3.8 to 3.12.
    /// Later ones publish theirs: [`published::read`].
    pub fn of(version: Version) -> Option<Self> {
        match (version.major, version.minor) {
            (3, 8) => Some(table::V3_8),
            (3, 9) => Some(table::V3_9),
            (3, 10) => Some(table::V3_10),
            (3, 11) => Some(table::V3_11),
            (3, 12) => Some(table::V3_12),
            _ => None,
        }
    }

    /// What the kernel side must know, for an interpreter whose `_PyRuntime` lies at `runtime`.
    ///
    /// `thread_id_bias` is what makes `pthread_self` of the TLS base.
    pub fn interpreter(&self, runtime: u64, thread_id_bias: u64) -> Interpreter {
        let shared = self.runtime.gil != ABSENT;
        Interpreter {
            runtime,
            shared_gil: if shared {
                runtime.wrapping_add(self.runtime.gil.into())
            } else {
                0
            },
            thread_id_bias,
            interpreters_head: self.runtime.interpreters_head,
            interpreter_next: self.interpreter.next,
            threads_head: self.interpreter.threads_head,
            interpreter_gil: self.interpreter.gil,
            gil_locked: self.gil.locked,
            gil_last_holder: self.gil.last_holder,
            gil_size: self.gil.size,
            thread_next: self.thread.next,
            thread_interpreter: self.thread.interpreter,
            thread_id: self.thread.thread_id,
            thread_frame: self.thread.frame,
            cframe_frame: self.thread.cframe_frame,
            frame_code: self.frame.code,
            frame_previous: self.frame.previous,
            frame_instruction: self.frame.instruction,
            frame_owner: self.frame.owner,
            entry_owner: self.frame.entry_owner,
            instruction_is_index: self.instruction_is_index().into(),
            code_instructions: self.code.instructions,
            code_name: self.code.name,
            code_tag_mask: self.frame.tag_mask,
            free_threaded: self.free_threaded.into(),
            gil_known: u16::from(!self.free_threaded),
            frame_bytes: self.frame.bytes(),
        }
    }

    /// The frame's instruction is an `int`, not a pointer (up to 3.10, whose frames have no owner).
    pub fn instruction_is_index(&self) -> bool {
        self.frame.owner == ABSENT
    }
}
