//! Along one row of chunks.

use super::class;
use super::heaps::{Heap, arena};
use crate::{Budget, memory::Memory, pages::Pages};
use std::collections::HashMap;

/// `PREV_INUSE`, and the bits of the size that are flags (`SIZE_BITS`).
const PREVIOUS_IN_USE: u64 = 1;
const FLAGS: u64 = 7;
/// `MIN_CHUNK_SIZE` and `MALLOC_ALIGNMENT` on 64-bit machines.
const SMALLEST: u64 = 32;
const ALIGNMENT: u64 = 16;
/// What a heap may have grown by since its mapping was read.
const GROWN: u64 = 256 << 20;
const PAGE: u64 = 4096;
/// How often a last chunk that grows is looked at again.
const TRIES: u32 = 100;
/// Bytes of the fence posts (`sysmalloc`).
const FENCE: u64 = 32;
/// Chunks between two looks at the clock.
const CLOCK: u64 = 1024;

/// What was walked.
#[derive(Debug, Default)]
pub(super) struct Row {
    pub(super) classes: HashMap<u64, u64>,
    pub(super) bytes: u64,
    /// Bytes of free chunks between those in use.
    pub(super) free: u64,
    /// Bytes of the last chunk, which a heap grows into.
    pub(super) top: u64,
    pub(super) chunks: u64,
    /// It came to the end where a heap ends.
    pub(super) ended: bool,
    pub(super) cut: bool,
}

impl Row {
    /// A chunk in use.
    fn count(&mut self, size: u64) {
        let bytes = size & !FLAGS;
        self.bytes += bytes;
        *self.classes.entry(class(bytes)).or_default() += 1;
    }
}

/// Walks a heap, `most` chunks of it.
pub(super) fn heap<M: Memory>(
    pages: &mut Pages<'_, M>,
    heap: &Heap,
    budget: Budget,
    most: u64,
) -> Row {
    if heap.main {
        let limit = heap.end.saturating_add(GROWN);
        return row(pages, (heap.start, limit), limit, budget, most);
    }
    let Some((begins, top)) = arena(pages.memory(), heap) else {
        return Row::default();
    };
    let end = top.unwrap_or(heap.end);
    let limit = heap.end.max(top.map_or(0, |top| top.saturating_add(FENCE)));
    let rows = begins
        .into_iter()
        .map(|begin| row(pages, (begin, limit), end, budget, most));
    rows.max_by_key(|row| (row.ended, row.chunks))
        .unwrap_or_default()
}

/// From the first chunk on, within `(begin, limit)`, until one begins at `end`.
fn row<M: Memory>(
    pages: &mut Pages<'_, M>,
    (begin, limit): (u64, u64),
    end: u64,
    budget: Budget,
    most: u64,
) -> Row {
    let mut row = Row::default();
    let Some(mut size) = head(pages, begin, limit) else {
        return row;
    };
    let (mut at, mut grown) = (begin, 0);
    loop {
        if row.chunks >= most || (row.chunks.is_multiple_of(CLOCK) && budget.is_spent()) {
            row.cut = true;
            return row;
        }
        let next = at + (size & !FLAGS);
        // The last chunk is what the heap has left; one that its arena has left behind ends with two fence posts.
        if end == limit && (next == end || limit - next == FENCE) {
            row.top = size & !FLAGS;
            row.ended = true;
            return row;
        }
        if next == end {
            // What is free in front of the top becomes a part of it: this one is in use.
            row.count(size);
            row.top = head(pages, end, limit).map_or(0, |top| top & !FLAGS);
            row.ended = true;
            return row;
        }
        let Some(behind) = head(pages, next, limit) else {
            // The last chunk of the main heap: what follows is not there. Or it grows at this moment.
            let now = pages.fresh(at + 8).map(u64::from_ne_bytes);
            if now != Some(size) && grown < TRIES {
                grown += 1;
                size = head(pages, at, limit).unwrap_or(size);
                continue;
            }
            let behind = pages.fresh::<8>(next + 8);
            row.ended = end == limit && next.is_multiple_of(PAGE) && behind.is_none();
            row.top = size & !FLAGS;
            return row;
        };
        match behind & PREVIOUS_IN_USE {
            0 => row.free = row.free.saturating_add(size & !FLAGS),
            _ => row.count(size),
        }
        row.chunks += 1;
        (at, size) = (next, behind);
    }
}

/// The size of the chunk at an address, with its flags; `None` when it cannot be one.
fn head<M: Memory>(pages: &mut Pages<'_, M>, at: u64, limit: u64) -> Option<u64> {
    let size = u64::from_ne_bytes(pages.bytes(at.checked_add(8)?)?);
    let bytes = size & !FLAGS;
    let fits = at.checked_add(bytes).is_some_and(|end| end <= limit);
    (bytes >= SMALLEST && bytes.is_multiple_of(ALIGNMENT) && fits).then_some(size)
}
