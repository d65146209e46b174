//! Blocks of glibc's malloc by size, at two moments.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Blocks of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SizeClass {
    /// Bytes of a block, its head of 8 bytes included; of blocks over 4 KiB the least of the class.
    pub size_bytes: u64,
    /// Blocks at the start.
    pub start: u64,
    /// Blocks at the end.
    pub end: u64,
}

impl SizeClass {
    /// What it grew by, in blocks.
    pub const fn growth(&self) -> i64 {
        self.end
            .cast_signed()
            .saturating_sub(self.start.cast_signed())
    }

    /// What it grew by, in bytes; of large blocks at least.
    pub const fn growth_bytes(&self) -> i64 {
        self.growth().saturating_mul(self.size_bytes.cast_signed())
    }
}

/// The blocks in use of a process, as the heap's own chain of them tells. Freed blocks that a thread keeps for
/// itself (tcache, fast bins) count as in use; blocks with a mapping of their own are not in any heap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct HeapSizes {
    /// The process.
    pub pid: u32,
    /// Time between the two looks.
    pub apart: Duration,
    /// Bytes in use at the start.
    pub start_bytes: u64,
    /// Bytes in use at the end.
    pub end_bytes: u64,
    /// A look that had to stop: its figures are those of a part.
    pub cut: bool,
    /// Main heaps whose row did not fit together each time that it was tried: they are not in the figures.
    pub torn: u64,
    /// How long the slower look took.
    pub took: Duration,
    /// By size, those that grew most first.
    pub classes: Vec<SizeClass>,
}
