//! Stacks of the threads that are asleep at the end: nobody comes back to take them.
//!
//! Where the kernel side may sleep (Linux 5.18), its task iterator reads them. Elsewhere their
//! registers come from the iterator, and their frames from the process's memory, read from outside
//! and walked by the same tables. That takes a while, and a thread may wake meanwhile: the
//! registers are looked at again afterwards, and a stack counts only where they have not moved.

mod rows;

use super::spaces::{SpaceKey, Spaces};
use crate::{
    model::{Outcome, RawStack},
    probe::{BlockedThread, Probe, ProbeError},
    target::memory::ProcessMemory,
    unwind,
};
use remora_common::{
    event::TaskRecord,
    unwind::{Machine, Registers},
};
pub use rows::Rows;
use std::collections::HashMap;

/// A thread's present wait: its serial, and when it began.
pub type WaitId = (u32, u64);

/// Stacks by wait, as far as they could be taken.
#[derive(Debug, Default)]
pub struct BlockedStacks {
    /// By (serial, beginning of the wait).
    pub by_wait: HashMap<WaitId, RawStack>,
    /// User registers of those threads.
    pub registers: HashMap<WaitId, Registers>,
    /// Processes whose memory could not be opened: kernel stacks only.
    pub memory_unreadable: u64,
}

/// Takes the stacks of `seen`, the threads that were asleep a moment ago, where they have been so
/// for `min_block_ns` at `end_ns`; walks those that the kernel side has not.
pub fn walk(
    probe: &mut Probe,
    spaces: &mut Spaces,
    machine: Machine,
    seen: Vec<BlockedThread>,
    (end_ns, min_block_ns): (u64, u64),
) -> Result<BlockedStacks, ProbeError> {
    let mut walker = Walker {
        machine,
        spaces,
        end_ns,
        rows: Rows::new(),
        memories: HashMap::new(),
    };
    let mut stacks = BlockedStacks::default();
    let mut walked = Vec::new();
    for BlockedThread { record, stack } in seen {
        // Woken, and not on its CPU yet: it has no place any more.
        let awake = record.task_state == 0;
        if awake || end_ns.saturating_sub(record.since_ns) < min_block_ns {
            continue;
        }
        stacks
            .registers
            .insert((record.serial, record.since_ns), registers(&record));
        if record.user_walked == 0 {
            let (user, outcome) = walker.walk(&record);
            let outcome = Some(outcome);
            let stack = RawStack {
                user,
                outcome,
                ..stack
            };
            walked.push((record, stack));
        } else if record.at_rest != 0 {
            let wait = (record.serial, record.since_ns);
            stacks.by_wait.insert(wait, stack);
        }
    }
    stacks.memory_unreadable = walker.memory_unreadable();
    if walked.is_empty() {
        return Ok(stacks);
    }
    let again = probe.blocked_threads()?;
    let places: HashMap<u32, _> = again
        .iter()
        .map(|thread| (thread.record.serial, place(&thread.record)))
        .collect();
    for (record, stack) in walked {
        if places.get(&record.serial) == Some(&place(&record)) {
            stacks
                .by_wait
                .insert((record.serial, record.since_ns), stack);
        }
    }
    Ok(stacks)
}

/// Where a sleeping thread stands, as far as its registers tell.
fn place(record: &TaskRecord) -> (u64, u64, u64) {
    (record.ip, record.sp, record.fp)
}

fn registers(record: &TaskRecord) -> Registers {
    Registers {
        ip: record.ip,
        sp: record.sp,
        fp: record.fp,
        lr: record.lr,
    }
}

/// Walks stacks in other processes' memory.
struct Walker<'a> {
    machine: Machine,
    spaces: &'a mut Spaces,
    end_ns: u64,
    rows: Rows,
    memories: HashMap<u32, Option<ProcessMemory>>,
}

impl Walker<'_> {
    /// The user stack of a sleeper, leaf first, and how the walk ended.
    fn walk(&mut self, record: &TaskRecord) -> (Vec<u64>, Outcome) {
        let memory = self
            .memories
            .entry(record.tgid)
            .or_insert_with(|| ProcessMemory::open(record.tgid).ok());
        let key = SpaceKey {
            tgid: record.tgid,
            generation: self.spaces.latest(record.tgid),
        };
        self.spaces.refresh(key, self.end_ns);
        let (Some(memory), Some(space)) = (memory, self.spaces.get(key)) else {
            return (vec![record.ip], Outcome::StackUnreadable);
        };
        let registers = registers(record);
        let rows = &mut self.rows;
        let row = |address| rows.find(space, address);
        let (frames, outcome) = unwind::walk(self.machine, registers, memory, row);
        let ended = matches!(outcome, Outcome::Complete | Outcome::FramePointers);
        if self.rows.take_missed() && ended {
            return (frames, Outcome::NoTable);
        }
        (frames, outcome)
    }

    fn memory_unreadable(&self) -> u64 {
        self.memories.values().filter(|m| m.is_none()).count() as u64
    }
}
