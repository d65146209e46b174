//! Telling a thread that waits for work from one that is held up.

/// Whether a wait is a thread's normal idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Idleness {
    /// It holds the thread up.
    Busy,
    /// An event loop that waits for events: certain, by the system call.
    EventLoop,
    /// A worker that waits for work: inferred, from the form of the wait and its dominance.
    Worker,
}
