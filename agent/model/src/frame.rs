//! A symbolised frame and a stack of them.

use super::{Ending, Gil, Outcome};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The frame of addresses that no mapping holds: a broken chain of frame pointers, mostly.
pub const UNMAPPED: &str = "[unmapped]";

/// What kind of code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
pub enum FrameKind {
    /// User code of a file.
    Native,
    /// A function that the compiler inlined into the frame below it.
    Inlined,
    /// A Python function, in place of the interpreter's evaluation loop that runs it.
    Python,
    /// Code made at run time, named by a jitdump or a perf map.
    Jit,
    /// Kernel code.
    Kernel,
}

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Frame {
    /// Demangled function name, or `module+0xoffset` where there is none.
    pub name: Arc<str>,
    /// Path of the file it lies in, `[kernel]`, a module of it (`[ext4]`), `[bpf]`, `[vdso]`, `[jit]`;
    /// `None` when unknown.
    pub module: Option<Arc<str>>,
    /// Source file, where debug information is there.
    pub file: Option<Arc<str>>,
    /// Line in it.
    pub line: Option<u32>,
    /// What kind of code.
    pub kind: FrameKind,
    /// `false`: no symbol was found and `name` only says where the code lies.
    pub named: bool,
}

/// Frames from the thread's start (first) to the leaf (last), kernel frames behind user ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Stack {
    /// Root first.
    pub frames: Vec<Frame>,
    /// The root is missing: the frame limit cut it, or the walk failed; `walk` says which.
    pub truncated: bool,
    /// How its user frames were found; `None` when there are none.
    pub walk: Option<Walk>,
}

impl Stack {
    /// The stack of a page fault without what the kernel does because of it: up to the code, of the
    /// program or of a system call, that touched the memory.
    #[must_use]
    pub fn before_fault(&self) -> Self {
        // `arch/x86/entry/entry_64.S`; elsewhere samples begin at that code anyway.
        let entry =
            |frame: &Frame| frame.kind == FrameKind::Kernel && &*frame.name == "asm_exc_page_fault";
        let end = self.frames.iter().position(entry);
        Self {
            frames: self.frames[..end.unwrap_or(self.frames.len())].to_vec(),
            ..self.clone()
        }
    }
}

/// How the user frames of a stack were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct Walk {
    /// How the walk of the native frames ended.
    pub outcome: Outcome,
    /// The same of the Python frames; `None` for a thread that is none of an interpreter's.
    pub python: Option<PythonWalk>,
}

/// How the Python frames of a stack were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
pub struct PythonWalk {
    /// How the walk ended.
    pub ending: Ending,
    /// Frames that found no evaluation loop among the native frames, or loops without frames: one
    /// of the two was being pushed or popped.
    pub mismatched: u32,
    /// How the thread stood to the interpreter lock.
    pub gil: Gil,
}

impl Walk {
    /// Whether the stack is whole, from the leaf to the thread's start.
    pub fn is_complete(self) -> bool {
        let python = self
            .python
            .is_none_or(|python| python.ending == Ending::Complete && python.mismatched == 0);
        self.outcome == Outcome::Complete && python
    }

    /// Why it is not, as `report.json` calls it; `complete` if it is.
    pub fn cause(self) -> &'static str {
        match self.python {
            _ if self.outcome != Outcome::Complete => self.outcome.key(),
            Some(PythonWalk {
                ending: Ending::Torn,
                ..
            }) => "python_torn",
            Some(PythonWalk {
                ending: Ending::Truncated,
                ..
            }) => "python_truncated",
            Some(python) if python.mismatched > 0 => "python_mismatched",
            _ => "complete",
        }
    }
}
