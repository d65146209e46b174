//! The memory of the targets as `/proc` has it: counters at each beat, every mapping at the start and at
//! the end.
//!
//! | module | what |
//! | --- | --- |
//! | `counters` | resident memory by kind, faults, descriptors: cheap |
//! | `limits` | what ends the growth of a process, read at the end |
//! | `smaps` | every mapping: exact, and not cheap |
//! | `reader` | reads mappings in a thread of its own, so that the recording goes on meanwhile |
//!
//! What is left of the regions that were faulted in, [`Pagemap`] tells.

mod counters;
pub(crate) mod limits;
mod reader;
mod smaps;

pub(crate) use smaps::{Smaps, Vma};

use crate::store::aggregates::AggregateStore;
use reader::{Phase, Reader};
use remora_common::thread::ThreadSlot;
use remora_model::{AgentLoss, MemoryLimit, MemoryReading, Resident};
use remora_process::deadline::{self, Step, Subject};
use remora_process::{PageFlags, Pagemap, Region};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// Processes that are known at the most.
const MAX_PROCESSES: usize = 4096;

/// Processes whose counters are read at one beat, 40 to 70 µs each.
const MAX_A_BEAT: usize = 128;

/// Processes whose mappings are read.
const MAX_MAPPED: usize = 64;

/// Regions of 2 MiB that are looked at in the end, 3 µs each.
const MAX_REGIONS: usize = 65_536;

/// A region of a process: process id and number.
pub(crate) type RegionId = (u32, u64);

/// What is known of the memory of one process.
#[derive(Debug, Default)]
pub(crate) struct ProcessMemory {
    /// Its start in clock ticks since boot: which process it is.
    start_ticks: u64,
    /// Execs so far: what is known is of its present address space.
    pub generation: u32,
    /// Counters at the start.
    pub first: Option<MemoryReading>,
    /// Counters as they were read last.
    pub last: Option<MemoryReading>,
    /// Mappings at the start.
    pub start: Option<Smaps>,
    /// Mappings at the end.
    pub end: Option<Smaps>,
    /// What ends its growth, as it was at the end.
    pub limits: Vec<MemoryLimit>,
    /// How old it was at the end, or would be.
    pub age: Option<Duration>,
    /// It has ended.
    gone: bool,
}

/// What a capture leaves behind.
#[derive(Debug, Default)]
pub(crate) struct MemoryRecord {
    /// By process id.
    pub processes: BTreeMap<u32, ProcessMemory>,
    /// What is left of the regions that were faulted in.
    pub regions: HashMap<RegionId, Region>,
    /// What was not read, by name in `report.json`.
    pub losses: Vec<(AgentLoss, u64)>,
}

/// Watches the memory of the targets.
pub(crate) struct MemoryWatch {
    record: MemoryRecord,
    reader: Reader,
    /// Where the next beat begins.
    cursor: u32,
    mapped: usize,
    dropped: u64,
    skipped: u64,
    unread: u64,
}

impl MemoryWatch {
    /// Nobody is watched yet.
    ///
    /// # Errors
    /// When there can be no thread for it.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            record: MemoryRecord::default(),
            reader: Reader::start()?,
            cursor: 0,
            mapped: 0,
            dropped: 0,
            skipped: 0,
            unread: 0,
        })
    }

    /// A process is watched from now on: at the start of the capture, or at its fork, with the memory
    /// that it has from its parent.
    pub(crate) fn began(&mut self, pid: u32) {
        if self.record.processes.len() >= MAX_PROCESSES && !self.record.processes.contains_key(&pid)
        {
            self.dropped += 1;
            return;
        }
        let Some((reading, start_ticks)) = counters::read(pid) else {
            // A child that has ended already: nobody's loss.
            return;
        };
        let known = ProcessMemory {
            start_ticks,
            first: Some(reading),
            last: Some(reading),
            ..ProcessMemory::default()
        };
        self.record.processes.insert(pid, known);
        if self.mapped < MAX_MAPPED {
            self.mapped += 1;
            self.unread += u64::from(!self.reader.ask(pid, Phase::Start(start_ticks, 0)));
        }
    }

    /// A process has a new address space: all that is in it came during the capture.
    pub(crate) fn replaced(&mut self, pid: u32, generation: u32) {
        if let Some(known) = self.record.processes.get_mut(&pid) {
            *known = ProcessMemory {
                start_ticks: known.start_ticks,
                generation,
                first: Some(MemoryReading::default()),
                start: Some(Smaps::default()),
                ..ProcessMemory::default()
            };
            self.read(pid);
        }
    }

    /// Once a second: the counters of each process, or of as many as a beat may cost, in turn.
    pub(crate) fn beat(&mut self) {
        self.take_mappings();
        let alive: Vec<u32> = {
            let all = self.record.processes.iter();
            all.filter(|(_, known)| !known.gone)
                .map(|(pid, _)| *pid)
                .collect()
        };
        let behind = alive.partition_point(|pid| *pid < self.cursor);
        let order = alive
            .iter()
            .cycle()
            .skip(behind)
            .take(alive.len().min(MAX_A_BEAT));
        self.skipped += alive.len().saturating_sub(MAX_A_BEAT) as u64;
        for pid in order {
            self.cursor = pid + 1;
            self.read(*pid);
        }
    }

    /// The latest reading of each process that is there, by pid.
    pub(crate) fn latest(&self) -> Vec<(u32, MemoryReading)> {
        let living = self
            .record
            .processes
            .iter()
            .filter(|(_, known)| !known.gone);
        living
            .filter_map(|(pid, known)| Some((*pid, known.last?)))
            .collect()
    }

    fn read(&mut self, pid: u32) -> Option<MemoryReading> {
        let known = self.record.processes.get_mut(&pid)?;
        match counters::read(pid) {
            Some((reading, start_ticks)) if start_ticks == known.start_ticks => {
                known.last = Some(reading);
                Some(reading)
            }
            _ => {
                known.gone = true;
                None
            }
        }
    }

    /// The capture is over: the mappings are read while the rest of it is taken down.
    pub(crate) fn ending(&mut self) {
        self.beat();
        let wanted = self
            .record
            .processes
            .iter()
            .filter(|(_, known)| !known.gone);
        let mut wanted: Vec<_> = wanted
            .map(|(pid, known)| {
                let size = known.last.map_or(0, |last| last.resident().total_bytes());
                (
                    std::cmp::Reverse(size),
                    *pid,
                    known.start_ticks,
                    known.generation,
                )
            })
            .collect();
        wanted.sort_unstable();
        wanted.truncate(MAX_MAPPED);
        let asked = wanted.iter().map(|(_, pid, ..)| *pid).collect();
        for (_, pid, start_ticks, generation) in wanted {
            let asked = self.reader.ask(pid, Phase::End(start_ticks, generation));
            self.unread += u64::from(!asked);
        }
        self.read_limits(asked);
        for known in self.record.processes.values_mut() {
            known.age = limits::age(known.start_ticks);
        }
    }

    /// What ends their growth. The kernel says in which groups they are when nobody else changes groups.
    fn read_limits(&mut self, pids: Vec<u32>) {
        let read = deadline::run(Step::Constraints, Subject::Host, move || {
            let read = pids.into_iter().map(|pid| (pid, limits::read(pid)));
            read.collect::<Vec<_>>()
        });
        for (pid, limits) in read.unwrap_or_default() {
            if let Some(known) = self.record.processes.get_mut(&pid) {
                known.limits = limits;
            }
        }
    }

    fn take_mappings(&mut self) {
        while let Some(answer) = self.reader.answered() {
            self.unread += u64::from(!store(&mut self.record.processes, answer));
        }
    }

    /// What was seen. `threads` are those of the targets, to tell whose faults were sampled.
    pub(crate) fn finish<'a>(
        mut self,
        aggregates: &AggregateStore,
        threads: impl Iterator<Item = &'a ThreadSlot>,
    ) -> MemoryRecord {
        let (answers, missing) = self.reader.finish();
        self.unread += missing;
        for answer in answers {
            self.unread += u64::from(!store(&mut self.record.processes, answer));
        }
        let wanted = regions(aggregates, threads, &self.record.processes);
        let dropped = wanted.len().saturating_sub(MAX_REGIONS) as u64;
        let (regions, missing) = inspect(wanted.into_iter().take(MAX_REGIONS));
        self.record.regions = regions;
        self.record.losses = vec![
            (AgentLoss::MemoryProcessesDropped, self.dropped),
            (AgentLoss::MemoryReadingsSkipped, self.skipped),
            (AgentLoss::MemoryMappingsUnread, self.unread),
            (AgentLoss::MemoryRegionsDropped, dropped + missing),
        ];
        self.record
    }
}

/// Takes what was read in; whether it was whole.
fn store(processes: &mut BTreeMap<u32, ProcessMemory>, answer: reader::Answer) -> bool {
    let Some(known) = processes.get_mut(&answer.pid) else {
        return true;
    };
    let (Phase::Start(start_ticks, generation) | Phase::End(start_ticks, generation)) =
        answer.phase;
    if (start_ticks, generation) != (known.start_ticks, known.generation) {
        return true;
    }
    let Some(smaps) = answer.smaps else {
        // It has ended meanwhile: its counters are what is known.
        return true;
    };
    let whole = !smaps.truncated;
    match answer.phase {
        Phase::Start(..) => known.start = Some(smaps),
        Phase::End(..) => known.end = Some(smaps),
    }
    whole
}

/// The regions of living address spaces that samples name.
fn regions<'a>(
    aggregates: &AggregateStore,
    threads: impl Iterator<Item = &'a ThreadSlot>,
    processes: &BTreeMap<u32, ProcessMemory>,
) -> BTreeSet<RegionId> {
    let owners: HashMap<u32, u32> = threads.map(|slot| (slot.serial, slot.tgid)).collect();
    let known = aggregates.faults().filter(|faults| faults.region != 0);
    let here = known.filter_map(|faults| {
        let pid = *owners.get(&faults.place.serial)?;
        let process = processes.get(&pid)?;
        let there = process.end.is_some() && process.generation == faults.place.generation;
        there.then_some((pid, faults.region))
    });
    here.collect()
}

/// What is left of these regions, and how many were not there in time.
fn inspect(wanted: impl Iterator<Item = RegionId>) -> (HashMap<RegionId, Region>, u64) {
    let mut by_process: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
    for (pid, number) in wanted {
        by_process.entry(pid).or_default().push(number);
    }
    let (mut regions, mut missing) = (HashMap::new(), 0);
    for (pid, numbers) in by_process {
        let count = numbers.len() as u64;
        let read = deadline::run(Step::Pages, Subject::Process(pid), move || {
            let (pagemap, flags) = (Pagemap::open(pid).ok()?, PageFlags::open());
            let read = |number| Some(((pid, number), pagemap.region(number, &flags)?));
            Some(numbers.into_iter().filter_map(read).collect::<Vec<_>>())
        });
        match read {
            Some(found) => regions.extend(found.unwrap_or_default()),
            None => missing += count,
        }
    }
    (regions, missing)
}

impl ProcessMemory {
    /// What was resident at the start, what is at the end; exact where all mappings were read at both.
    pub(crate) fn ends(&self) -> Option<(Resident, Resident, bool)> {
        if let (Some(start), Some(end)) = (&self.start, &self.end)
            && !start.truncated
            && !end.truncated
        {
            return Some((start.resident(), end.resident(), true));
        }
        Some((self.first?.resident(), self.last?.resident(), false))
    }
}

#[cfg(test)]
mod tests;
