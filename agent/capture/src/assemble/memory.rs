//! The memory of each process: its mappings at the start and the end laid over each other, and what grew
//! there shared out among the stacks that touched it.

mod overlay;
mod spread;

use super::{StackIndex, Threads, losses::add_all};
use crate::{
    inspect::memory::{MemoryRecord, ProcessMemory},
    store::aggregates::{AggregateStore, Faults},
};
use remora_model::{Growth, Losses, Mapping, MappingKind, Memory, MemorySource};
use remora_process::Region;
use spread::{Row, spread};
use std::collections::{BTreeMap, HashMap};

/// Mappings of a process that are listed; the rest is summed up by kind.
const MAX_LISTED: usize = 100;

/// Sampled faults by process, with the generation of their address space.
pub(crate) type FaultRows = BTreeMap<u32, Vec<(u32, Row)>>;

/// The memory of every process that was seen, by process id. `watched`: its page faults were counted.
pub(crate) fn memory(
    record: &MemoryRecord,
    mut rows: FaultRows,
    watched: bool,
    threads: &Threads,
    losses: &mut Losses,
) -> Vec<Memory> {
    add_all(losses, &record.losses);
    let page = rustix::param::page_size() as u64;
    let mut regions: HashMap<u32, HashMap<u64, Region>> = HashMap::new();
    for ((pid, number), region) in &record.regions {
        regions.entry(*pid).or_default().insert(*number, *region);
    }
    let known = record.processes.iter();
    known
        .filter_map(|(pid, process)| {
            let rows = rows.remove(pid).unwrap_or_default();
            let mine = rows
                .into_iter()
                .filter(|(generation, _)| *generation == process.generation);
            let mine: Vec<Row> = mine.map(|(_, row)| row).collect();
            let none = HashMap::new();
            let regions = regions.get(pid).unwrap_or(&none);
            let mut memory = one(*pid, process, &mine, regions, page)?;
            memory.faults = watched.then(|| faults(threads, *pid));
            Some(memory)
        })
        .collect()
}

/// The sampled faults.
pub(crate) fn rows(
    aggregates: &AggregateStore,
    threads: &Threads,
    stacks: &mut StackIndex,
) -> FaultRows {
    let mut rows = FaultRows::new();
    for Faults {
        place,
        region,
        samples,
        faults,
    } in aggregates.faults()
    {
        let Some((thread, slot)) = threads.find(place.serial) else {
            continue;
        };
        let row = Row {
            thread,
            stack: stacks.of(slot.tgid, place.generation, place.stack),
            region,
            samples,
            faults,
        };
        rows.entry(slot.tgid)
            .or_default()
            .push((place.generation, row));
    }
    rows
}

fn faults(threads: &Threads, pid: u32) -> u64 {
    let own = threads.slots.iter().filter(|slot| slot.tgid == pid);
    own.fold(0, |sum, slot| sum.saturating_add(slot.faults))
}

fn one(
    pid: u32,
    process: &ProcessMemory,
    rows: &[Row],
    regions: &HashMap<u64, Region>,
    page: u64,
) -> Option<Memory> {
    let (start, end, exact) = process.ends()?;
    let (mappings, source, huge) = match (&process.start, &process.end) {
        (Some(before), Some(after)) if exact => {
            let mappings = overlay::overlay(&before.mappings, &after.mappings);
            (mappings, MemorySource::Mappings, Some(after.huge_bytes()))
        }
        _ => (
            vec![everything(start.total_bytes(), end.total_bytes())],
            MemorySource::Counters,
            None,
        ),
    };
    let released = mappings
        .iter()
        .map(|one| one.start_bytes.saturating_sub(one.end_bytes));
    let released = released.fold(0, u64::saturating_add);
    let shares = spread(&mappings, rows, regions, page);
    Some(Memory {
        pid,
        source,
        start,
        end,
        faults: None,
        samples: rows.iter().map(|row| row.samples).sum(),
        huge_page_bytes: huge,
        stacks: by_stack(rows, &shares.bytes),
        unattributed_bytes: shares.unattributed,
        returned_bytes: shares.returned,
        released_bytes: exact.then_some(released),
        mappings: if exact { listed(mappings) } else { Vec::new() },
        limits: process.limits.clone(),
        age: process.age,
    })
}

/// A process of whose mappings nothing is known, as one of them.
fn everything(start_bytes: u64, end_bytes: u64) -> Mapping {
    Mapping {
        name: String::new(),
        kind: MappingKind::Anonymous,
        start: 0,
        end: u64::MAX,
        start_bytes,
        end_bytes,
        huge_bytes: 0,
    }
}

/// Growth by thread and stack, over all regions; the largest first.
fn by_stack(rows: &[Row], bytes: &[f64]) -> Vec<Growth> {
    let mut sums: BTreeMap<(usize, usize), (f64, u64, u64)> = BTreeMap::new();
    for (row, bytes) in rows.iter().zip(bytes) {
        let sum = sums.entry((row.thread, row.stack)).or_default();
        sum.0 += bytes;
        sum.1 = sum.1.saturating_add(row.samples);
        sum.2 = sum.2.saturating_add(row.faults);
    }
    let growth =
        |((thread, stack), (bytes, samples, faults)): ((usize, usize), (f64, u64, u64))| Growth {
            thread,
            stack,
            bytes: bytes.round() as u64,
            samples,
            faults,
        };
    let mut stacks: Vec<Growth> = sums.into_iter().map(growth).collect();
    stacks.sort_by_key(|one| (std::cmp::Reverse(one.bytes), one.thread, one.stack));
    stacks
}

/// The mappings of a file as one, and the largest changes; the rest is summed up by kind.
fn listed(mappings: Vec<Mapping>) -> Vec<Mapping> {
    let mut by_name: BTreeMap<(MappingKind, String), Mapping> = BTreeMap::new();
    for mapping in mappings {
        let key = (mapping.kind, mapping.name.clone());
        match by_name.get_mut(&key) {
            Some(sum) => join(sum, &mapping),
            None => drop(by_name.insert(key, mapping)),
        }
    }
    let mut all: Vec<Mapping> = by_name.into_values().collect();
    all.sort_by_key(|one| {
        let change = one.end_bytes.abs_diff(one.start_bytes);
        (std::cmp::Reverse((change, one.end_bytes)), one.start)
    });
    let rest = all.split_off(all.len().min(MAX_LISTED));
    for &kind in MappingKind::ALL {
        let mut others = rest.iter().filter(|one| one.kind == kind);
        if let Some(first) = others.next() {
            let mut sum = first.clone();
            others.for_each(|other| join(&mut sum, other));
            "(others)".clone_into(&mut sum.name);
            all.push(sum);
        }
    }
    all
}

fn join(sum: &mut Mapping, other: &Mapping) {
    sum.start = sum.start.min(other.start);
    sum.end = sum.end.max(other.end);
    sum.start_bytes = sum.start_bytes.saturating_add(other.start_bytes);
    sum.end_bytes = sum.end_bytes.saturating_add(other.end_bytes);
    sum.huge_bytes = sum.huge_bytes.saturating_add(other.huge_bytes);
}
