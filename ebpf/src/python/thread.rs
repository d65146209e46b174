//! The Python thread state that belongs to a thread: the one whose `thread_id` is the thread's
//! `pthread_self`, which the kernel knows as its TLS base. Independent of PID namespaces, and of
//! the interpreter's version.

use super::{interpreter, pointer};
use crate::{
    config, loss,
    task::{self, Task},
    unwind::Memory,
};
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use remora_common::{
    config::ABSENT,
    loss::Loss,
    python::{ABSENT as NO_MEMBER, Interpreter},
    thread::ThreadSlot,
};

/// Thread states looked at in one search, over all interpreters.
const SEARCHED: u32 = 1024;

/// A thread that has no thread state is searched for again after this many stacks: threads of a pool
/// have one while they run a callback.
const SKIPPED: u64 = 8;

/// A search in progress.
#[repr(C)]
struct Search<M> {
    memory: M,
    space: u32,
    wanted: u64,
    interpreter: u64,
    thread: u64,
    found: u64,
}

/// The frame that a thread state runs, 0 for none.
#[inline(always)]
pub fn frame<M: Memory>(interpreter: &Interpreter, thread: u64, memory: M) -> u64 {
    let frame = pointer(memory, thread, interpreter.thread_frame);
    if interpreter.cframe_frame == NO_MEMBER || frame == 0 {
        return frame;
    }
    pointer(memory, frame, interpreter.cframe_frame)
}

/// The address of the thread state, 0 for none.
#[inline(always)]
pub fn find<M: Memory>(
    interpreter: &Interpreter,
    task: Task,
    slot: &mut ThreadSlot,
    memory: M,
    space: u32,
) -> u64 {
    if config::task_tls() == ABSENT {
        return 0;
    }
    // SAFETY: member of task_struct.
    let tls: u64 = unsafe { task::member(task, config::task_tls()) };
    let wanted = tls.wrapping_add(interpreter.thread_id_bias);
    let known = slot.python_thread;
    if known > SKIPPED {
        // A thread that serves several interpreters has a state in each, and runs in one.
        if pointer(memory, known, interpreter.thread_id) == wanted
            && frame(interpreter, known, memory) != 0
        {
            return known;
        }
    } else if known > 0 && M::MAY_SKIP {
        slot.python_thread = known - 1;
        return 0;
    }
    let first = pointer(memory, interpreter.runtime, interpreter.interpreters_head);
    let mut search = Search {
        memory,
        space,
        wanted,
        interpreter: first,
        thread: 0,
        found: 0,
    };
    if first != 0 {
        search.thread = pointer(memory, first, interpreter.threads_head);
        // SAFETY: the body has the signature that the helper calls, and takes this context.
        let steps = unsafe {
            bpf_loop(
                SEARCHED,
                look_at::<M> as *mut c_void,
                (&raw mut search).cast(),
                0,
            )
        };
        if steps == SEARCHED as i64 && search.found == 0 {
            loss::count(Loss::PythonThreadNotFound);
        }
    }
    slot.python_thread = if search.found == 0 {
        SKIPPED
    } else {
        search.found
    };
    search.found
}

/// Looks at one thread state, or goes on to the next interpreter: 0 to go on, 1 to stop.
#[inline(never)]
extern "C" fn look_at<M: Memory>(_number: u32, search: *mut Search<M>) -> i64 {
    // SAFETY: `find` passes its own, live.
    let search = unsafe { &mut *search };
    let Some(interpreter) = interpreter(search.space) else {
        return 1;
    };
    if search.thread == 0 {
        search.interpreter = pointer(
            search.memory,
            search.interpreter,
            interpreter.interpreter_next,
        );
        if search.interpreter == 0 {
            return 1;
        }
        search.thread = pointer(search.memory, search.interpreter, interpreter.threads_head);
        return 0;
    }
    let thread = search.thread;
    if pointer(search.memory, thread, interpreter.thread_id) == search.wanted {
        search.found = thread;
        if frame(interpreter, thread, search.memory) != 0 {
            return 1;
        }
    }
    search.thread = pointer(search.memory, thread, interpreter.thread_next);
    0
}
