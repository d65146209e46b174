//! Java virtual machines (HotSpot) from outside: their threads, what these are called, and what those that sleep wait
//! for.
//!
//! `libjvm.so` exports, for debuggers, where the members of its structures lie (`gHotSpotVMStructs` and its sisters):
//! so no offset is built in, and nothing is asked of the machine. From there it goes by its own objects: a thread of
//! the machine knows its `java.lang.Thread`, that one its name, whether it is parked, and on which object
//! (`LockSupport`'s blocker), a lock of `java.util.concurrent` its owner, a monitor its own.
//!
//! Objects move while the collector runs, and threads go on: each answer is read until two readings agree. What does
//! not fit is refused by name ([`Refused`]), never guessed. Every count has a limit, and all reads of a look come out of
//! one allowance.

mod exports;
mod fields;
mod flags;
mod layout;
mod objects;
mod owners;
mod tables;
#[cfg(test)]
mod tests;
mod threads;

pub use exports::{Exports, exports};
pub use layout::Layout;
pub use tables::Tables;
pub use threads::{JavaThread, JavaWait, On, Owner, Threads, threads};

use crate::maps::Snapshot;
use crate::memory::Memory;

/// The least and the greatest feature version that is read.
const VERSIONS: std::ops::RangeInclusive<u32> = 17..=25;

/// A Java virtual machine in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Java {
    /// Its version, as `17.0.15+6`.
    pub version: String,
    /// Where its members lie.
    pub layout: Layout,
}

/// Why the machine of a process is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its library exports no tables.
    #[error("its libjvm has no tables of structures")]
    NoTables,
    /// The tables are there and make no sense.
    #[error("its {0} cannot be read")]
    Unreadable(&'static str),
    /// Something that is needed stands in none of them.
    #[error("its tables have no {0}")]
    Missing(&'static str),
    /// It may have everything in the right place and mean something else by it.
    #[error("Java {0} is not supported (17 to 25 are)")]
    Version(String),
    /// Its heap moves objects beside running threads.
    #[error("objects under {0} are not read")]
    Collector(&'static str),
    /// It has an option that changes what objects look like.
    #[error("objects are not read with {0}")]
    Option(&'static str),
    /// Its files or its memory were not there in time.
    #[error("its memory does not answer")]
    NoAnswer,
}

/// Whether a process has the library mapped.
pub fn is_mapped(snapshot: &Snapshot) -> bool {
    exports::library(snapshot).is_some()
}

/// The machine of the process that `snapshot` and `memory` show; `None`: it runs no Java.
///
/// # Errors
/// Says why it cannot be read.
pub fn find(snapshot: &Snapshot, memory: &impl Memory) -> Option<Result<Java, Refused>> {
    let exports = exports::of_process(snapshot)?;
    Some(exports.and_then(|exports| open(memory, &exports)))
}

/// The machine whose library exports these.
///
/// # Errors
/// Says why it cannot be read.
pub fn open(memory: &impl Memory, exports: &Exports) -> Result<Java, Refused> {
    let tables = Tables::read(memory, exports)?;
    let layout = Layout::of(memory, &tables)?;
    Ok(Java {
        version: layout.version.clone(),
        layout,
    })
}
