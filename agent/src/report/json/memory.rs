//! The `memory` of `report.json`: what is resident of each process, by kind and mapping, and the stacks
//! that it grew by.

use super::frames;
use crate::model::{Capture, Memory, MemorySource};
use serde::Serialize;

/// Stacks listed for a process.
const STACKS: usize = 20;

/// Processes that are listed with their mappings and stacks; of the rest the sums.
const DETAILED: usize = 64;

/// A process.
#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    comm: &'a str,
    /// `mappings`: exact; `counters`: the kernel's, which lag behind by some pages a CPU.
    source: &'static str,
    start: Resident,
    end: Resident,
    /// End less start, of what is in memory.
    growth_bytes: i64,
    /// Exact; `null` where page faults were not watched.
    faults: Option<u64>,
    samples: u64,
    /// In the mean; `null` without a sample.
    sampled_one_in: Option<f64>,
    huge_page_bytes: Option<u64>,
    mappings: Vec<Mapping<'a>>,
    /// Sampled, and scaled to the growth of the mappings.
    stacks: Vec<Stack>,
    unattributed_bytes: u64,
    returned_bytes: u64,
    released_bytes: Option<u64>,
}

/// What is resident, by kind.
#[derive(Serialize)]
struct Resident {
    anon_bytes: u64,
    file_bytes: u64,
    shmem_bytes: u64,
    swap_bytes: u64,
}

/// A mapping, or those of one name.
#[derive(Serialize)]
struct Mapping<'a> {
    name: &'a str,
    kind: &'static str,
    start_bytes: u64,
    end_bytes: u64,
    huge_page_bytes: u64,
}

/// Growth in one stack, over all threads.
#[derive(Serialize)]
struct Stack {
    bytes: u64,
    /// Samples.
    count: u64,
    /// Faults that they stand for.
    faults: u64,
    /// Leaf first.
    stack: Vec<String>,
}

/// The processes, those that grew most with all that is known of them.
pub(super) fn memory(capture: &Capture) -> Vec<Process<'_>> {
    let mut order: Vec<(usize, i64)> = capture
        .memory
        .iter()
        .map(Memory::growth_bytes)
        .enumerate()
        .collect();
    order.sort_by_key(|(at, growth)| (std::cmp::Reverse(*growth), *at));
    let detailed: std::collections::HashSet<usize> =
        order.iter().take(DETAILED).map(|(at, _)| *at).collect();
    let all = capture.memory.iter().enumerate();
    all.map(|(at, memory)| process(capture, memory, detailed.contains(&at)))
        .collect()
}

fn process<'a>(capture: &'a Capture, memory: &'a Memory, detailed: bool) -> Process<'a> {
    let owner = capture.processes.iter().find(|one| one.pid == memory.pid);
    let mappings = memory.mappings.iter().map(|mapping| Mapping {
        name: &mapping.name,
        kind: mapping.kind.name(),
        start_bytes: mapping.start_bytes,
        end_bytes: mapping.end_bytes,
        huge_page_bytes: mapping.huge_bytes,
    });
    Process {
        pid: memory.pid,
        comm: owner.map_or("", |owner| owner.comm.as_str()),
        source: match memory.source {
            MemorySource::Mappings => "mappings",
            MemorySource::Counters => "counters",
        },
        start: resident(memory.start),
        end: resident(memory.end),
        growth_bytes: memory.growth_bytes(),
        faults: memory.faults,
        samples: memory.samples,
        sampled_one_in: sampled_one_in(memory),
        huge_page_bytes: memory.huge_page_bytes,
        mappings: mappings.filter(|_| detailed).collect(),
        stacks: if detailed {
            stacks(capture, memory)
        } else {
            Vec::new()
        },
        unattributed_bytes: memory.unattributed_bytes,
        returned_bytes: memory.returned_bytes,
        released_bytes: memory.released_bytes,
    }
}

fn sampled_one_in(memory: &Memory) -> Option<f64> {
    let faults: u64 = memory.stacks.iter().map(|stack| stack.faults).sum();
    let one_in = faults as f64 / memory.samples as f64;
    (memory.samples > 0).then(|| (one_in * 10.0).round() / 10.0)
}

/// Addresses are not shown: stacks that differ in nothing else are one.
fn stacks(capture: &Capture, memory: &Memory) -> Vec<Stack> {
    let shown = super::super::top::growth(capture, memory, STACKS, |stack| {
        let touched = stack.map(|stack| stack.before_fault());
        frames(touched.as_ref())
    });
    let entry = |entry: super::super::top::Grown<Vec<String>>| Stack {
        bytes: entry.bytes,
        count: entry.samples,
        faults: entry.faults,
        stack: entry.shown,
    };
    shown.into_iter().map(entry).collect()
}

fn resident(kinds: crate::model::Resident) -> Resident {
    Resident {
        anon_bytes: kinds.anon_bytes,
        file_bytes: kinds.file_bytes,
        shmem_bytes: kinds.shmem_bytes,
        swap_bytes: kinds.swap_bytes,
    }
}
