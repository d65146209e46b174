//! `lock_stuck`: a lock that a thread has waited for longer than the threshold, without a break.
//!
//! Whoever holds it: a lock that is not handed over for ten seconds is wrong where it is known that it is a lock, by
//! its memory, by the interpreter's, or by the functions that the wait is in. Who holds it is said where it is
//! known; where not, what could be the reason (a holder that was killed, one in another process).
//!
//! What looks similar and is none: workers that take turns at a queue or at `accept` under a lock, with the first of
//! them at rest ([`waits`](super::waits) calls that a turn); a semaphore that counts the jobs of workers that work;
//! a deadlock, which is that finding's.

pub(crate) mod database;

use super::waits::{Kind, Waiting, Waits, java::is_behind_rest, someone_works};
use super::{Findings, Scene, graph::Graph, graph::Node, words};
use remora_model::display::text::{clean, counted};
use remora_model::places::Meaning;
use remora_model::{
    Confidence, Finding, FindingKind, LockKind, PythonAwaited, Reason, Severity, Subject, Topic,
};
use std::collections::{BTreeMap, HashSet};

/// Locks of which each gets a finding, in all processes.
const MAX_FINDINGS: usize = 8;
/// Other waiters that are named.
const SHOWN: usize = 4;

/// A lock, and who waits for it, the longest first.
type Stuck<'w, 'a> = (Subject, Vec<&'w Waiting<'a>>);

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let graph = Graph::of(scene);
    let waits = Waits::of(&graph);
    for (lock, waiters) in stuck(&graph, &waits).iter().take(MAX_FINDINGS) {
        if let Some((first, others)) = waiters.split_first() {
            findings.push(finding(&graph, *lock, first, others));
        }
    }
}

/// The futexes of all of them: what else is said of these is said here.
pub(crate) fn futexes(graph: &Graph<'_>) -> HashSet<Subject> {
    let waits = Waits::of(graph);
    let stuck = stuck(graph, &waits);
    let waiters = stuck.iter().flat_map(|(_, waiters)| waiters);
    let futexes = waiters.map(|it| Subject::Lock(it.thread.pid, it.thread.now.args[0]));
    futexes.collect()
}

/// Those with the longest waits first.
fn stuck<'w, 'a>(graph: &Graph<'a>, waits: &'w Waits<'a>) -> Vec<Stuck<'w, 'a>> {
    let scene = graph.scene();
    let dead = deadlocked(graph);
    let mut by_lock: BTreeMap<Subject, Vec<&Waiting<'_>>> = BTreeMap::new();
    for waiting in waits.of_targets(scene) {
        let long = waiting.since() >= scene.thresholds.lock_stuck;
        if long && !dead.contains(&waiting.index) && is_lock(graph, waits, waiting) {
            let of_lock = by_lock.entry(subject(graph, waiting)).or_default();
            of_lock.push(waiting);
        }
    }
    let mut all: Vec<_> = by_lock.into_iter().collect();
    for (_, waiters) in &mut all {
        waiters.sort_by_key(|it| (std::cmp::Reverse(it.since()), it.index));
    }
    all.sort_by_key(|(_, waiters)| std::cmp::Reverse(waiters.first().map(|it| it.since())));
    all
}

/// Threads of deadlocks, and those behind them.
fn deadlocked(graph: &Graph<'_>) -> HashSet<usize> {
    let cycles = graph.cycles();
    let nodes = cycles
        .iter()
        .flat_map(|it| it.nodes.iter().chain(&it.behind));
    let threads = nodes.filter_map(|node| match node {
        Node::Thread(index) => Some(*index),
        Node::Task(..) => None,
    });
    threads.collect()
}

fn is_lock(graph: &Graph<'_>, waits: &Waits<'_>, waiting: &Waiting<'_>) -> bool {
    let scene = graph.scene();
    match waiting.kind {
        // Behind one that seems to be at rest it is not certain that anything is wrong.
        Kind::Lock => !is_behind_rest(graph, waits, waiting),
        // A semaphore that nobody gives back; one that counts jobs at work is a limit that does what it should.
        Kind::Slot => {
            is_semaphore(scene, waiting) && !someone_works(scene, waits, waiting.thread.pid)
        }
        _ => false,
    }
}

/// Whether the slot is one of `threading.Semaphore`.
pub(crate) fn is_semaphore(scene: &Scene<'_>, waiting: &Waiting<'_>) -> bool {
    let stack = scene.stack_now(waiting.thread);
    let by = waiting.reading.by.and_then(|at| stack?.frames.get(at));
    let file = by.and_then(|frame| frame.file.as_deref());
    waiting.reading.what == Some(Meaning::Slot)
        && file.is_some_and(|file| file.ends_with("threading.py"))
}

/// Of a lock object of Python's or Java's the object, of one that its waiters park for the lock, else the futex, which
/// may be the thread's own; of one that has no futex the thread.
fn subject(graph: &Graph<'_>, waiting: &Waiting<'_>) -> Subject {
    let (scene, thread) = (graph.scene(), waiting.thread);
    if thread.now.reason != Some(Reason::Futex) {
        return Subject::Thread(thread.tid);
    }
    let mut python = scene.capture.python_waits.iter();
    let object = python
        .find(|wait| wait.tid == thread.tid)
        .map(|it| it.object)
        .or_else(|| scene.java_wait(thread.tid).map(|it| it.object))
        .or_else(|| graph.lock(waiting.index)?.parked_at);
    Subject::Lock(thread.pid, object.unwrap_or(thread.now.args[0]))
}

/// What is waited for, and whether memory says so.
fn name(graph: &Graph<'_>, waiting: &Waiting<'_>) -> (String, bool) {
    let scene = graph.scene();
    let mut python = scene.capture.python_waits.iter();
    if let Some(wait) = python.find(|wait| wait.tid == waiting.thread.tid) {
        let kind = match wait.what {
            PythonAwaited::RLock => "RLock",
            PythonAwaited::Semaphore => "Semaphore",
            _ => "Lock",
        };
        return (format!("threading.{kind} {:#x}", wait.object), true);
    }
    if let Some(wait) = scene.java_wait(waiting.thread.tid) {
        return (clean(&wait.thing()).into_owned(), true);
    }
    let stack = scene.stack_now(waiting.thread);
    let by = waiting.reading.by.and_then(|at| stack?.frames.get(at));
    let known = graph.lock(waiting.index);
    let lock = known.filter(|lock| {
        !matches!(
            lock.kind,
            LockKind::Event | LockKind::Futex | LockKind::FutexLock
        )
    });
    match (lock, by) {
        (Some(lock), _) => (super::waits::lock_words(lock), !lock.kind_inferred),
        (None, Some(by)) => {
            let what = if waiting.kind == Kind::Slot {
                "semaphore"
            } else {
                "lock"
            };
            let parked_at = known.and_then(|lock| lock.parked_at);
            let at = parked_at.map_or_else(String::new, |at| format!(" {at:#x}"));
            let function = remora_model::display::label::frame_short(by);
            (format!("a {what}{at} in {function}"), false)
        }
        (None, None) => ("a lock".to_owned(), false),
    }
}

fn finding(
    graph: &Graph<'_>,
    lock: Subject,
    first: &Waiting<'_>,
    others: &[&Waiting<'_>],
) -> Finding {
    let scene = graph.scene();
    let thread = first.thread;
    let now = &thread.now;
    let since = words::since(first.since(), first.at_least());
    let (what, certain) = name(graph, first);
    let node = Node::Thread(first.index);
    let wait = graph.wait(node);
    let chain = graph.chain(first.index);
    let mut finding = scene.about_thread(FindingKind::LockStuck, Severity::Critical, thread);
    finding.since = Some(first.since());
    finding.since_at_least = first.at_least();
    if !certain || !chain.is_certain() {
        finding.confidence = Confidence::Inferred;
    }
    let holder = wait.and_then(|wait| graph.only_party(wait));
    let java = scene.java_wait(thread.tid);
    let gone = java.and_then(|wait| wait.ended_holder.as_deref());
    finding.summary = words::Headline {
        who: &words::thread(thread),
        of: &scene.process_name(thread.pid),
        what: &format!("waits for a lock for {since}"),
        detail: holder.as_deref().unwrap_or(match gone {
            Some(_) => "its holder has exited",
            None => "holder unknown",
        }),
    }
    .fitted();
    if chain.steps.is_empty() {
        let who = words::thread(thread);
        let why = match gone {
            Some(_) => format!("{who} waits for {what}"),
            None => format!("{who} waits for {what}; its holder is unknown"),
        };
        finding = finding.fact(Topic::Waits, why);
        finding = match gone {
            Some(name) => finding.fact(Topic::Holder, ended(name)),
            None => finding.fact(Topic::Unknown, unknown(graph, first)),
        };
    } else {
        finding.evidence.extend(chain.facts(graph));
    }
    if let Some(code) = graph.code(node) {
        finding = finding.fact(Topic::Where, format!("{}: {code}", words::thread(thread)));
    }
    if !certain {
        let how = "the functions that the thread waits in take a lock";
        finding = finding.fact(Topic::Inferred, how);
    }
    if first.timed {
        let timeout = format!("{} waits with a timeout", words::thread(thread));
        finding = finding.fact(Topic::Timeout, timeout);
    }
    finding = behind(finding, others);
    finding.next = next(graph, first, holder.is_some());
    finding.about = std::iter::once(first)
        .chain(others.iter().copied())
        .map(|it| Subject::Thread(it.thread.tid))
        .collect();
    if now.reason == Some(Reason::Futex) {
        finding.about.push(lock);
        finding.about.push(Subject::Lock(thread.pid, now.args[0]));
        finding.about.dedup();
    }
    finding.because_of = chain.because_of(graph);
    finding.because_of.retain(|it| !finding.about.contains(it));
    finding
}

/// A holder that has ended, by its name.
fn ended(name: &str) -> String {
    let who = match name {
        "" => "a thread".to_owned(),
        name => format!("thread \"{}\"", clean(name)),
    };
    format!("{who} exited without releasing it; nobody can release it")
}

/// Why nobody knows the holder.
fn unknown(graph: &Graph<'_>, waiting: &Waiting<'_>) -> String {
    if database::of(graph.scene(), waiting).is_some() {
        return database::UNKNOWN.to_owned();
    }
    let shared = graph.lock(waiting.index).is_some_and(|lock| lock.shared);
    let words = if shared {
        "its memory names no owner; it is shared between processes, and nobody releases it for a holder that was killed"
    } else {
        "its memory names no owner; whoever took it last did not release it"
    };
    words.to_owned()
}

fn behind(finding: Finding, others: &[&Waiting<'_>]) -> Finding {
    if others.is_empty() {
        return finding;
    }
    let named = others.iter().take(SHOWN);
    let mut names: Vec<String> = named.map(|it| words::thread(it.thread)).collect();
    if others.len() > SHOWN {
        names.push(format!("{} more", others.len() - SHOWN));
    }
    let number = counted(others.len() as u64, "more waiter");
    finding.fact(Topic::Blocked, format!("{number}: {}", names.join(", ")))
}

fn next(graph: &Graph<'_>, waiting: &Waiting<'_>, held: bool) -> String {
    if let Some(server) = database::of(graph.scene(), waiting) {
        return server.next(waiting.thread);
    }
    let process = graph.scene().process_name(waiting.thread.pid);
    let place = graph.place(Node::Thread(waiting.index));
    let at = place
        .map(|place| format!(" at {}", clean(&place)))
        .unwrap_or_default();
    match held {
        true => format!("Find why the holder keeps the lock that is waited for{at}."),
        false => format!(
            "Restart {process} to recover. Then find who takes the lock that is waited for{at} and does not release it."
        ),
    }
}

#[cfg(test)]
mod tests;
