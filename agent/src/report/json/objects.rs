//! The `python_objects` of `report.json`: objects of Python interpreters by type, at the start and the end.

use crate::model::Capture;
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
