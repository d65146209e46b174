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

/// One heap of glibc's, at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct HeapUse {
    /// Its first address.
    pub start: u64,
    /// That of `brk`; else one of another arena.
    pub main: bool,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Bytes of free blocks between those.
    pub free_bytes: u64,
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
    /// Bytes of free blocks between those in use, at the start.
    #[serde(default)]
    pub start_free_bytes: u64,
    /// The same at the end.
    #[serde(default)]
    pub end_free_bytes: u64,
    /// Bytes at the ends of the heaps, into which they grow, at the end; not all of them need be resident.
    #[serde(default)]
    pub end_top_bytes: u64,
    /// The heaps at the end, those with most free bytes first.
    #[serde(default)]
    pub by_heap: Vec<HeapUse>,
    /// Heaps at the end: that of `brk`, and those of other arenas.
    #[serde(default)]
    pub heaps: u64,
    /// A look that had to stop: its figures are those of a part.
    pub cut: bool,
    /// Main heaps whose row did not fit together each time that it was tried: they are not in the figures.
    pub torn: u64,
    /// How long the slower look took.
    pub took: Duration,
    /// By size, those that grew most first.
    pub classes: Vec<SizeClass>,
}

impl HeapSizes {
    /// What the blocks in use grew by, in bytes.
    pub const fn used_growth_bytes(&self) -> i64 {
        self.end_bytes
            .cast_signed()
            .saturating_sub(self.start_bytes.cast_signed())
    }

    /// What the free blocks between them grew by, in bytes.
    pub const fn free_growth_bytes(&self) -> i64 {
        self.end_free_bytes
            .cast_signed()
            .saturating_sub(self.start_free_bytes.cast_signed())
    }
}
