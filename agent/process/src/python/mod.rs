//! CPython seen from outside: where an interpreter lies in a process, how its structures are laid
//! out, and what its threads run.
//!
//! The kernel side walks Python frames by the record that [`find()`] makes (it knows no version);
//! all else is read here from the memory of the running process, without stopping it: what is
//! read may change meanwhile, may be torn, and may be hostile. So every read is bounded, every
//! list has a limit, and what does not fit together is said to be torn rather than shown.

pub mod asyncio;
pub mod census;
pub mod code;
pub mod find;
pub mod layout;
mod merge;
pub mod object;
pub mod threads;
mod version;

#[cfg(test)]
pub(crate) mod installed;
#[cfg(test)]
pub(crate) mod specimen;
#[cfg(test)]
mod tests;

pub use code::Resolver;
pub use find::{Finder, NotFound, Python, find};
pub use layout::Layout;
pub use merge::{Merged, MergedFrame, merge};
pub use threads::{Lock, PythonThread, Threads, lock, threads};
pub use version::Version;
