//! A symbolised frame and a stack of them.

use std::sync::Arc;

/// What kind of code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// User code of a file.
    Native,
    /// A function that the compiler inlined into the frame below it.
    Inlined,
    /// Code made at run time, named by a perf map.
    Jit,
    /// Kernel code.
    Kernel,
}

/// One frame of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// Demangled function name, or `module+0xoffset` where there is none.
    pub name: Arc<str>,
    /// Path of the file it lies in, `[kernel]`, `[vdso]`, `[jit]`; `None` when unknown.
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Root first.
    pub frames: Vec<Frame>,
    /// The frame limit cut it: the root is missing.
    pub truncated: bool,
}
