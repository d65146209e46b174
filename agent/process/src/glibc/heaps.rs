//! Where heaps of glibc may be.

use crate::memory::Memory;

/// `HEAP_MAX_SIZE` on 64-bit machines: heaps of arenas are aligned to it.
const ARENA_ALIGNMENT: u64 = 64 << 20;
/// Mappings of a process that are looked at.
const MAX_HEAPS: usize = 256;
/// `heap_info.ar_ptr` leads to the arena's state, which lies in its first heap behind `heap_info`.
const MAX_HEAP_INFO: u64 = 64;
/// `malloc_state.top` (2.26 on): a mutex and flags, then ten fast bins.
const TOP: u64 = 96;

/// A range that may be a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heap {
    /// Its first address.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// That of the main arena.
    pub main: bool,
}

/// The heaps by the text of `/proc/PID/maps`.
pub fn heaps(maps: &str) -> Vec<Heap> {
    maps.lines().filter_map(heap).take(MAX_HEAPS).collect()
}

fn heap(line: &str) -> Option<Heap> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let parse = |word| u64::from_str_radix(word, 16).ok();
    let (start, end) = (parse(start)?, parse(end)?);
    let writable = fields.next()?.starts_with("rw-p");
    let name = fields.nth(3);
    let main = name == Some("[heap]");
    let arena = name.is_none() && start.is_multiple_of(ARENA_ALIGNMENT);
    (writable && start < end && (main || arena)).then_some(Heap { start, end, main })
}

/// Where the rows of an arena's heap may begin, and where its last chunk begins, if that is known.
pub(super) fn arena<M: Memory>(memory: &M, heap: &Heap) -> Option<(Vec<u64>, Option<u64>)> {
    let state = memory.u64(heap.start)?;
    // The top of the arena lies in its newest heap, which may have grown since its mapping was read.
    let top = memory.u64(state.checked_add(TOP)?)?;
    let room = heap.start..heap.start.checked_add(ARENA_ALIGNMENT)?;
    let top = room.contains(&top).then_some(top);
    let own = state > heap.start && state - heap.start <= MAX_HEAP_INFO;
    if !own {
        // A later heap of its arena: the first chunk is right behind `heap_info` (2 or 3 pairs of words, 2.35).
        let begins = [32, 48, 64].map(|behind| heap.start + behind);
        return state.is_multiple_of(16).then(|| (begins.to_vec(), top));
    }
    // The state is some 2,200 bytes long: 254 bins, and what each version has added.
    let begins = (state + 2000..state + 2600).filter(|at| at.is_multiple_of(16));
    Some((begins.collect(), top))
}
