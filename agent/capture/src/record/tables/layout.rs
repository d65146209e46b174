//! From a snapshot of mappings to what the kernel side searches.

use super::files::{FileTables, State};
use remora_common::unwind::{MAX_MAPPINGS, Mapping, NO_MAPPING, NO_TABLE};
use remora_process::maps::{self, Snapshot};

/// The mappings of an address space with their tables, by address, and how many were left out.
///
/// Code made at run time is listed as such: an address in it is not unknown. Where there are too many
/// mappings, that goes first.
pub(super) fn mappings(snapshot: &Snapshot, files: &FileTables) -> (Vec<Mapping>, u64) {
    // The page for vsyscalls lies in the kernel's half: nothing runs there for long.
    let below = snapshot.mappings().iter().filter(|m| m.start < NO_MAPPING);
    let (of_files, anonymous): (Vec<_>, Vec<_>) = below.partition(|m| m.module.is_some());
    // Where there are too many files, those that lie low go: the program's own libraries are mapped
    // after (below) the C library, the dynamic linker and the vDSO.
    let listed = of_files.into_iter().rev().chain(anonymous);
    let made_at_run_time = if snapshot.mappings().iter().any(is_hotspot) {
        0
    } else {
        NO_TABLE
    };
    let mut mappings: Vec<Mapping> = listed
        .clone()
        .take(MAX_MAPPINGS)
        .map(|m| one(m, files, made_at_run_time))
        .collect();
    let left_out = listed.count() - mappings.len();
    mappings.sort_unstable_by_key(|mapping| mapping.start);
    (mappings, left_out as u64)
}

/// The Java virtual machine, whose compiled code uses the frame pointer for other things: a walk along it
/// leaves frames out.
fn is_hotspot(mapping: &maps::Mapping) -> bool {
    let module = mapping.module.as_ref();
    module.is_some_and(|module| module.path.ends_with("libjvm.so"))
}

/// `made_at_run_time`: the depth of code without a file.
fn one(mapping: &maps::Mapping, files: &FileTables, made_at_run_time: u16) -> Mapping {
    let without = |depth| Mapping {
        start: mapping.start,
        end: mapping.end,
        bias: 0,
        root: 0,
        depth,
        used: 0,
    };
    let Some(module) = &mapping.module else {
        return without(made_at_run_time);
    };
    let Some(State::Ready(ready)) = files.state(&module.identity) else {
        return without(0);
    };
    let len = mapping.end.saturating_sub(mapping.start);
    match ready.table.bias(mapping.start, len, mapping.offset) {
        Some(bias) => Mapping {
            bias,
            root: ready.root,
            ..without(ready.depth)
        },
        None => without(NO_TABLE),
    }
}
