//! Who holds the global interpreter lock.

use super::at;
use crate::memory::Memory;
use crate::python::find::Python;
use remora_common::python::ABSENT;

/// What the lock of an interpreter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gil {
    /// There is none, or it could not be read.
    Unknown,
    /// Nobody holds it.
    Free,
    /// The thread of this state does.
    Held(u64),
}

impl Gil {
    /// Reads the lock of the interpreter at an address: its own, or the one that all share.
    pub(super) fn read(python: &Python, memory: &impl Memory, interpreter: u64) -> Self {
        let layout = &python.layout;
        if layout.free_threaded {
            return Self::Unknown;
        }
        let lock = match layout.interpreter.gil {
            ABSENT => Some(python.interpreter.shared_gil),
            offset => memory.u64(at(interpreter, offset)),
        };
        let read = |lock| {
            let locked = memory.u32(at(lock, layout.gil.locked))?;
            let holder = memory.u64(at(lock, layout.gil.last_holder))?;
            Some((locked, holder))
        };
        match lock.and_then(read) {
            Some((1, holder)) => Self::Held(holder),
            Some((0, _)) => Self::Free,
            // -1: not made yet.
            _ => Self::Unknown,
        }
    }

    /// Whether the thread of a state holds it.
    pub(super) fn is_held_by(self, state: u64) -> Option<bool> {
        match self {
            Self::Unknown => None,
            Self::Free => Some(false),
            Self::Held(holder) => Some(holder == state),
        }
    }
}
