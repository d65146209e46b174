//! The offsets of 3.8 to 3.12, and those of 3.13 that it does not publish itself, on 64-bit Linux.
//!
//! Each was printed by `offsets.c` from the headers of 3.8.18, 3.9.18, 3.10.13, 3.11.2, 3.11.7,
//! 3.12.1 and 3.13.0; the test compiles it again where headers are installed.

use super::{
    ABSENT, Code, Frame, Generator, Gil, InterpreterState, Layout, LineFormat, Object, Runtime,
    ThreadState, Unicode,
};

/// 3.8.
pub(super) const V3_8: Layout = Layout {
    runtime: Runtime {
        interpreters_head: 32,
        gil: 1152,
    },
    interpreter: InterpreterState {
        id: 16,
        next: 0,
        threads_head: 8,
        modules: 56,
        gc: ABSENT,
        gil: ABSENT,
    },
    gil: Gil {
        last_holder: 8,
        locked: 16,
        size: 208,
    },
    thread: ThreadState {
        next: 8,
        interpreter: 16,
        thread_id: 176,
        native_thread_id: ABSENT,
        frame: 24,
        cframe_frame: ABSENT,
    },
    frame: Frame {
        code: 32,
        previous: 24,
        instruction: 104,
        owner: ABSENT,
        entry_owner: 0,
        locals: 360,
        stack_top: 72,
        value_stack: 64,
        tag_mask: 0,
    },
    code: Code {
        filename: 104,
        name: 112,
        qualname: ABSENT,
        first_line: 40,
        flags: 36,
        locals: 28,
        lines: 120,
        line_format: LineFormat::Lnotab,
        instructions: 48,
    },
    object: Object {
        size: 16,
        type_: 8,
        items: 16,
        type_name: 24,
        type_flags: 168,
    },
    unicode: Unicode {
        length: 16,
        state: 32,
        kind_shifts: &[2],
        ascii_data: 48,
        compact_data: 72,
    },
    bytes_data: 32,
    generator: Generator {
        frame: 16,
        state: 24,
        name: 48,
        qualname: 56,
    },
    free_threaded: false,
};

/// 3.9.
pub(super) const V3_9: Layout = Layout {
    runtime: Runtime {
        interpreters_head: 32,
        gil: 352,
    },
    interpreter: InterpreterState {
        id: 24,
        next: 0,
        threads_head: 8,
        modules: 856,
        gc: 616,
        gil: ABSENT,
    },
    ..V3_8
};

/// 3.10.
pub(super) const V3_10: Layout = Layout {
    frame: Frame {
        instruction: 96,
        locals: 352,
        stack_top: 80,
        ..V3_9.frame
    },
    code: Code {
        line_format: LineFormat::Pairs,
        ..V3_9.code
    },
    generator: Generator {
        frame: 16,
        state: 108,
        name: 40,
        qualname: 48,
    },
    ..V3_9
};

/// 3.11.
pub(super) const V3_11: Layout = Layout {
    runtime: Runtime {
        interpreters_head: 40,
        gil: 360,
    },
    interpreter: InterpreterState {
        id: 48,
        next: 0,
        threads_head: 16,
        modules: 888,
        gc: 648,
        gil: ABSENT,
    },
    thread: ThreadState {
        thread_id: 152,
        native_thread_id: 160,
        frame: 56,
        cframe_frame: 8,
        ..V3_10.thread
    },
    frame: Frame {
        code: 32,
        previous: 48,
        instruction: 56,
        owner: 68,
        entry_owner: 0,
        locals: 72,
        stack_top: 64,
        value_stack: ABSENT,
        tag_mask: 0,
    },
    code: Code {
        filename: 112,
        name: 120,
        qualname: 128,
        first_line: 72,
        flags: 48,
        locals: 76,
        lines: 136,
        line_format: LineFormat::Locations,
        instructions: 184,
    },
    generator: Generator {
        frame: 80,
        state: 75,
        name: 32,
        qualname: 40,
    },
    ..V3_10
};

/// 3.12.
pub(super) const V3_12: Layout = Layout {
    runtime: Runtime {
        interpreters_head: 40,
        gil: ABSENT,
    },
    interpreter: InterpreterState {
        id: 8,
        next: 0,
        threads_head: 72,
        modules: 944,
        gc: 112,
        gil: 384,
    },
    thread: ThreadState {
        thread_id: 136,
        native_thread_id: 144,
        frame: 56,
        cframe_frame: 0,
        ..V3_11.thread
    },
    frame: Frame {
        code: 0,
        previous: 8,
        instruction: 56,
        owner: 70,
        entry_owner: 3,
        ..V3_11.frame
    },
    code: Code {
        first_line: 68,
        locals: 72,
        instructions: 192,
        ..V3_11.code
    },
    unicode: Unicode {
        ascii_data: 40,
        compact_data: 56,
        ..V3_11.unicode
    },
    generator: Generator {
        frame: 72,
        state: 67,
        name: 24,
        qualname: 32,
    },
    ..V3_11
};

/// 3.13 with a GIL: what [`super::published`] begins with.
pub(super) const V3_13: Layout = Layout {
    runtime: Runtime {
        interpreters_head: 632,
        gil: ABSENT,
    },
    interpreter: InterpreterState {
        id: 7272,
        next: 7264,
        threads_head: 7344,
        modules: 7656,
        gc: 7400,
        gil: 16,
    },
    thread: ThreadState {
        thread_id: 152,
        native_thread_id: 160,
        frame: 72,
        cframe_frame: ABSENT,
        ..V3_12.thread
    },
    code: Code {
        instructions: 200,
        ..V3_12.code
    },
    ..V3_12
};
