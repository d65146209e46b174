//! glibc's malloc from outside: which sizes of blocks a process has.
//!
//! A heap of glibc is a row of *chunks* without gaps, each with its size in front, so the row can be walked
//! without knowing anything of the allocator's state: `malloc/malloc.c`, "Vital statistics". A chunk is in use when
//! the one behind it says so (`PREV_INUSE`). What a thread keeps for itself in its cache (tcache) or fast bins
//! says that it is in use.
//!
//! There are the main heap (`[heap]`, by `brk`) and those of arenas (aligned to 64 MiB, `malloc/arena.c`). Whether
//! a row is one shows at its end: nothing is mapped behind the main heap's last chunk, an arena's is the one that its
//! state calls `top`. Where it is another allocator's, or moves too fast, nothing fits and nothing is said.
//!
//! Only heads of chunks are read, by the page. What is swapped out would be swapped in by that, so a process that
//! has anything in swap is left alone by the caller.

mod heaps;
#[cfg(test)]
mod tests;
mod walk;

pub use heaps::{Heap, heaps};

use crate::{Budget, memory::Memory, pages::Pages};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Chunks of one process that are walked.
const MAX_CHUNKS: u64 = 10_000_000;

/// How often a heap is walked that does not fit together.
const TRIES: u32 = 3;

/// Up to this size each size is a class.
const EXACT: u64 = 4096;

/// Beyond it a class is a sixteenth of a power of two.
const STEPS_BITS: u32 = 4;

/// The blocks of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    /// Blocks in use by size class.
    pub classes: HashMap<u64, u64>,
    /// Bytes in use.
    pub bytes: u64,
    /// Bytes of free blocks between those in use.
    pub free_bytes: u64,
    /// Bytes at the ends of the heaps, into which they grow; not all of them need be resident.
    pub top_bytes: u64,
    /// Bytes in use and free of each heap that was walked: the main heap, and those of other arenas.
    pub by_heap: Vec<(Heap, u64, u64)>,
    /// Heaps that were walked to their end.
    pub heaps: u64,
    /// The main heap's row did not fit together: 1.
    pub torn: u64,
    /// There was more than could be walked.
    pub cut: bool,
    /// How long it took.
    pub took: Duration,
}

/// Walks the heaps of a process, for so long on a CPU at the most. `None` when none of them is one of glibc's.
pub fn blocks<M: Memory>(memory: &M, heaps: &[Heap], time: Duration) -> Option<Blocks> {
    let began = Instant::now();
    let budget = Budget::of(time);
    let mut sum = Blocks::default();
    let mut chunks = 0;
    for heap in heaps {
        let mut best = walk::Row::default();
        for _ in 0..TRIES {
            let row = walk::heap(&mut Pages::new(memory), heap, budget, MAX_CHUNKS - chunks);
            if row.chunks >= best.chunks {
                best = row;
            }
            if best.ended || best.cut || best.chunks == 0 {
                break;
            }
        }
        chunks += best.chunks;
        sum.heaps += u64::from(best.ended);
        if !(best.ended || best.cut) {
            // Of others' mappings nothing is said.
            sum.torn += u64::from(heap.main && best.chunks > 0);
            continue;
        }
        sum.cut |= best.cut;
        sum.bytes = sum.bytes.saturating_add(best.bytes);
        sum.free_bytes = sum.free_bytes.saturating_add(best.free);
        sum.top_bytes = sum.top_bytes.saturating_add(best.top);
        sum.by_heap.push((*heap, best.bytes, best.free));
        for (class, count) in best.classes {
            *sum.classes.entry(class).or_default() += count;
        }
    }
    sum.took = began.elapsed();
    // A row that never came to its end may be anything.
    (sum.heaps > 0).then_some(sum)
}

/// The class of a size: itself, or the least of its class.
fn class(size: u64) -> u64 {
    if size <= EXACT {
        return size;
    }
    let step = size.ilog2().saturating_sub(STEPS_BITS);
    size >> step << step
}
