//! Locks and what else threads wait for in futexes.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// What a futex is, as far as its waits and its memory tell.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum LockKind {
    /// A `pthread_mutex_t` of glibc.
    #[strum(to_string = "glibc mutex")]
    Mutex,
    /// One that is recursive.
    #[strum(to_string = "glibc mutex (recursive)")]
    RecursiveMutex,
    /// One that checks for errors.
    #[strum(to_string = "glibc mutex (error-checking)")]
    ErrorCheckMutex,
    /// One that spins first.
    #[strum(to_string = "glibc mutex (adaptive)")]
    AdaptiveMutex,
    /// One that its owner's death frees.
    #[strum(to_string = "glibc mutex (robust)")]
    RobustMutex,
    /// A lock by `FUTEX_LOCK_PI`: the kernel lends the owner its waiters' priority.
    #[strum(to_string = "priority-inheriting lock")]
    PriorityInheriting,
    /// The interpreter lock of a CPython process.
    #[strum(to_string = "Python GIL")]
    PythonGil,
    /// Waited for with the value 2, as locks of musl, Rust and others are; its memory names no owner.
    #[strum(to_string = "futex lock")]
    FutexLock,
    /// A `pthread_rwlock_t` of glibc.
    #[strum(to_string = "glibc rwlock")]
    ReadWrite,
    /// A `Mutex` of Rust's `parking_lot`, its byte and its holder's code say. The futex is its waiter's own.
    #[strum(to_string = "parking_lot mutex")]
    ParkingMutex,
    /// A `RwLock` of the same.
    #[strum(to_string = "parking_lot rwlock")]
    ParkingRwLock,
    /// The end of a thread: the word holds its id until it is gone (`pthread_join`).
    #[strum(to_string = "end of a thread")]
    ThreadEnd,
    /// Waited for as condition variables, semaphores and parked threads are.
    #[strum(to_string = "condition or semaphore")]
    Event,
    /// Anything else.
    Futex,
}

impl LockKind {
    /// In words.
    pub fn label(self) -> &'static str {
        self.into()
    }
}

/// By which operation of `futex(2)` a thread waits.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum FutexOperation {
    /// `FUTEX_WAIT`, or the call `futex_wait`.
    Wait,
    /// `FUTEX_WAIT_BITSET`.
    WaitBitset,
    /// `FUTEX_WAIT_REQUEUE_PI`.
    WaitRequeuePi,
    /// `FUTEX_LOCK_PI`.
    LockPi,
    /// `FUTEX_LOCK_PI2`.
    LockPi2,
    /// The call `futex_waitv`.
    Waitv,
    /// Newer than this table.
    Other,
}

impl FutexOperation {
    /// Its name in `report.json`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How the owner of a lock is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum OwnerFrom {
    /// The futex word holds its thread id, by contract with the kernel.
    Word,
    /// The lock's memory names it (glibc's `owner`), and such a thread lives.
    Memory,
    /// The code that it is in frees the lock later on, without taking it before: inferred.
    Code,
    /// It woke a waiter last: inferred.
    LastWaker,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Owner {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// How that is known.
    pub from: OwnerFrom,
}

/// A thread that holds a lock which notes no owner, as its code tells.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Keeper {
    /// Thread id.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// The frame that frees the lock when its call returns: index in [`super::Capture::stacks`], of a stack of
    /// that frame alone.
    pub frame: usize,
}

/// Waits of one thread for one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Waiter {
    /// Index in [`super::Capture::threads`].
    pub thread: usize,
    /// Waits.
    pub waits: u64,
    /// Time in them.
    pub total: Duration,
    /// It waits at the end of the capture.
    pub now: bool,
}

/// Waits while one thread held the lock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Holder {
    /// Thread id as the lock's memory had it.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// Waits that began while it held the lock.
    pub waits: u64,
    /// Time in those.
    pub total: Duration,
    /// The longest of them: for so long at least it kept the lock, or one after it did.
    pub longest: Duration,
}

/// A stack and the time in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LockStack {
    /// Index in [`super::Capture::threads`].
    pub thread: usize,
    /// Index in [`super::Capture::stacks`].
    pub stack: usize,
    /// Waits or samples.
    pub count: u64,
    /// Time: of waits, or what the samples stand for.
    pub total: Duration,
}

/// One futex, shared by all processes that map it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Lock {
    /// A process that waits for it.
    pub pid: u32,
    /// Its address there.
    pub address: u64,
    /// Where that lies: `heap`, `stack`, a file…
    pub place: String,
    /// Waits come from several processes, or may.
    pub shared: bool,
    /// What it is.
    pub kind: LockKind,
    /// The kind was told from the form of its waits, not from its memory.
    pub kind_inferred: bool,
    /// Operations by which it was waited for.
    pub operations: Vec<FutexOperation>,
    /// Waits, with those that last at the end.
    pub waits: u64,
    /// Time in them.
    pub total: Duration,
    /// The longest one, as far as it lies inside the capture.
    pub longest: Duration,
    /// Who waited, the longest first.
    pub waiters: Vec<Waiter>,
    /// Who holds it at the end of the capture, while somebody waits.
    pub owner: Option<Owner>,
    /// Who holds it then by its code, where its memory names nobody. Several may read under a read-write lock.
    #[serde(default)]
    pub keepers: Vec<Keeper>,
    /// Threads that read under it, by its word; 0 where one thread has it, and where that is not known.
    #[serde(default)]
    pub readers: u32,
    /// Where the lock lies that the futex's waiter is parked by at the end, where it has a futex of its own to wait in
    /// (`parking_lot`): by that thread's own memory.
    #[serde(default)]
    pub parked_at: Option<u64>,
    /// Who woke a waiter, and how often, the most frequent first.
    pub wakers: Vec<(u32, String, u64)>,
    /// Who held it when waits began.
    pub holders: Vec<Holder>,
    /// Stacks of long waits.
    pub waiter_stacks: Vec<LockStack>,
    /// What its holders did while others waited.
    pub holder_stacks: Vec<LockStack>,
}
