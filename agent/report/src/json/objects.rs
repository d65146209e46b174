//! The `python_objects` and `heap_sizes` of `report.json`: objects of Python interpreters by type and blocks of
//! glibc's malloc by size, at the start and the end.

use remora_model::Capture;
use serde::Serialize;

/// Types listed for a process.
const TYPES: usize = 50;

/// A process.
#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    /// Time between the two counts.
    apart_s: f64,
    /// Objects that the collector tracks.
    start_count: u64,
    end_count: u64,
    /// There were more than could be counted in the time: the figures are those of a part.
    cut: bool,
    /// Lists that changed while they were walked, and were left.
    torn: u64,
    /// Objects whose type could not be read.
    unknown: u64,
    /// Time that the slower count took.
    took_s: f64,
    /// Those that grew most first.
    types: Vec<Type<'a>>,
}

/// Objects of a type.
#[derive(Serialize)]
struct Type<'a> {
    name: &'a str,
    start_count: u64,
    end_count: u64,
    growth: i64,
    /// Bytes of one, without what it points to.
    size_bytes: u64,
}

/// The processes, by pid.
pub(super) fn objects(capture: &Capture) -> Vec<Process<'_>> {
    let all = capture.python_objects.iter();
    all.map(|objects| Process {
        pid: objects.pid,
        apart_s: objects.apart.as_secs_f64(),
        start_count: objects.start,
        end_count: objects.end,
        cut: objects.cut,
        torn: objects.torn,
        unknown: objects.unknown,
        took_s: objects.took.as_secs_f64(),
        types: objects
            .types
            .iter()
            .take(TYPES)
            .map(|kind| Type {
                name: &kind.name,
                start_count: kind.start,
                end_count: kind.end,
                growth: kind.growth(),
                size_bytes: kind.size_bytes,
            })
            .collect(),
    })
    .collect()
}

/// The blocks of a process.
#[derive(Serialize)]
pub(super) struct Heap {
    pid: u32,
    /// Time between the two looks.
    apart_s: f64,
    /// In use, in the heaps that were walked.
    start_bytes: u64,
    end_bytes: u64,
    /// Free blocks between those in use.
    start_free_bytes: u64,
    end_free_bytes: u64,
    /// At the ends of the heaps, into which they grow.
    end_top_bytes: u64,
    /// Heaps at the end.
    heaps: u64,
    /// Each of them, those with most free bytes first.
    by_heap: Vec<HeapUse>,
    /// There was more than could be walked in the time: the figures are those of a part.
    cut: bool,
    /// Main heaps whose row did not fit together: not in the figures.
    torn: u64,
    /// Time that the slower look took.
    took_s: f64,
    /// Those that grew most first.
    sizes: Vec<Size>,
}

/// One heap at the end.
#[derive(Serialize)]
struct HeapUse {
    start: String,
    main: bool,
    used_bytes: u64,
    free_bytes: u64,
}

/// Blocks of a size.
#[derive(Serialize)]
struct Size {
    /// Of a block with its head; of those over 4 KiB the least of its class.
    size_bytes: u64,
    start_count: u64,
    end_count: u64,
    growth: i64,
}

/// The heaps, by pid.
pub(super) fn heaps(capture: &Capture) -> Vec<Heap> {
    let all = capture.heaps.iter();
    all.map(|heap| Heap {
        pid: heap.pid,
        apart_s: heap.apart.as_secs_f64(),
        start_bytes: heap.start_bytes,
        end_bytes: heap.end_bytes,
        start_free_bytes: heap.start_free_bytes,
        end_free_bytes: heap.end_free_bytes,
        end_top_bytes: heap.end_top_bytes,
        heaps: heap.heaps,
        by_heap: heap
            .by_heap
            .iter()
            .map(|heap| HeapUse {
                start: format!("{:#x}", heap.start),
                main: heap.main,
                used_bytes: heap.used_bytes,
                free_bytes: heap.free_bytes,
            })
            .collect(),
        cut: heap.cut,
        torn: heap.torn,
        took_s: heap.took.as_secs_f64(),
        sizes: heap
            .classes
            .iter()
            .take(TYPES)
            .map(|class| Size {
                size_bytes: class.size_bytes,
                start_count: class.start,
                end_count: class.end,
                growth: class.growth(),
            })
            .collect(),
    })
    .collect()
}
