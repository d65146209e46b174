//! `dependencies` and `python_waits` of `report.json`: whom threads that sleep wait for, where neither a lock nor
//! a socket says so.

use remora_model::{Awaited, Capture, Dependency, PythonAwaited, PythonWait};
use serde::Serialize;

/// A thread that waits for another process.
#[derive(Serialize)]
pub(super) struct Wait<'a> {
    tid: u32,
    /// `pipe_read`, `pipe_write`, `socket`, `child` or `file_lock`.
    on: &'static str,
    fd: Option<u32>,
    /// Of a pipe; `null` for a FIFO, and for anything else.
    inode: Option<u64>,
    /// Path, or `pipe:[INODE]`.
    name: Option<&'a str>,
    has_time_limit: bool,
    /// Who can end it.
    parties: Vec<Party<'a>>,
    more_parties: bool,
}

/// A process.
#[derive(Serialize)]
struct Party<'a> {
    pid: u32,
    comm: &'a str,
}

/// A thread in a lock or join of Python's `threading`.
#[derive(Serialize)]
pub(super) struct InPython<'a> {
    tid: u32,
    /// `Lock`, `RLock`, `Semaphore` or `Thread`.
    on: &'static str,
    address: String,
    holder_tids: &'a [u32],
}

/// An executor of Python's `concurrent.futures`.
#[derive(Serialize)]
pub(super) struct Pool<'a> {
    pid: u32,
    address: String,
    /// Threads that it may have.
    size: u64,
    /// Jobs that no thread has taken.
    queued: u64,
    worker_tids: &'a [u32],
}

/// A pool of which threads of Python wait for a slot.
#[derive(Serialize)]
pub(super) struct Slots<'a> {
    pid: u32,
    address: String,
    /// Its type.
    name: &'a str,
    /// Slots that there are at the most; `null`: not known.
    size: Option<u64>,
    /// Slots that are taken.
    taken: Option<u64>,
    waiter_tids: &'a [u32],
    holders: Vec<SlotHolder>,
}

/// A thread with connections in its hands.
#[derive(Serialize)]
struct SlotHolder {
    tid: u32,
    slots: usize,
}

/// All pools of which threads wait for a slot.
pub(super) fn slots(capture: &Capture) -> Vec<Slots<'_>> {
    let pools = capture.slot_pools.iter().map(|pool| Slots {
        pid: pool.pid,
        address: format!("{:#x}", pool.object),
        name: &pool.name,
        size: pool.size,
        taken: pool.taken,
        waiter_tids: &pool.waiters,
        holders: pool
            .holders
            .iter()
            .map(|(tid, slots)| SlotHolder {
                tid: *tid,
                slots: *slots,
            })
            .collect(),
    });
    pools.collect()
}

/// All executors that were read.
pub(super) fn pools(capture: &Capture) -> Vec<Pool<'_>> {
    let pools = capture.python_pools.iter().map(|pool| Pool {
        pid: pool.pid,
        address: format!("{:#x}", pool.object),
        size: pool.size,
        queued: pool.queued,
        worker_tids: &pool.workers,
    });
    pools.collect()
}

/// All that were looked up.
pub(super) fn waits(capture: &Capture) -> Vec<Wait<'_>> {
    capture.dependencies.iter().map(wait).collect()
}

fn wait(dependency: &Dependency) -> Wait<'_> {
    let (on, fd, inode, name) = match &dependency.on {
        Awaited::Pipe {
            fd,
            inode,
            name,
            reads,
        } => {
            let on = if *reads { "pipe_read" } else { "pipe_write" };
            let inode = Some(*inode).filter(|inode| *inode != 0);
            (on, Some(*fd), inode, Some(name.as_str()))
        }
        Awaited::Socket { fd } => ("socket", Some(*fd), None, None),
        Awaited::Child => ("child", None, None, None),
        Awaited::File { name } => ("file_lock", None, None, Some(name.as_str())),
    };
    let parties = dependency.parties.iter();
    let parties = parties.map(|(pid, comm)| Party { pid: *pid, comm });
    Wait {
        tid: dependency.tid,
        on,
        fd,
        inode,
        name,
        has_time_limit: dependency.timed,
        parties: parties.collect(),
        more_parties: dependency.cut,
    }
}

/// All that were read from interpreters.
pub(super) fn in_python(capture: &Capture) -> Vec<InPython<'_>> {
    capture.python_waits.iter().map(python).collect()
}

fn python(wait: &PythonWait) -> InPython<'_> {
    InPython {
        tid: wait.tid,
        on: match wait.what {
            PythonAwaited::Lock => "Lock",
            PythonAwaited::RLock => "RLock",
            PythonAwaited::Semaphore => "Semaphore",
            PythonAwaited::Thread => "Thread",
        },
        address: format!("{:#x}", wait.object),
        holder_tids: &wait.holders,
    }
}
