//! Futexes that are no locks of one owner: the end of a thread, and read-write locks.

use super::{
    LocksSeen,
    builder::{Form, LockBuilder},
    lives_for, waiting,
};
use crate::inspect::{
    futexes::FutexState,
    owners::{CodeOwners, Sort},
};
use remora_common::futex;
use remora_model::LockKind;
use remora_process as process;

/// The thread whose end is waited for: glibc's `pthread_join` waits for the id of the thread to go from its
/// `struct pthread`, by the kernel's hand (`CLONE_CHILD_CLEARTID`).
pub(super) fn ending_thread(
    seen: &LocksSeen<'_>,
    builder: &LockBuilder,
    state: Option<&FutexState>,
) -> Option<u32> {
    let waits = waiting(seen.threads, builder).next()?;
    let word = state?.while_waited.as_ref()?.lock;
    let operation = waits.args[1] & futex::COMMAND;
    let waits_for_word = matches!(operation, futex::WAIT | futex::WAIT_BITSET)
        && waits.args[2] == u64::from(word)
        && u64::from(word) > futex::CONTENDED;
    let tid = seen.futexes.host_tid(builder.at.tgid, word);
    let lives = || process::process_of(tid) == Some(builder.at.tgid);
    (waits_for_word && tid != waits.tid && lives()).then_some(tid)
}

/// The thread that has locked a read-write lock for writing; `None`: it is none, as far as its memory and the way
/// it is waited for tell, or readers have it, who are not noted.
pub(super) fn writer(
    seen: &LocksSeen<'_>,
    builder: &LockBuilder,
    state: Option<&FutexState>,
    form: Form,
) -> Option<u32> {
    let writer = state?.rwlock?;
    let is_wait = matches!(
        form.command(),
        Some((futex::WAIT_BITSET | futex::WAIT, 2..))
    );
    let tid = seen.futexes.host_tid(builder.at.tgid, writer);
    (is_wait && lives_for(tid, builder)).then_some(tid)
}

/// What a lock is of which only its owners' code tells, and whether that is inferred: else its waits look like
/// those for a condition.
pub(super) fn by_code(known: (LockKind, bool), owned: Option<&CodeOwners>) -> (LockKind, bool) {
    match (known.0, owned) {
        (LockKind::Event | LockKind::Futex | LockKind::FutexLock, Some(owned))
            if !owned.owners.is_empty() =>
        {
            let kind = match owned.sort {
                Sort::Word => LockKind::FutexLock,
                Sort::Glibc => LockKind::ReadWrite,
                Sort::ParkingMutex => LockKind::ParkingMutex,
                Sort::ParkingRwLock => LockKind::ParkingRwLock,
            };
            (kind, true)
        }
        _ => known,
    }
}
