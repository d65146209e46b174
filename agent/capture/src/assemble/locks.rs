//! Futexes: their waits joined over threads and processes, what they are, and who holds them.

mod builder;
mod special;

use super::{StackIndex, Threads, close::OpenWait, threads::name};
use crate::{
    inspect::{
        futexes::{FutexState, FutexStates, Whereabouts},
        owners::{CodeOwners, OwnersByCode},
    },
    store::aggregates::AggregateStore,
};
use builder::{Form, LockBuilder};
use remora_common::{
    futex::{self, Mutex, OWNER_IN_WORD, OWNER_UNKNOWN},
    thread::ThreadSlot,
};
use remora_kernel::Arch;
use remora_model::{
    AgentLoss, FutexOperation, Holder, Keeper, Lock, LockKind, LockStack, Losses, Owner, OwnerFrom,
    Process, Waiter,
};
use remora_probe::Times;
use remora_process as process;
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Locks in a report, those with the longest waits first.
const MAX_LOCKS: usize = 256;

/// Stacks, waiters, wakers and holders of each.
const MAX_OF_EACH: usize = 20;

/// What was seen of futexes.
pub(super) struct LocksSeen<'a> {
    pub(crate) arch: Arch,
    pub(crate) freq_hz: u32,
    pub(crate) aggregates: &'a AggregateStore,
    pub(crate) futexes: &'a FutexStates,
    pub(crate) owners: &'a OwnersByCode,
    pub(crate) processes: &'a BTreeMap<u32, Process>,
    pub(crate) threads: &'a Threads,
    /// The waits that last.
    pub(crate) open: &'a [OpenWait],
}

/// All futexes that somebody waited for.
pub(super) fn locks(
    seen: &LocksSeen<'_>,
    stacks: &mut StackIndex,
    losses: &mut Losses,
) -> Vec<Lock> {
    let mut builders = builder::builders(seen, stacks);
    builders.sort_by_key(|builder| {
        (
            builder.waiting_now.is_empty(),
            Reverse(builder.sum.total_ns),
            builder.at,
        )
    });
    losses.add(
        AgentLoss::LocksLeftOut,
        builders.len().saturating_sub(MAX_LOCKS) as u64,
    );
    losses.add(AgentLoss::FutexesNotLookedUp, seen.futexes.left_out);
    losses.add(AgentLoss::LockHoldersNotLookedFor, seen.owners.left_out);
    builders.truncate(MAX_LOCKS);
    let mut names = Names::default();
    builders
        .into_iter()
        .map(|builder| lock(seen, builder, stacks, &mut names))
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
            let known = slot.map(name);
            known.or_else(|| process::name(tid)).unwrap_or_default()
        };
        self.0.entry(tid).or_insert_with(name).clone()
    }
}

fn lock(
    seen: &LocksSeen<'_>,
    mut builder: LockBuilder,
    stacks: &mut StackIndex,
    names: &mut Names,
) -> Lock {
    // Any number may stand where a mutex has its owner.
    let mut owners = std::mem::take(&mut builder.owners);
    owners.retain(|tid, _| may_hold(*tid, seen.threads, &builder));
    let state = seen.futexes.states.get(&builder.at);
    let form = builder
        .forms
        .iter()
        .max_by_key(|(_, ns)| **ns)
        .map_or(Form::Wait, |(form, _)| *form);
    let by_memory = by_memory(seen, &builder, state, form);
    // Its memory named somebody when a wait began, or does now: glibc's.
    let named = by_memory.is_some() || !owners.is_empty();
    let words = state.and_then(|state| state.words.as_ref());
    let ends = special::ending_thread(seen, &builder, state);
    let writer = special::writer(seen, &builder, state, form);
    let (kind, kind_inferred) = match (ends, writer) {
        (Some(_), _) => (LockKind::ThreadEnd, false),
        (None, Some(_)) => (LockKind::ReadWrite, false),
        (None, None) => kind(builder.is_gil, form, words.filter(|_| named)),
    };
    let by_memory = match kind {
        LockKind::ThreadEnd => ends.map(|tid| (tid, OwnerFrom::Word)),
        LockKind::ReadWrite => writer.map(|tid| (tid, OwnerFrom::Memory)),
        _ => by_memory,
    };
    let owned = seen.owners.locks.get(&builder.at);
    let (kind, kind_inferred) = special::by_code((kind, kind_inferred), owned);
    let by_code = code_owners(seen.threads, owned, stacks, names);
    let mut operations: Vec<FutexOperation> =
        builder.forms.keys().map(|form| operation(*form)).collect();
    operations.dedup();
    Lock {
        pid: builder.at.tgid,
        address: builder.at.address,
        place: match state.map(|state| &state.place) {
            None | Some(Whereabouts::Unknown) => "unknown".to_owned(),
            Some(Whereabouts::Unmapped) => "not mapped any more".to_owned(),
            Some(Whereabouts::At(place)) => place.words.clone(),
        },
        shared: builder.shared,
        kind,
        kind_inferred,
        operations,
        waits: builder.sum.count,
        total: Duration::from_nanos(builder.sum.total_ns),
        longest: Duration::from_nanos(builder.sum.max_ns),
        waiters: waiters(&builder),
        owner: owner(seen, &builder, by_memory, kind, names, &by_code),
        keepers: by_code,
        readers: owned.map_or(0, |owned| owned.readers),
        parked_at: owned.and_then(|owned| owned.sort.is_parking().then_some(owned.address)),
        wakers: wakers(seen.threads, &builder, names),
        holders: named_owners(seen.threads, &owners, names),
        waiter_stacks: lock_stacks(&builder.waiter_stacks),
        holder_stacks: lock_stacks(&builder.holder_stacks),
    }
}

/// Those that hold it by their code, each with its frame.
fn code_owners(
    threads: &Threads,
    owned: Option<&CodeOwners>,
    stacks: &mut StackIndex,
    names: &mut Names,
) -> Vec<Keeper> {
    let owners = owned.into_iter().flat_map(|owned| &owned.owners);
    owners
        .filter_map(|owner| {
            let (_, slot) = threads.find(owner.serial)?;
            Some(Keeper {
                tid: owner.tid,
                comm: names.of(threads, owner.tid),
                frame: stacks.of(slot.tgid, owner.generation, owner.frame),
            })
        })
        .collect()
}

fn waiters(builder: &LockBuilder) -> Vec<Waiter> {
    let waiters = builder.waiters.iter().map(|(thread, sum)| Waiter {
        thread: *thread,
        waits: sum.count,
        total: Duration::from_nanos(sum.total_ns),
        now: builder.waiting_now.contains(thread),
    });
    let mut waiters: Vec<Waiter> = waiters.collect();
    waiters.sort_by_key(|waiter| (Reverse(waiter.total), waiter.thread));
    waiters.truncate(MAX_OF_EACH);
    waiters
}

fn wakers(threads: &Threads, builder: &LockBuilder, names: &mut Names) -> Vec<(u32, String, u64)> {
    let wakers = builder.wakers.iter();
    let mut wakers: Vec<(u32, u64)> = wakers.map(|(tid, (count, _))| (*tid, *count)).collect();
    wakers.sort_by_key(|(tid, count)| (Reverse(*count), *tid));
    wakers.truncate(MAX_OF_EACH);
    let named = wakers.into_iter();
    named
        .map(|(tid, count)| (tid, names.of(threads, tid), count))
        .collect()
}

fn named_owners(threads: &Threads, sums: &HashMap<u32, Times>, names: &mut Names) -> Vec<Holder> {
    let mut sums: Vec<(&u32, &Times)> = sums.iter().collect();
    sums.sort_by_key(|(tid, sum)| (Reverse(sum.total_ns), **tid));
    sums.truncate(MAX_OF_EACH);
    let owners = sums.into_iter().map(|(tid, sum)| Holder {
        tid: *tid,
        comm: names.of(threads, *tid),
        waits: sum.count,
        total: Duration::from_nanos(sum.total_ns),
        longest: Duration::from_nanos(sum.max_ns),
    });
    owners.collect()
}

fn lock_stacks(sums: &HashMap<(usize, usize), Times>) -> Vec<LockStack> {
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
            let glibc = words.and_then(|words| mutex_kind(words.kind, expected));
            glibc.map_or((LockKind::FutexLock, true), |kind| (kind, false))
        }
        futex::WAIT_BITSET if expected == futex::CONTENDED => (LockKind::FutexLock, true),
        futex::WAIT_BITSET | futex::WAIT_REQUEUE_PI => (LockKind::Event, true),
        _ => (LockKind::Futex, true),
    }
}

/// Which mutex of glibc has this kind, and waits with such a value: robust ones for their owner's id (larger
/// than anything that a [`Form`] tells), the others for 2.
fn mutex_kind(kind: u32, expected: u64) -> Option<LockKind> {
    let is_robust = kind & futex::KIND_ROBUST != 0;
    if !futex::is_mutex_kind(kind) || is_robust != (expected > futex::CONTENDED) {
        return None;
    }
    Some(match kind & 3 {
        _ if is_robust => LockKind::RobustMutex,
        0 => LockKind::Mutex,
        1 => LockKind::RecursiveMutex,
        2 => LockKind::ErrorCheckMutex,
        _ => LockKind::AdaptiveMutex,
    })
}

/// The threads that wait for it at the end.
fn waiting<'a>(
    threads: &'a Threads,
    builder: &'a LockBuilder,
) -> impl Iterator<Item = &'a ThreadSlot> {
    let waiting = builder.waiting_now.iter();
    waiting.filter_map(|thread| threads.slots.get(*thread))
}

/// Whom its memory names as the owner while somebody waits, and where it does; if there is such a thread.
fn by_memory(
    seen: &LocksSeen<'_>,
    builder: &LockBuilder,
    state: Option<&FutexState>,
    form: Form,
) -> Option<(u32, OwnerFrom)> {
    let words = state?.while_waited.as_ref()?;
    // Of a robust one the value that is waited for names the owner, too: waiters may differ there.
    let named =
        waiting(seen.threads, builder).find_map(|waits| owner_in(words, form, waits.args[2]))?;
    let tid = seen.futexes.host_tid(builder.at.tgid, named.0);
    // Any number may stand there: it counts if such a thread is there. One that waits here itself may have been
    // woken in between, and then owns it since; else it waits for itself.
    let moved = |slot: &ThreadSlot| seen.futexes.moved.contains(&slot.serial);
    let is_waiter = waiting(seen.threads, builder).any(|waits| waits.tid == tid && moved(waits));
    (!is_waiter && lives_for(tid, builder)).then_some((tid, named.1))
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
    seen: &LocksSeen<'_>,
    builder: &LockBuilder,
    by_memory: Option<(u32, OwnerFrom)>,
    kind: LockKind,
    names: &mut Names,
    by_code: &[Keeper],
) -> Option<Owner> {
    let is_waiter = |tid: u32| waiting(seen.threads, builder).any(|slot| slot.tid == tid);
    waiting(seen.threads, builder).next()?;
    let (tid, from) = if kind == LockKind::PythonGil {
        let process = seen.processes.get(&builder.at.tgid)?;
        let holder = process.python.as_ref()?.gil_holder_tid;
        (holder.filter(|tid| !is_waiter(*tid))?, OwnerFrom::Memory)
    } else if let Some(named) = by_memory {
        named
    } else if let [only] = by_code {
        (only.tid, OwnerFrom::Code)
    } else if kind == LockKind::FutexLock && by_code.is_empty() {
        // It let somebody in, and whoever is in now was woken by it or came by: a guess.
        let wakers = builder.wakers.iter();
        let others = wakers.filter(|(tid, _)| **tid != 0 && !is_waiter(**tid));
        let (last, _) = others.max_by_key(|(tid, (_, last_ns))| (*last_ns, **tid))?;
        (*last, OwnerFrom::LastWaker)
    } else {
        return None;
    };
    let comm = names.of(seen.threads, tid);
    Some(Owner { tid, comm, from })
}

/// Whether a thread may have held the lock in the capture.
fn may_hold(tid: u32, threads: &Threads, builder: &LockBuilder) -> bool {
    threads.ids.contains(&(builder.at.tgid, tid)) || lives_for(tid, builder)
}

/// Whether a thread may hold the lock: one of its process that lives, or any that lives if it is shared.
fn lives_for(tid: u32, builder: &LockBuilder) -> bool {
    let process = process::process_of(tid);
    process == Some(builder.at.tgid) || (builder.shared && process.is_some())
}

/// The name of an operation.
fn operation(form: Form) -> FutexOperation {
    let Some((command, _)) = form.command() else {
        return match form {
            Form::Waitv => FutexOperation::Waitv,
            _ => FutexOperation::Wait,
        };
    };
    match command {
        futex::WAIT => FutexOperation::Wait,
        futex::LOCK_PI => FutexOperation::LockPi,
        futex::WAIT_BITSET => FutexOperation::WaitBitset,
        futex::WAIT_REQUEUE_PI => FutexOperation::WaitRequeuePi,
        futex::LOCK_PI2 => FutexOperation::LockPi2,
        _ => FutexOperation::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutex_of_glibc_waits_as_its_kind_does() {
        let robust = futex::KIND_ROBUST;
        assert_eq!(mutex_kind(0, 2), Some(LockKind::Mutex));
        assert_eq!(mutex_kind(128 | 1, 2), Some(LockKind::RecursiveMutex));
        assert_eq!(mutex_kind(256 | 3, 2), Some(LockKind::AdaptiveMutex));
        assert_eq!(mutex_kind(robust | 2, 3), Some(LockKind::RobustMutex));
        // musl waits for its owner's id, and has a small number where glibc has the kind.
        assert_eq!(mutex_kind(0, 3), None);
        assert_eq!(mutex_kind(robust, 2), None);
        assert_eq!(mutex_kind(0x3c00, 2), None);
    }

    #[test]
    fn words_that_name_an_owner_without_a_glibc_mutex_are_an_inferred_lock() {
        let wait = |expected: u32| Form::Futex(futex::WAIT as u32 | expected << 16);
        let words = Mutex {
            lock: futex::WAITERS | 4711,
            count: 2,
            owner: 0,
            users: 0,
            kind: 1,
        };
        let found = owner_in(&words, wait(3), words.lock.into());
        assert_eq!(found, Some((4711, OwnerFrom::Word)));
        assert_eq!(
            kind(false, wait(3), Some(&words)),
            (LockKind::FutexLock, true)
        );
        assert_eq!(kind(false, wait(1), Some(&words)), (LockKind::Futex, true));
        let glibc = Mutex {
            lock: 2,
            count: 1,
            owner: 4711,
            users: 1,
            kind: 1,
        };
        assert_eq!(
            owner_in(&glibc, wait(2), 2),
            Some((4711, OwnerFrom::Memory))
        );
        assert_eq!(
            kind(false, wait(2), Some(&glibc)),
            (LockKind::RecursiveMutex, false)
        );
        assert_eq!(owner_in(&glibc, Form::Waitv, 2), None);
    }
}
