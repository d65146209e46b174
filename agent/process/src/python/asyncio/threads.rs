//! The kernel's ids and names of the threads that run loops: from `/proc`, after the look.

use crate::{proc_fs, thread_name};
use remora_model::Tasks;
use std::collections::HashMap;

/// Turns thread ids as the process itself has them into those of this host, and adds names. An id
/// that no thread of the process has is dropped.
pub fn name_threads(pid: u32, tasks: &mut Tasks) {
    let threads: HashMap<u32, u32> = proc_fs::threads(pid)
        .into_iter()
        .map(|tid| (innermost(pid, tid), tid))
        .collect();
    for event_loop in &mut tasks.loops {
        let tid = event_loop
            .tid
            .and_then(|inner| threads.get(&inner).copied());
        event_loop.tid = tid;
        event_loop.thread = tid.and_then(|tid| thread_name(pid, tid));
    }
}

/// The id of a thread in its own PID namespace.
fn innermost(pid: u32, tid: u32) -> u32 {
    let status = proc_fs::status(format_args!("{pid}/task/{tid}")).unwrap_or_default();
    proc_fs::namespace_pids(&status)
        .last()
        .copied()
        .unwrap_or(tid)
}
