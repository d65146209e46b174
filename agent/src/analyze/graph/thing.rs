//! What is waited for, how those who can end it stand to it, and how that is known. Words are made here.

use crate::model::{Lock, LockKind};
use crate::words::text::clean;
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
        /// In which mapping that lies.
        place: String,
    },
    /// A `threading.Lock`, by its address.
    PythonLock(u64),
    /// A `threading.RLock`.
    PythonRLock(u64),
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
                address: lock.address,
                place: clean(&lock.place).into_owned(),
            },
        }
    }

    /// A lock of Python's `threading`, which sleeps in a semaphore.
    pub const fn is_of_threading(&self) -> bool {
        matches!(self, Self::PythonLock(_) | Self::PythonRLock(_))
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock {
                kind,
                address,
                place,
            } => write!(out, "{} {address:#x} ({place})", kind.label()),
            Self::PythonLock(object) => write!(out, "threading.Lock {object:#x}"),
            Self::PythonRLock(object) => write!(out, "threading.RLock {object:#x}"),
            Self::AsyncioLock(object) => write!(out, "asyncio.Lock {object:#x}"),
            Self::Gil => out.write_str("the Python GIL"),
            Self::ThreadExit => out.write_str("the end of a thread"),
            Self::ChildExit => out.write_str("the end of a child"),
            Self::Task => out.write_str("another task"),
            Self::Tasks => out.write_str("other tasks"),
            Self::Data(channel) => write!(out, "bytes of {channel}"),
            Self::Space(channel) => write!(out, "room in {channel}"),
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

impl Role {
    /// To be put behind a name: `holds it`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Holds => "holds it",
            Self::MayHold => "may hold it",
            Self::HoldsForReading => "read under it",
            Self::Exits => "would have to end",
            Self::Writes => "could send them",
            Self::Reads => "could read from it",
        }
    }
}

/// From what a party was concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clue {
    /// Its frame stands in a `with` of the lock.
    WithBlock,
    /// Its frame stands in an `async with` of it.
    AsyncWithBlock,
    /// Its code frees the lock after the call that it is in.
    Code,
    /// It woke a waiter last.
    LastWaker,
    /// Addresses that are equal in two network namespaces.
    Addresses,
}

impl Clue {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::WithBlock => "its frame stands in a `with` of it",
            Self::AsyncWithBlock => "its frame stands in an `async with` of it",
            Self::Code => "told by its code, which frees it after the call",
            Self::LastWaker => "it passed the lock on last",
            Self::Addresses => "told by addresses alone, across network namespaces",
        }
    }
}
