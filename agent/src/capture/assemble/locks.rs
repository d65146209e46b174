//! Futexes: their waits joined over threads and processes, what they are, and who holds them.

mod draft;

use super::{Recorded, StackIndex, Threads, waits::OpenWait};
use crate::{
    capture::{gather::Sum, locks::Fact},
    model::{Holder, Lock, LockKind, LockStack, Losses, Owner, OwnerFrom, Waiter},
    target,
};
use draft::{Draft, Form, host_tid};
use remora_common::{
    futex::{self, OWNER_IN_WORD, OWNER_UNKNOWN},
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
    let (kind, kind_inferred) = kind(&draft, fact, form);
    let place = fact.and_then(|fact| fact.place.as_ref());
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
    let owner = owner(recorded, threads, &draft, fact, kind, names);
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
        place: place.map_or_else(
            || "not mapped any more".to_owned(),
            |place| place.words.clone(),
        ),
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

/// What it is, and whether that is only inferred.
fn kind(draft: &Draft, fact: Option<&Fact>, form: Form) -> (LockKind, bool) {
    if draft.is_gil {
        return (LockKind::PythonGil, false);
    }
    let Some((command, expected)) = form.command() else {
        return (LockKind::Futex, true);
    };
    match command {
        futex::LOCK_PI | futex::LOCK_PI2 => (LockKind::PriorityInheriting, false),
        futex::WAIT if expected >= futex::CONTENDED => {
            let words = fact.and_then(|fact| fact.words.as_ref());
            // Somebody was named as its owner, or is now: glibc's.
            let named = !draft.holders.is_empty();
            match words.filter(|words| named && futex::is_mutex_kind(words.kind)) {
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

/// Who holds it while somebody waits: by its memory, if such a thread is there; else who woke a waiter
/// last.
fn owner(
    recorded: &Recorded,
    threads: &Threads,
    draft: &Draft,
    fact: Option<&Fact>,
    kind: LockKind,
    names: &mut Names,
) -> Option<Owner> {
    let waiting: Vec<&ThreadSlot> = draft
        .waiting_now
        .iter()
        .filter_map(|thread| threads.slots.get(*thread))
        .collect();
    let waits = waiting.first()?;
    if kind == LockKind::PythonGil {
        let process = recorded.processes.get(&draft.at.tgid)?;
        let tid = process.python.as_ref()?.gil_holder_tid?;
        return Some(Owner {
            tid,
            comm: names.of(threads, tid),
            from: OwnerFrom::Memory,
        });
    }
    let words = fact.and_then(|fact| fact.words.as_ref());
    let by_memory = match kind {
        LockKind::PriorityInheriting => {
            words.map(|words| (words.lock & futex::TID_MASK, OWNER_IN_WORD))
        }
        _ => words.map(|words| futex::owner_of_mutex(words, waits.args[2])),
    };
    if let Some((tid, from)) = by_memory.filter(|(tid, from)| *tid != 0 && *from != OWNER_UNKNOWN) {
        let tid = host_tid(recorded, draft.at.tgid, tid);
        let comm = names.of(threads, tid);
        // Any number may stand there: it counts if such a thread is there.
        if is_thread_of(tid, draft) {
            let from = match from {
                OWNER_IN_WORD => OwnerFrom::Word,
                _ => OwnerFrom::Memory,
            };
            return Some(Owner { tid, comm, from });
        }
    }
    let woken = waiting.iter().filter(|slot| slot.waker_tid != 0);
    let recent = |slot: &&&ThreadSlot| slot.since_ns;
    let last = (kind == LockKind::FutexLock)
        .then(|| woken.max_by_key(recent))
        .flatten()?;
    // It let somebody in, and whoever is in now was woken by it or came by: a guess.
    Some(Owner {
        tid: last.waker_tid,
        comm: names.of(threads, last.waker_tid),
        from: OwnerFrom::LastWaker,
    })
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
