//! What a Python interpreter has in its collector's lists, by type, at two moments.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Objects of one type.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct TypeCount {
    /// Name, with its module where it has one.
    pub name: String,
    /// Objects at the start.
    pub start: u64,
    /// Objects at the end.
    pub end: u64,
    /// Bytes of one, without what it points to and without items of variable size.
    pub size_bytes: u64,
}

impl TypeCount {
    /// What it grew by.
    pub const fn growth(&self) -> i64 {
        self.end
            .cast_signed()
            .saturating_sub(self.start.cast_signed())
    }
}

/// The objects of a process that its cyclic garbage collector tracks: containers and instances. Strings,
/// bytes, numbers are in no list, nor are tuples and dicts that hold only such.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct PythonObjects {
    /// The process.
    pub pid: u32,
    /// Time between the two looks.
    pub apart: Duration,
    /// Objects at the start.
    pub start: u64,
    /// Objects at the end.
    pub end: u64,
    /// A look that had to stop: too many objects for its time. Counts are those of a part.
    pub cut: bool,
    /// Lists that changed under the look more often than it was tried: their rest is not counted.
    pub torn: u64,
    /// Objects whose type could not be read.
    pub unknown: u64,
    /// How long the slower look took.
    pub took: Duration,
    /// By type, those that grew most first.
    pub types: Vec<TypeCount>,
}
