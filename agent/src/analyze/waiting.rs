//! What a thread waits for now, in words; and what that points to.

use super::{Scene, words};
use crate::model::{Finding, Lock, LockKind, Reason, Subject, Thread};
use crate::words::{label, text::clean};

/// What a blocked thread waits for: `waits for a lock that worker-12 holds`.
pub fn phrase(scene: &Scene<'_>, thread: &Thread) -> String {
    let now = &thread.now;
    match now.reason {
        Some(Reason::Futex) => match lock(scene, thread) {
            Some(lock) if lock.kind == LockKind::PythonGil => "waits for the GIL".to_owned(),
            Some(lock) if is_lock(lock) => match &lock.owner {
                Some(owner) => format!(
                    "waits for a lock that {}-{} holds",
                    clean(&owner.comm),
                    owner.tid
                ),
                None => "waits for a lock".to_owned(),
            },
            _ => "waits for another thread (condition, semaphore or join)".to_owned(),
        },
        Some(Reason::Sleep) => "sleeps".to_owned(),
        Some(Reason::SocketReceive | Reason::Poll) => "waits for bytes from a socket".to_owned(),
        Some(Reason::SocketSend) => "waits for room to send".to_owned(),
        Some(Reason::SocketConnect) => "waits for a connection to be made".to_owned(),
        Some(Reason::PipeRead) => "waits for bytes from a pipe".to_owned(),
        Some(Reason::PipeWrite) => "waits for room in a pipe".to_owned(),
        Some(Reason::WaitChild) => "waits for a child process to end".to_owned(),
        Some(Reason::Disk) => "waits for the disk".to_owned(),
        Some(Reason::PageFault) => "waits for a page of memory".to_owned(),
        Some(reason) => match now.syscall {
            Some(name) => format!("waits in {name}"),
            None => format!("waits ({})", reason.label()),
        },
        None => "is busy".to_owned(),
    }
}

/// Adds what the wait is about, and what it is because of.
pub fn evidence(scene: &Scene<'_>, thread: &Thread, mut finding: Finding) -> Finding {
    let now = &thread.now;
    let reason = now.reason.unwrap_or(Reason::Unknown);
    let call = now
        .syscall
        .map(|name| format!(" ({name})"))
        .unwrap_or_default();
    let time = words::since(now.since, false);
    let mut fact = format!("{}{call} for {time}", label::reason(reason, now.syscall));
    match reason {
        Reason::Futex => {
            finding
                .because_of
                .push(Subject::Lock(thread.pid, now.args[0]));
            if let Some(lock) = lock(scene, thread) {
                finding
                    .because_of
                    .push(Subject::Lock(lock.pid, lock.address));
                fact.push_str(&format!(": {} at {:#x}", lock.kind.label(), lock.address));
                if let Some(owner) = &lock.owner {
                    finding.because_of.push(Subject::Thread(owner.tid));
                    fact.push_str(&format!(", held by {}-{}", clean(&owner.comm), owner.tid));
                }
            }
            if let Some(holder) = gil_holder(scene, thread) {
                finding.because_of.push(Subject::Thread(holder));
                fact.push_str(&format!("; thread {holder} has the GIL"));
            }
        }
        Reason::SocketReceive | Reason::SocketSend | Reason::SocketConnect => {
            let fd = u32::try_from(now.args[0]).ok();
            if let Some(socket) = fd.and_then(|fd| scene.socket(thread.pid, fd)) {
                finding.because_of.push(Subject::Socket(socket.inode));
                if let Some(peer) = &socket.peer_process {
                    finding.because_of.push(Subject::Process(peer.pid));
                }
                fact.push_str(&format!(": {}", words::socket(socket)));
            }
        }
        Reason::WaitChild if matches!(now.syscall, Some("wait4" | "waitid")) => {
            // `waitid` has it second, `wait4` first; 0 and below mean any.
            let at = usize::from(now.syscall == Some("waitid"));
            let child = now.args.get(at).map_or(0, |pid| *pid as i32);
            if child > 0 {
                finding.because_of.push(Subject::Process(child as u32));
                fact.push_str(&format!(": {}", scene.process_name(child as u32)));
            }
        }
        _ => {}
    }
    let pipe = matches!(reason, Reason::PipeRead | Reason::PipeWrite);
    if let Some(call) = call_of(scene, thread) {
        let fd = call.fd.map(|fd| format!("fd {fd}, ")).unwrap_or_default();
        if !call.path.is_empty() {
            fact.push_str(&format!(": {fd}{}", clean(&call.path)));
        }
        if pipe && let Some(inode) = pipe_inode(&call.path) {
            finding.because_of.push(Subject::Pipe(inode));
        }
    }
    finding.fact("waits", fact)
}

/// What to look at next, by what a thread waits for.
pub fn next(thread: &Thread) -> String {
    let words = match thread.now.reason {
        Some(Reason::Futex) => {
            "find why the lock's holder keeps it, or who should have woken this thread; never wait for a thread in a loop"
        }
        Some(Reason::Sleep) => "replace the sleep by the loop's own timer",
        Some(Reason::SocketReceive | Reason::SocketSend | Reason::SocketConnect | Reason::Poll) => {
            "look at the peer; use the loop's own I/O here, or a time limit"
        }
        Some(Reason::WaitChild) => "look at the child; wait for it by the loop's own means",
        _ => "move this call off the loop, to a thread of its own",
    };
    words.to_owned()
}

/// The lock that a thread waits for now.
pub fn lock<'a>(scene: &Scene<'a>, thread: &Thread) -> Option<&'a Lock> {
    let (index, _) = scene.thread(thread.tid)?;
    let mut locks = scene.capture.locks.iter();
    locks.find(|lock| {
        lock.waiters
            .iter()
            .any(|waiter| waiter.thread == index && waiter.now)
    })
}

fn is_lock(lock: &Lock) -> bool {
    !matches!(lock.kind, LockKind::Event | LockKind::Futex)
}

/// The thread that has the interpreter lock, where this one waits for it.
fn gil_holder(scene: &Scene<'_>, thread: &Thread) -> Option<u32> {
    let stack = scene.stack_now(thread)?;
    let waits = stack.gil() == Some(crate::model::Gil::WaitedFor);
    let holder = scene.process(thread.pid)?.python.as_ref()?.gil_holder_tid?;
    (waits && holder != thread.tid).then_some(holder)
}

/// What was found of the call in which a thread is blocked.
pub fn call_of<'a>(scene: &Scene<'a>, thread: &Thread) -> Option<&'a crate::model::Call> {
    let condition = scene.capture.conditions.of(thread.pid)?;
    condition.calls.iter().find(|call| call.tid == thread.tid)
}

/// The inode number in `pipe:[4711]`.
fn pipe_inode(link: &str) -> Option<u64> {
    link.strip_prefix("pipe:[")?.strip_suffix(']')?.parse().ok()
}
