//! What a thread waits for now, in words, and what that points to: along the wait-for graph where somebody is
//! known who could end the wait, else by what the call itself says.

use super::{
    Scene,
    graph::{Graph, Node},
    words,
};
use crate::model::{Call, Finding, Gil, Lock, LockKind, Reason, Subject, Thread, Topic};
use crate::words::{label, text::clean};

/// What a blocked thread, given with its index, waits for: `waits for a lock: worker-12 holds it`.
pub fn phrase(graph: &Graph<'_>, index: usize, thread: &Thread) -> String {
    let what = what(graph.scene(), index, thread);
    let wait = graph.wait(Node::Thread(index));
    match wait.and_then(|wait| graph.only_party(wait)) {
        Some(party) => format!("{what}: {party}"),
        None => what,
    }
}

fn what(scene: &Scene<'_>, index: usize, thread: &Thread) -> String {
    let now = &thread.now;
    let words = match now.reason {
        Some(Reason::Futex) => match lock(scene, index) {
            Some(lock) if lock.kind == LockKind::PythonGil => "waits for the GIL",
            Some(lock) if lock.kind == LockKind::ThreadEnd => "waits for the end of a thread",
            Some(lock) if is_lock(lock) => "waits for a lock",
            _ => "waits for another thread (condition, semaphore or join)",
        },
        Some(Reason::Sleep) => "sleeps",
        Some(Reason::SocketReceive | Reason::Poll) => "waits for bytes from a socket",
        Some(Reason::SocketSend) => "waits for room to send",
        Some(Reason::SocketConnect) => "waits for a connection to be made",
        Some(Reason::PipeRead) => "waits for bytes from a pipe",
        Some(Reason::PipeWrite) => "waits for room in a pipe",
        Some(Reason::WaitChild) => "waits for a child process to end",
        Some(Reason::Disk) => "waits for the disk",
        Some(Reason::PageFault) => "waits for a page of memory",
        Some(reason) => {
            return match now.syscall {
                Some(call) => format!("waits in {}", call.name()),
                None => format!("waits ({})", reason.label()),
            };
        }
        None => "is busy",
    };
    words.to_owned()
}

/// Adds what the wait is about, and what it is because of: the blame chain, where there is one.
pub fn evidence(graph: &Graph<'_>, index: usize, thread: &Thread, mut finding: Finding) -> Finding {
    let chain = graph.chain(index);
    if chain.steps.is_empty() {
        return by_call(graph.scene(), index, thread, finding);
    }
    finding.evidence.extend(chain.facts(graph));
    finding.because_of.extend(chain.because_of(graph));
    finding
}

/// What the call says, where nobody is known who could end it.
fn by_call(scene: &Scene<'_>, index: usize, thread: &Thread, mut finding: Finding) -> Finding {
    let now = &thread.now;
    let reason = now.reason.unwrap_or(Reason::Unknown);
    let call = now.syscall.map(|call| format!(" ({})", call.name()));
    let time = words::since(now.since, now.since_inferred);
    let mut fact = format!(
        "{}{} for {time}",
        label::reason(reason, now.syscall),
        call.unwrap_or_default()
    );
    match reason {
        Reason::Futex => {
            let address = now.args[0];
            finding.because_of.push(Subject::Lock(thread.pid, address));
            if let Some(lock) = lock(scene, index) {
                let subject = Subject::Lock(lock.pid, lock.address);
                finding.because_of.push(subject);
                fact.push_str(&format!(": {} at {:#x}", lock.kind.label(), lock.address));
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
                fact.push_str(&format!(": {}", words::socket(socket)));
            }
        }
        _ => {}
    }
    if let Some(call) = call_of(scene, thread).filter(|call| !call.path.is_empty()) {
        let fd = call.fd.map(|fd| format!("fd {fd}, ")).unwrap_or_default();
        fact.push_str(&format!(": {fd}{}", clean(&call.path)));
    }
    finding.fact(Topic::Waits, fact)
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

/// The lock that a thread, given by its index, waits for now.
fn lock<'a>(scene: &Scene<'a>, index: usize) -> Option<&'a Lock> {
    let mut locks = scene.capture.locks.iter();
    locks.find(|lock| {
        let mut waiters = lock.waiters.iter();
        waiters.any(|waiter| waiter.thread == index && waiter.now)
    })
}

fn is_lock(lock: &Lock) -> bool {
    !matches!(lock.kind, LockKind::Event | LockKind::Futex)
}

/// The thread that has the interpreter lock, where this one waits for it.
fn gil_holder(scene: &Scene<'_>, thread: &Thread) -> Option<u32> {
    let stack = scene.stack_now(thread)?;
    let waits = stack.gil() == Some(Gil::WaitedFor);
    let holder = scene.process(thread.pid)?.python.as_ref()?.gil_holder_tid?;
    (waits && holder != thread.tid).then_some(holder)
}

/// What was found of the call in which a thread is blocked.
pub fn call_of<'a>(scene: &Scene<'a>, thread: &Thread) -> Option<&'a Call> {
    let condition = scene.capture.conditions.of(thread.pid)?;
    condition.calls.iter().find(|call| call.tid == thread.tid)
}
