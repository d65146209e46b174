//! What a thread waits for now, in words, and what that points to: along the wait-for graph where somebody is
//! known who could end the wait, else by what the call itself says.

use super::{
    Scene,
    graph::{Graph, Node, Thing},
    words,
};
use remora_model::display::text::clean;
use remora_model::places::Meaning;
use remora_model::{Call, Finding, Gil, Lock, LockKind, Reason, Subject, Syscall, Thread, Topic};

/// What a blocked thread, given with its index, waits for: `waits for a lock held by worker-12`.
pub(crate) fn phrase(graph: &Graph<'_>, index: usize, thread: &Thread) -> String {
    let wait = graph.wait(Node::Thread(index));
    match wait.and_then(|wait| graph.only_party(wait)) {
        Some(what) => format!("waits for {what}"),
        None => what(graph.scene(), index, thread),
    }
}

fn what(scene: &Scene<'_>, index: usize, thread: &Thread) -> String {
    let now = &thread.now;
    let words = match now.reason {
        Some(Reason::Futex) => match lock(scene, index) {
            Some(lock) if lock.kind == LockKind::PythonGil => "waits for the GIL",
            Some(lock) if lock.kind == LockKind::ThreadEnd => "waits for a thread exit",
            Some(lock) if is_lock(lock) => "waits for a lock",
            _ => "waits for another thread",
        },
        Some(Reason::Sleep) => "sleeps",
        Some(Reason::SocketReceive | Reason::Poll) => "waits for data from a socket",
        Some(Reason::SocketSend) => "waits for send buffer space",
        Some(Reason::SocketConnect) => "waits for a connection to be established",
        Some(Reason::PipeRead) => "waits for data from a pipe",
        Some(Reason::PipeWrite) => "waits for buffer space in a pipe",
        Some(Reason::WaitChild) => "waits for a child exit",
        Some(Reason::Epoll) => match scene.reading_now(thread).what {
            Some(Meaning::Child) => "waits for a child exit",
            _ => "in a loop inside of a callback",
        },
        Some(Reason::Disk) => "waits for disk I/O",
        Some(Reason::PageFault) => "waits for a page of memory",
        Some(reason) => return format!("waits in {}", call(reason, thread)),
        None => "is busy",
    };
    words.to_owned()
}

/// The system call that a thread is in, else its reason.
fn call(reason: Reason, thread: &Thread) -> &'static str {
    thread.now.syscall.map_or(reason.label(), Syscall::name)
}

/// Adds what the wait is about, and what it is because of: the blame chain, where there is one. `who` is the
/// thread as the finding calls it, `instead` where it should be.
pub(crate) fn evidence(
    graph: &Graph<'_>,
    (index, thread): (usize, &Thread),
    (who, instead): (&str, &str),
    mut finding: Finding,
) -> Finding {
    let chain = graph.chain(index);
    if chain.steps.is_empty() {
        return by_call(graph.scene(), (index, thread), (who, instead), finding);
    }
    finding.evidence.extend(chain.facts(graph));
    finding.because_of.extend(chain.because_of(graph));
    finding
}

/// What the call says, where nobody is known who could end it.
fn by_call(
    scene: &Scene<'_>,
    (index, thread): (usize, &Thread),
    (who, instead): (&str, &str),
    mut finding: Finding,
) -> Finding {
    let now = &thread.now;
    let reason = now.reason.unwrap_or(Reason::Unknown);
    let mut fact = match reason {
        Reason::Epoll => format!(
            "{who} is in a loop inside of a callback, on epoll fd {}",
            now.args[0]
        ),
        _ => format!("{who} is in {}{instead}", call(reason, thread)),
    };
    match reason {
        Reason::Futex => {
            let address = now.args[0];
            finding.because_of.push(Subject::Lock(thread.pid, address));
            if let Some(lock) = lock(scene, index) {
                let subject = Subject::Lock(lock.pid, lock.address);
                finding.because_of.push(subject);
                fact.push_str(&format!("; {}", Thing::of(lock)));
            }
            if let Some(holder) = gil_holder(scene, thread) {
                finding.because_of.push(Subject::Thread(holder));
                fact.push_str(&format!("; thread {holder} holds the GIL"));
            }
        }
        Reason::SocketReceive | Reason::SocketSend | Reason::SocketConnect => {
            let fd = u32::try_from(now.args[0]).ok();
            if let Some(socket) = fd.and_then(|fd| scene.socket(thread.pid, fd)) {
                finding.because_of.push(Subject::Socket(socket.inode));
                fact.push_str(&format!("; {}", words::socket(scene, socket)));
            }
        }
        _ => {}
    }
    if let Some(call) = call_of(scene, thread).filter(|call| !call.path.is_empty()) {
        let fd = call.fd.map(|fd| format!("fd {fd} ")).unwrap_or_default();
        fact.push_str(&format!("; {fd}{}", clean(&call.path)));
    }
    finding.fact(Topic::Waits, fact)
}

/// What to do about a thread of a loop that waits at a place in the code.
pub(crate) fn next(graph: &Graph<'_>, index: usize, thread: &Thread, is_asyncio: bool) -> String {
    let scene = graph.scene();
    let place = scene.stack_now(thread).and_then(words::place);
    let at = words::at(place.as_deref());
    match thread.now.reason {
        Some(Reason::Sleep) if is_asyncio => {
            format!("Replace the sleep{at} with `await asyncio.sleep()`.")
        }
        Some(Reason::Sleep) => format!("Replace the sleep{at} with the loop's own timer."),
        Some(Reason::Epoll) if scene.reading_now(thread).what == Some(Meaning::Child) => {
            "Replace execSync, spawnSync by exec, spawn. Check what the child waits for.".to_owned()
        }
        Some(
            reason @ (Reason::SocketReceive
            | Reason::SocketSend
            | Reason::SocketConnect
            | Reason::Poll),
        ) => {
            let fix = format!("Use non-blocking I/O or a timeout{at}.");
            let wait = graph.wait(Node::Thread(index));
            match wait.and_then(|wait| graph.stranger(wait)) {
                Some(peer) if reason != Reason::SocketConnect => {
                    format!("Run: remora triage --pid {peer}. {fix}")
                }
                _ => fix,
            }
        }
        _ => format!("Move the call{at} to a worker thread."),
    }
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
pub(crate) fn call_of<'a>(scene: &Scene<'a>, thread: &Thread) -> Option<&'a Call> {
    let condition = scene.capture.conditions.of(thread.pid)?;
    condition.calls.iter().find(|call| call.tid == thread.tid)
}
