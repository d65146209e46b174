//! What threads wait for in futexes: a lock, with who holds it.

use super::{Clue, Needs, Node, Party, Role, Thing, Wait, channels};
use crate::waits::java::{asked_again, is_lock};
use crate::{Scene, words};
use remora_model::display::text::clean;
use remora_model::{
    Keeper, Lock, LockKind, Owner, OwnerFrom, PythonAwaited, PythonWait, Reason, State, Subject,
    Syscall, Thread,
};
use std::collections::HashMap;
use std::time::Duration;

/// Share of its life that a thread has to spend in waits for the interpreter lock to count as waiting for it
/// all the time: such a wait wakes up every 5 ms to ask again.
const ALWAYS: f64 = 0.9;
/// Holders of one lock that are shown.
const SHOWN: usize = 3;

/// The locks of a capture, by who waits for them and where they lie.
pub(super) struct Locks<'a> {
    by_waiter: HashMap<usize, &'a Lock>,
    by_place: HashMap<(u32, u64), &'a Lock>,
}

impl<'a> Locks<'a> {
    pub(super) fn new(scene: &Scene<'a>) -> Self {
        let locks = &scene.capture.locks;
        let waiters = locks.iter().flat_map(|lock| {
            let now = lock.waiters.iter().filter(|waiter| waiter.now);
            now.map(move |waiter| (waiter.thread, lock))
        });
        Self {
            by_waiter: waiters.collect(),
            by_place: locks
                .iter()
                .map(|lock| ((lock.pid, lock.address), lock))
                .collect(),
        }
    }

    /// The lock that a thread sleeps on.
    pub(super) fn of(&self, index: usize, thread: &Thread) -> Option<&'a Lock> {
        let place = (thread.pid, thread.now.args[0]);
        let known = self.by_waiter.get(&index);
        known.or_else(|| self.by_place.get(&place)).copied()
    }
}

/// The wait of each thread, by index.
pub(super) fn waits(scene: &Scene<'_>, locks: &Locks<'_>) -> Vec<Option<Wait>> {
    let in_python = scene.capture.python_waits.iter();
    let in_python = in_python.map(|wait| (wait.tid, wait)).collect();
    let looked_up = channels::by_thread(scene);
    let mut waits: Vec<Option<Wait>> = vec![None; scene.capture.threads.len()];
    for (index, thread) in scene.living() {
        if let Some(slot) = waits.get_mut(index) {
            *slot = python(scene, &in_python, thread)
                .or_else(|| java(scene, index, thread))
                .or_else(|| futex(scene, locks, index, thread))
                .or_else(|| channels::wait(scene, &looked_up, thread));
        }
    }
    waits
}

/// A lock or join of Python's `threading`.
fn python(scene: &Scene<'_>, waits: &HashMap<u32, &PythonWait>, thread: &Thread) -> Option<Wait> {
    let wait = *waits.get(&thread.tid)?;
    let now = &thread.now;
    let semaphore = wait.what == PythonAwaited::Semaphore;
    // Two holders of one lock: one of the frames was not what it seemed. A semaphore may have as many.
    if now.state != State::Blocked || !(wait.holders.len() == 1 || semaphore) {
        return None;
    }
    let nodes = wait.holders.iter().filter_map(|tid| scene.thread(*tid));
    let parties: Vec<Party> = nodes
        .map(|(index, _)| Party::Node(Node::Thread(index)))
        .collect();
    if parties.is_empty() || parties.len() < wait.holders.len() {
        return None;
    }
    let object = wait.object;
    let (what, role) = match wait.what {
        PythonAwaited::Lock => (Thing::PythonLock(object), Role::Holds),
        PythonAwaited::RLock => (Thing::PythonRLock(object), Role::Holds),
        PythonAwaited::Semaphore if parties.len() > 1 => {
            (Thing::PythonSemaphore(object), Role::MayHold)
        }
        PythonAwaited::Semaphore => (Thing::PythonSemaphore(object), Role::Holds),
        PythonAwaited::Thread => (Thing::ThreadExit, Role::Exits),
    };
    let by_frame = semaphore || wait.what == PythonAwaited::Lock;
    Some(Wait {
        what,
        role,
        subject: Some(Subject::Lock(thread.pid, now.args[0])),
        parties,
        other_end: None,
        needs: Needs::Any,
        certain: !by_frame,
        how: by_frame.then_some(Clue::PythonFrame),
        since: now.since,
        at_least: now.since_inferred,
        timed: is_timed(thread),
    })
}

/// A lock or monitor of Java's, as the machine's memory tells.
fn java(scene: &Scene<'_>, index: usize, thread: &Thread) -> Option<Wait> {
    let wait = scene.java_wait(thread.tid)?;
    let now = &thread.now;
    let holder = wait.holder.filter(|holder| *holder != thread.tid)?;
    if now.state != State::Blocked || !is_lock(wait) {
        return None;
    }
    let (holder, _) = scene.thread(holder)?;
    let always = asked_again(scene, (index, thread)).filter(|always| *always > now.since);
    Some(Wait {
        what: Thing::Java(clean(&wait.thing()).into_owned()),
        role: Role::Holds,
        subject: Some(Subject::Lock(thread.pid, wait.object)),
        parties: vec![Party::Node(Node::Thread(holder))],
        other_end: None,
        needs: Needs::Any,
        certain: true,
        how: None,
        since: always.unwrap_or(now.since),
        at_least: always.is_some() || now.since_inferred,
        timed: always.is_none() && is_timed(thread),
    })
}

fn futex(scene: &Scene<'_>, locks: &Locks<'_>, index: usize, thread: &Thread) -> Option<Wait> {
    let now = &thread.now;
    if now.state != State::Blocked || now.reason != Some(Reason::Futex) {
        return for_ever_without_gil(scene, index, thread);
    }
    let lock = locks.of(index, thread)?;
    let mut wait = match (&lock.owner, lock.keepers.as_slice()) {
        (Some(owner), _) => on_lock(scene, lock, owner),
        (None, []) => return None,
        (None, keepers) => on_kept(scene, lock, keepers),
    };
    if lock.kind == LockKind::PythonGil {
        wait.since = for_ever_without_gil(scene, index, thread)
            .map_or(now.since, |always| always.since.max(now.since));
        return Some(wait);
    }
    wait.since = now.since;
    wait.at_least = now.since_inferred;
    wait.timed = is_timed(thread);
    Some(wait)
}

/// A thread that waits for the interpreter lock whenever it was looked at, in the 5 ms between two waits too.
fn for_ever_without_gil(scene: &Scene<'_>, index: usize, thread: &Thread) -> Option<Wait> {
    let gils = scene.capture.locks.iter();
    let mut gils = gils.filter(|lock| lock.kind == LockKind::PythonGil && lock.pid == thread.pid);
    let lock = gils.find(|lock| lock.waiters.iter().any(|waiter| waiter.thread == index))?;
    let waiter = lock.waiters.iter().find(|waiter| waiter.thread == index)?;
    let always = waiter.total.as_secs_f64() >= ALWAYS * thread.observed.as_secs_f64();
    let owner = gil_owner(scene, lock).filter(|owner| always && owner.tid != thread.tid)?;
    Some(Wait {
        since: waiter.total,
        at_least: true,
        ..on_lock(scene, lock, &owner)
    })
}

/// Who holds an interpreter's lock; the lock itself knows while somebody waits at the very end.
fn gil_owner(scene: &Scene<'_>, lock: &Lock) -> Option<Owner> {
    if lock.owner.is_some() {
        return lock.owner.clone();
    }
    let python = scene.process(lock.pid)?.python.as_ref()?;
    let (_, holder) = scene.thread(python.gil_holder_tid?)?;
    Some(Owner {
        tid: holder.tid,
        comm: holder.comm.clone(),
        from: OwnerFrom::Memory,
    })
}

fn on_lock(scene: &Scene<'_>, lock: &Lock, owner: &Owner) -> Wait {
    let party = match scene.thread(owner.tid) {
        Some((index, _)) => Party::Node(Node::Thread(index)),
        None => Party::Stranger(owner.tid, owner.comm.clone()),
    };
    Wait {
        what: Thing::of(lock),
        role: match lock.kind {
            LockKind::ThreadEnd => Role::Exits,
            _ => Role::Holds,
        },
        subject: Some(Subject::Lock(lock.pid, lock.address)),
        parties: vec![party],
        other_end: None,
        needs: Needs::Any,
        certain: matches!(owner.from, OwnerFrom::Word | OwnerFrom::Memory),
        how: match owner.from {
            OwnerFrom::Word | OwnerFrom::Memory => None,
            OwnerFrom::Code => Some(Clue::Code),
            OwnerFrom::LastWaker => Some(Clue::LastWaker),
        },
        since: Duration::ZERO,
        at_least: false,
        timed: false,
    }
}

/// A lock that notes no owner, and that several threads are about to free. Readers must all do so; of others one
/// has it, and it is not known which.
fn on_kept(scene: &Scene<'_>, lock: &Lock, keepers: &[Keeper]) -> Wait {
    let parties = keepers.iter().map(|keeper| match scene.thread(keeper.tid) {
        Some((index, _)) => Party::Node(Node::Thread(index)),
        None => Party::Stranger(keeper.tid, keeper.comm.clone()),
    });
    let read = lock.readers > 0;
    Wait {
        what: Thing::of(lock),
        role: if read {
            Role::HoldsForReading
        } else {
            Role::MayHold
        },
        subject: Some(Subject::Lock(lock.pid, lock.address)),
        parties: parties.collect(),
        other_end: None,
        needs: if read { Needs::All } else { Needs::Any },
        certain: false,
        how: Some(Clue::Code),
        since: Duration::ZERO,
        at_least: false,
        timed: false,
    }
}

/// Where those that hold a lock by their code will free it, in words.
pub(super) fn kept_words(scene: &Scene<'_>, wait: &Wait) -> Option<String> {
    let Some(Subject::Lock(pid, address)) = wait.subject else {
        return None;
    };
    let mut locks = scene.capture.locks.iter();
    let lock = locks.find(|lock| lock.pid == pid && lock.address == address)?;
    let keepers = lock.keepers.iter().take(SHOWN).map(|keeper| {
        let frame = scene.capture.stacks.get(keeper.frame);
        let code = frame.and_then(words::code);
        let at = code.unwrap_or_else(|| "an unnamed function".to_owned());
        format!("{}-{} frees it in {at}", clean(&keeper.comm), keeper.tid)
    });
    let keepers: Vec<String> = keepers.collect();
    (!keepers.is_empty()).then(|| {
        let keepers = keepers.join(", ");
        format!("{keepers} after the current call; the lock records no owner")
    })
}

/// Whether a futex wait has a time limit: the fourth argument of `futex`, the fifth of `futex_wait`.
pub(super) fn is_timed(thread: &Thread) -> bool {
    match thread.now.syscall.map(Syscall::name) {
        Some("futex") => thread.now.args[3] != 0,
        Some("futex_wait") => thread.now.args[4] != 0,
        _ => false,
    }
}
