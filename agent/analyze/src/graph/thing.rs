//! What is waited for, how those who can end it stand to it, and how that is known. Words are made here.

use remora_model::{Lock, LockKind};
use std::fmt;

/// What a node waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thing {
    /// A futex that is a lock.
    Lock {
        /// Its kind.
        kind: LockKind,
        /// Where it is.
        address: u64,
    },
    /// A `threading.Lock`, by its address.
    PythonLock(u64),
    /// A `threading.RLock`.
    PythonRLock(u64),
    /// A `threading.Semaphore`.
    PythonSemaphore(u64),
    /// A lock or monitor of Java's: `ReentrantLock 0x…`.
    Java(String),
    /// An `asyncio.Lock`.
    AsyncioLock(u64),
    /// The interpreter lock.
    Gil,
    /// A thread that has to exit.
    ThreadExit,
    /// A child process that has to exit.
    ChildExit,
    /// Another asyncio task.
    Task,
    /// Several of them.
    Tasks,
    /// Data on a descriptor: `fd 9, tcp …`.
    Data(String),
    /// Buffer space in one.
    Space(String),
    /// A lock on a file, by its path.
    FileLock(String),
}

impl Thing {
    /// That of a futex.
    pub fn of(lock: &Lock) -> Self {
        match lock.kind {
            LockKind::PythonGil => Self::Gil,
            LockKind::ThreadEnd => Self::ThreadExit,
            kind => Self::Lock {
                kind,
                address: lock.parked_at.unwrap_or(lock.address),
            },
        }
    }

    /// A lock of Python's `threading`, which sleeps in a semaphore of the C library. Its own semaphores are none: they
    /// limit how many work at a time.
    pub const fn is_of_threading(&self) -> bool {
        matches!(self, Self::PythonLock(_) | Self::PythonRLock(_))
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock { kind, address } => write!(out, "{} {address:#x}", kind.label()),
            Self::PythonLock(object) => write!(out, "threading.Lock {object:#x}"),
            Self::PythonRLock(object) => write!(out, "threading.RLock {object:#x}"),
            Self::PythonSemaphore(object) => write!(out, "threading.Semaphore {object:#x}"),
            Self::Java(lock) => out.write_str(lock),
            Self::AsyncioLock(object) => write!(out, "asyncio.Lock {object:#x}"),
            Self::Gil => out.write_str("the Python GIL"),
            Self::ThreadExit => out.write_str("a thread exit"),
            Self::ChildExit => out.write_str("a child exit"),
            Self::Task => out.write_str("another task"),
            Self::Tasks => out.write_str("other tasks"),
            Self::Data(channel) => write!(out, "data on {channel}"),
            Self::Space(channel) => write!(out, "buffer space in {channel}"),
            Self::FileLock(path) => write!(out, "the lock on {path}"),
        }
    }
}

/// How a party stands to what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It holds it.
    Holds,
    /// It is one of those that may.
    MayHold,
    /// It reads under it.
    HoldsForReading,
    /// It has to exit or to finish.
    Exits,
    /// It could send or write.
    Writes,
    /// It could read.
    Reads,
}

/// What a node waits for, and who can end that: `glibc mutex 0x5581, held by writer-13`.
pub(super) fn waits_for(thing: &Thing, role: Role, parties: &str) -> String {
    match (role, thing) {
        (Role::Holds, _) => format!("{thing}, held by {parties}"),
        (Role::MayHold, _) => format!("{thing}, held by one of {parties}"),
        (Role::HoldsForReading, _) => format!("{thing}, read-locked by {parties}"),
        (Role::Exits, Thing::Task | Thing::Tasks) => format!("{parties} to finish"),
        (Role::Exits, _) => format!("the exit of {parties}"),
        (Role::Writes, Thing::Data(channel)) => format!("data from {parties} on {channel}"),
        (Role::Reads, _) => format!("{thing}, read by {parties}"),
        (Role::Writes, _) => format!("{thing} from {parties}"),
    }
}

/// The same for a headline, where the thing itself is of no use: `a lock held by writer-13`.
pub fn in_short(role: Role, party: &str) -> String {
    match role {
        Role::Holds => format!("a lock held by {party}"),
        Role::MayHold => format!("a lock that {party} may hold"),
        Role::HoldsForReading => format!("a lock read-locked by {party}"),
        Role::Exits => format!("the exit of {party}"),
        Role::Writes => format!("data from {party}"),
        Role::Reads => format!("buffer space that {party} reads from"),
    }
}

/// From what a party was concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clue {
    /// Its frame stands in a `with` of the lock, or between its `acquire` and its `release`.
    PythonFrame,
    /// Its frame stands in an `async with` of it.
    AsyncWithBlock,
    /// Its code frees the lock after the call that it is in.
    Code,
    /// It woke a waiter last.
    LastWaker,
    /// Addresses that are equal in two network namespaces.
    Addresses,
    /// The function of an event loop stands on its stack.
    LoopStack,
}

impl Clue {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::PythonFrame => {
                "holder known from its frame: in a `with` of the lock, or between acquire and release"
            }
            Self::AsyncWithBlock => "holder known from the `async with` block on its stack",
            Self::Code => "holder known from its code, which frees the lock after the current call",
            Self::LastWaker => "holder known as the last to pass the lock on",
            Self::Addresses => "peer matched by address across network namespaces",
            Self::LoopStack => "loop thread identified by its stack",
        }
    }
}
