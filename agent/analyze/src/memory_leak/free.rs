//! Whether the growth of glibc's heaps is in use, or free blocks between blocks in use: fragmentation, which no
//! missing `free` explains.

use remora_model::display::text::{bytes, counted};
use remora_model::{HeapSizes, Memory};

/// The heaps explain a growth when free and used blocks have that share of it.
const EXPLAINS: f64 = 0.5;
/// Growth is fragmentation when free blocks have that share of the heaps' growth.
const FREE: f64 = 0.5;

/// The growth is free blocks, for the most part.
pub(super) fn is_fragmentation(heap: &HeapSizes, memory: &Memory) -> bool {
    let free = heap.free_growth_bytes().max(0) as f64;
    let used = heap.used_growth_bytes().max(0) as f64;
    let grown = memory.grown_bytes() as f64;
    is_whole(heap) && free + used >= grown * EXPLAINS && free > 0.0 && free >= (free + used) * FREE
}

fn is_whole(heap: &HeapSizes) -> bool {
    !heap.cut && heap.torn == 0
}

/// `+3.0 MiB in use, +37.0 MiB free blocks; now 40.0 MiB in use, 52.0 MiB free, 1.0 MiB at the top, in 9 heaps`.
pub(super) fn words(heap: &HeapSizes) -> Option<String> {
    let signed = |value: i64| match value < 0 {
        true => format!("-{}", bytes(value.unsigned_abs())),
        false => format!("+{}", bytes(value.unsigned_abs())),
    };
    // Recordings of before have no figures of what is free.
    (is_whole(heap) && heap.heaps > 0).then(|| {
        format!(
            "glibc: {} in use, {} free blocks; now {} in use, {} free, {} at the top, in {}",
            signed(heap.used_growth_bytes()),
            signed(heap.free_growth_bytes()),
            bytes(heap.end_bytes),
            bytes(heap.end_free_bytes),
            bytes(heap.end_top_bytes),
            counted(heap.heaps, "heap"),
        )
    })
}

/// What to look at.
pub(super) fn next(heap: &HeapSizes, place: Option<&str>) -> String {
    let at = place.map_or_else(String::new, |place| format!(" at {place}"));
    let arenas = match heap.heaps {
        0 | 1 => String::new(),
        several => format!(", M_ARENA_MAX (it has {several} heaps)"),
    };
    format!(
        "Look for blocks that live long between short-lived ones{at}. Try malloc_trim(0){arenas}, or pools by lifetime."
    )
}
