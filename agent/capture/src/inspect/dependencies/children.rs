//! Children that a thread waits for.

use remora_process::{self as process, proc_fs};

/// Children named.
const MAX_CHILDREN: usize = 16;

/// The children of a process by id and name; of these the one with an id in the process's own PID namespace.
pub(super) fn waited_for(pid: u32, one: Option<u32>) -> Vec<(u32, String)> {
    let processes = proc_fs::processes().unwrap_or_default();
    let children = processes
        .into_iter()
        .filter(|child| proc_fs::stat(*child).is_some_and(|stat| stat.parent == pid));
    let wanted = children
        .filter(|child| one.is_none_or(|one| *child == one || inner_ids(*child).contains(&one)));
    wanted
        .take(MAX_CHILDREN)
        .map(|child| (child, process::name(child).unwrap_or_default()))
        .collect()
}

/// The ids of a process in the PID namespaces inside ours.
fn inner_ids(pid: u32) -> Vec<u32> {
    let status = proc_fs::status(pid).unwrap_or_default();
    proc_fs::namespace_pids(&status)
        .into_iter()
        .skip(1)
        .collect()
}
