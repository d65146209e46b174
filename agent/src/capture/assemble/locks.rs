//! Futexes: their waits joined over threads and processes, what they are, and who holds them.

mod draft;

use super::{Recorded, StackIndex, Threads, waits::OpenWait};
use crate::{
    capture::{
        gather::Sum,
        locks::{Fact, Whereabouts},
    },
    model::{Holder, Lock, LockKind, LockStack, Losses, Owner, OwnerFrom, Waiter},
    target,
};
use draft::{Draft, Form, host_tid};
use remora_common::{
    futex::{self, Mutex, OWNER_IN_WORD, OWNER_UNKNOWN},
    thread::ThreadSlot,
};
use std::{cmp::Reverse, collections::HashMap, time::Duration};

/// Locks in a report, those with the longest waits first.
const MAX_LOCKS: usize = 256;

/// Stacks, waiters, wakers and holders of each.
const MAX_OF_EACH: usize = 20;

/// All futexes that somebody waited for.
pub fn locks(
    recorded: &Recorded,
    threads: &Threads,
    open: &[OpenWait],
    stacks: &mut StackIndex,
    losses: &mut Losses,
) -> Vec<Lock> {
    let mut drafts = draft::drafts(recorded, threads, open, stacks);
    drafts.sort_by_key(|draft| {
        (
            draft.waiting_now.is_empty(),
            Reverse(draft.sum.total_ns),
            draft.at,
        )
    });
    losses.add(
        "locks_left_out",
        drafts.len().saturating_sub(MAX_LOCKS) as u64,
    );
    losses.add("futexes_not_looked_up", recorded.futexes.left_out);
    drafts.truncate(MAX_LOCKS);
    let mut names = Names::default();
    drafts
        .into_iter()
        .map(|draft| lock(recorded, threads, draft, &mut names))
        .collect()
}

/// Names of threads, each looked up once.
#[derive(Default)]
struct Names(HashMap<u32, String>);

impl Names {
    fn of(&mut self, threads: &Threads, tid: u32) -> String {
        if tid == 0 {
            return String::new();
        }
        let name = || {
            let slot = threads.slots.iter().rev().find(|slot| slot.tid == tid);
            let known = slot.map(super::name);
            known.or_else(|| target::name(tid)).unwrap_or_default()
        };
        self.0.entry(tid).or_insert_with(name).clone()
    }
}

fn lock(recorded: &Recorded, threads: &Threads, draft: Draft, names: &mut Names) -> Lock {
    let fact = recorded.futexes.futexes.get(&draft.at);
    let form = draft
        .forms
        .iter()
        .max_by_key(|(_, ns)| **ns)
        .map_or(Form::Wait, |(form, _)| *form);
    let by_memory = by_memory(recorded, threads, &draft, fact, form);
    // Its memory named somebody when a wait began, or does now: glibc's.
    let named = by_memory.is_some() || !draft.holders.is_empty();
    let words = fact.and_then(|fact| fact.words.as_ref());
    let (kind, kind_inferred) = kind(draft.is_gil, form, words.filter(|_| named));
    let mut waiters: Vec<Waiter> = draft
        .waiters
        .iter()
        .map(|(thread, sum)| Waiter {
            thread: *thread,
            waits: sum.count,
            total: Duration::from_nanos(sum.total_ns),
            now: draft.waiting_now.contains(thread),
        })
        .collect();
    waiters.sort_by_key(|waiter| (Reverse(waiter.total), waiter.thread));
    let mut wakers: Vec<(u32, String, u64)> = draft
        .wakers
        .iter()
        .map(|(tid, count)| (*tid, names.of(threads, *tid), *count))
        .collect();
    wakers.sort_by_key(|(tid, _, count)| (Reverse(*count), *tid));
    let owner = owner(recorded, threads, &draft, by_memory, kind, names);
    let mut holders: Vec<Holder> = draft
        .holders
        .iter()
        .map(|(tid, sum)| Holder {
            tid: *tid,
            comm: names.of(threads, *tid),
            waits: sum.count,
            total: Duration::from_nanos(sum.total_ns),
            longest: Duration::from_nanos(sum.max_ns),
        })
        .collect();
    holders.sort_by_key(|holder| (Reverse(holder.total), holder.tid));
    holders.truncate(MAX_OF_EACH);
    waiters.truncate(MAX_OF_EACH);
    wakers.truncate(MAX_OF_EACH);
    let mut operations: Vec<&'static str> =
        draft.forms.keys().map(|form| operation(*form)).collect();
    operations.dedup();
    Lock {
        pid: draft.at.tgid,
        address: draft.at.address,
        place: match fact.map(|fact| &fact.place) {
            None | Some(Whereabouts::Unknown) => "unknown".to_owned(),
            Some(Whereabouts::Unmapped) => "not mapped any more".to_owned(),
            Some(Whereabouts::At(place)) => place.words.clone(),
        },
        shared: draft.shared,
        kind,
        kind_inferred,
        operations,
        waits: draft.sum.count,
        total: Duration::from_nanos(draft.sum.total_ns),
        longest: Duration::from_nanos(draft.sum.max_ns),
        waiters,
        owner,
        wakers,
        holders,
        waiter_stacks: lock_stacks(&draft.waiter_stacks),
        holder_stacks: lock_stacks(&draft.holder_stacks),
    }
}

fn lock_stacks(sums: &HashMap<(usize, usize), Sum>) -> Vec<LockStack> {
    let mut stacks: Vec<LockStack> = sums
        .iter()
        .map(|((thread, stack), sum)| LockStack {
            thread: *thread,
            stack: *stack,
            count: sum.count,
            total: Duration::from_nanos(sum.total_ns),
        })
        .collect();
    stacks.sort_by_key(|stack| (Reverse(stack.total), stack.thread, stack.stack));
    stacks
}

/// What it is, and whether that is only inferred. `words` are those of a lock whose memory has named an
/// owner.
fn kind(is_gil: bool, form: Form, words: Option<&Mutex>) -> (LockKind, bool) {
    if is_gil {
        return (LockKind::PythonGil, false);
    }
    let Some((command, expected)) = form.command() else {
        return (LockKind::Futex, true);
    };
    match command {
        futex::LOCK_PI | futex::LOCK_PI2 => (LockKind::PriorityInheriting, false),
        futex::WAIT if expected >= futex::CONTENDED => {
            match words.filter(|words| futex::is_mutex_kind(words.kind)) {
                Some(words) if words.kind & futex::KIND_ROBUST != 0 => {
                    (LockKind::RobustMutex, false)
                }
                Some(words) => (
                    match words.kind & 3 {
                        0 => LockKind::Mutex,
                        1 => LockKind::RecursiveMutex,
                        2 => LockKind::ErrorCheckMutex,
                        _ => LockKind::AdaptiveMutex,
                    },
                    false,
                ),
                None => (LockKind::FutexLock, true),
            }
        }
        futex::WAIT_BITSET if expected == futex::CONTENDED => (LockKind::FutexLock, true),
        futex::WAIT_BITSET | futex::WAIT_REQUEUE_PI => (LockKind::Event, true),
        _ => (LockKind::Futex, true),
    }
}

/// The threads that wait for it at the end.
fn waiting<'a>(threads: &'a Threads, draft: &'a Draft) -> impl Iterator<Item = &'a ThreadSlot> {
    let waiting = draft.waiting_now.iter();
    waiting.filter_map(|thread| threads.slots.get(*thread))
}

/// Whom its memory names as the owner while somebody waits, and where it does; if there is such a thread.
fn by_memory(
    recorded: &Recorded,
    threads: &Threads,
    draft: &Draft,
    fact: Option<&Fact>,
    form: Form,
) -> Option<(u32, OwnerFrom)> {
    let words = fact?.while_waited.as_ref()?;
    // Of a robust one the value that is waited for names the owner, too: waiters may differ there.
    let named = waiting(threads, draft).find_map(|waits| owner_in(words, form, waits.args[2]))?;
    let tid = host_tid(recorded, draft.at.tgid, named.0);
    // Any number may stand there: it counts if such a thread is there, and waits for nobody here.
    let is_waiter = waiting(threads, draft).any(|waits| waits.tid == tid);
    (!is_waiter && is_thread_of(tid, draft)).then_some((tid, named.1))
}

/// The owner in a lock's words, for a thread that waits for it with `expected` in its word.
fn owner_in(words: &Mutex, form: Form, expected: u64) -> Option<(u32, OwnerFrom)> {
    let (tid, from) = match form.command()?.0 {
        futex::LOCK_PI | futex::LOCK_PI2 => (words.lock & futex::TID_MASK, OWNER_IN_WORD),
        _ => futex::owner_of_mutex(words, expected),
    };
    match from {
        _ if tid == 0 => None,
        OWNER_UNKNOWN => None,
        OWNER_IN_WORD => Some((tid, OwnerFrom::Word)),
        _ => Some((tid, OwnerFrom::Memory)),
    }
}

/// Who holds it while somebody waits: by its memory; else who woke a waiter last. Never one that waits.
fn owner(
    recorded: &Recorded,
    threads: &Threads,
    draft: &Draft,
    by_memory: Option<(u32, OwnerFrom)>,
    kind: LockKind,
    names: &mut Names,
) -> Option<Owner> {
    let is_waiter = |tid: u32| waiting(threads, draft).any(|slot| slot.tid == tid);
    waiting(threads, draft).next()?;
    let (tid, from) = if kind == LockKind::PythonGil {
        let process = recorded.processes.get(&draft.at.tgid)?;
        let holder = process.python.as_ref()?.gil_holder_tid;
        (holder.filter(|tid| !is_waiter(*tid))?, OwnerFrom::Memory)
    } else if let Some(named) = by_memory {
        named
    } else if kind == LockKind::FutexLock {
        // It let somebody in, and whoever is in now was woken by it or came by: a guess.
        let woken = waiting(threads, draft).filter(|slot| slot.waker_tid != 0);
        let by_another = woken.filter(|slot| !is_waiter(slot.waker_tid));
        let last = by_another.max_by_key(|slot| slot.since_ns)?;
        (last.waker_tid, OwnerFrom::LastWaker)
    } else {
        return None;
    };
    let comm = names.of(threads, tid);
    Some(Owner { tid, comm, from })
}

/// Whether a thread may hold the lock: one of its process that lives, or any that lives if it is shared.
fn is_thread_of(tid: u32, draft: &Draft) -> bool {
    let process = target::process_of(tid);
    process == Some(draft.at.tgid) || (draft.shared && process.is_some())
}

/// The name of an operation.
fn operation(form: Form) -> &'static str {
    let Some((command, _)) = form.command() else {
        return if form == Form::Waitv { "waitv" } else { "wait" };
    };
    match command {
        futex::WAIT => "wait",
        futex::LOCK_PI => "lock_pi",
        futex::WAIT_BITSET => "wait_bitset",
        futex::WAIT_REQUEUE_PI => "wait_requeue_pi",
        futex::LOCK_PI2 => "lock_pi2",
        _ => "other",
    }
}
