//! Whom threads that sleep at the end of a capture wait for, where neither a lock nor a socket says so: the
//! other end of a pipe, a child, who holds a lock on a file.

use serde::{Deserialize, Serialize};

/// What a thread waits for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Awaited {
    /// Bytes in a pipe or FIFO, or room in one.
    Pipe {
        /// Its descriptor.
        fd: u32,
        /// Inode number; 0 for a FIFO, which has a name.
        inode: u64,
        /// `pipe:[12345]`, or the path of a FIFO.
        name: String,
        /// It reads; else it writes.
        reads: bool,
    },
    /// A socket, by a poll of this descriptor alone.
    Socket {
        /// Its descriptor.
        fd: u32,
    },
    /// The end of a child process.
    Child,
    /// A lock on a file.
    File {
        /// Its path.
        name: String,
    },
}

/// A thread that sleeps, and who can end that.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Dependency {
    /// The thread.
    pub tid: u32,
    /// What it waits for.
    pub on: Awaited,
    /// The call has a time limit.
    pub timed: bool,
    /// Processes that can end it, by id and name: those that hold the other end of the pipe, the children, the
    /// one that has locked the file. Empty for a socket: it has its own peer.
    pub parties: Vec<(u32, String)>,
    /// There may be more parties than these.
    pub cut: bool,
}

/// What a thread of a Python program waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum PythonAwaited {
    /// A `threading.Lock`.
    Lock,
    /// A `threading.RLock`.
    RLock,
    /// A `threading.Semaphore` or `BoundedSemaphore`.
    Semaphore,
    /// The end of a `threading.Thread`.
    Thread,
}

/// An executor of Python's `concurrent.futures`, as the interpreter's memory tells.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PythonPool {
    /// Its process.
    pub pid: u32,
    /// Address of the executor.
    pub object: u64,
    /// How many threads it may have.
    pub size: u64,
    /// Jobs that no thread has taken.
    pub queued: u64,
    /// Its threads.
    pub workers: Vec<u32>,
}

/// A pool of connections, or of other things, that threads of Python wait for a slot of, as the interpreter's memory
/// tells.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SlotPool {
    /// Its process.
    pub pid: u32,
    /// Address of the pool object.
    pub object: u64,
    /// Its type, with the library's name where it is known: `SQLAlchemy QueuePool`.
    pub name: String,
    /// It is a class of the program's own around a queue.
    pub by_hand: bool,
    /// How many slots there are at the most, where that is known.
    pub size: Option<u64>,
    /// How many are taken.
    pub taken: Option<u64>,
    /// Threads that wait for one.
    pub waiters: Vec<u32>,
    /// Threads whose frames have connections of the pool in their hands, and how many.
    pub holders: Vec<(u32, usize)>,
}

/// A thread that sleeps in a lock or join of Python's `threading`, as the interpreter's memory tells.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PythonWait {
    /// The thread.
    pub tid: u32,
    /// What it waits for.
    pub what: PythonAwaited,
    /// Address of the object.
    pub object: u64,
    /// Threads that hold the lock, or the one that would have to end. Of a `Lock` or
    /// `Semaphore`, which notes nobody: those that stand in the body of a `with` of it, or between its `acquire` and
    /// its `release`. Empty where none is known.
    pub holders: Vec<u32>,
}
