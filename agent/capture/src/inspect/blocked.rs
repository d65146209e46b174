//! Stacks of the threads that are asleep at the end: nobody comes back to take them.
//!
//! Where the kernel side may sleep (Linux 5.18), its task iterator reads them. Elsewhere their
//! registers come from the iterator, and their frames from the process's memory, read from outside
//! and walked by the same tables. That takes a while, and a thread may wake meanwhile: the
//! registers are looked at again afterwards, and a stack counts only where they have not moved.

mod rows;

use crate::store::spaces::{SpaceKey, Spaces};
use remora_common::{
    event::TaskRecord,
    unwind::{Machine, Registers},
};
use remora_model::{Outcome, RawStack};
use remora_probe::{BlockedThread, Probe, ProbeError};
use remora_process::deadline::{self, Step, Subject};
use remora_process::unwind;
use remora_process::{maps::Snapshot, memory::ProcessMemory};
pub(crate) use rows::Rows;
use std::collections::{BTreeMap, HashMap};

/// A thread's present wait: its serial, and when it began.
pub(crate) type WaitId = (u32, u64);

/// Stacks by wait, as far as they could be taken.
#[derive(Debug, Default)]
pub(crate) struct BlockedStacks {
    /// By (serial, beginning of the wait).
    pub by_wait: HashMap<WaitId, RawStack>,
    /// User registers of those threads.
    pub registers: HashMap<WaitId, Registers>,
    /// Processes whose memory could not be opened: kernel stacks only.
    pub memory_unreadable: u64,
}

/// Takes the stacks of `seen`, the threads that were asleep a moment ago, where they have been so
/// for `min_block_ns` at `end_ns`; walks those that the kernel side has not.
pub(crate) fn walk(
    probe: &mut Probe,
    spaces: &mut Spaces,
    machine: Machine,
    seen: Vec<BlockedThread>,
    (end_ns, min_block_ns): (u64, u64),
) -> Result<BlockedStacks, ProbeError> {
    let mut stacks = BlockedStacks::default();
    let mut unwalked: BTreeMap<u32, Vec<BlockedThread>> = BTreeMap::new();
    for BlockedThread { record, stack } in seen {
        // Woken, and not on its CPU yet: it has no place any more.
        let awake = record.task_state == 0;
        if awake || end_ns.saturating_sub(record.since_ns) < min_block_ns {
            continue;
        }
        let wait = (record.serial, record.since_ns);
        stacks.registers.insert(wait, registers(&record));
        if record.user_walked == 0 {
            let own = unwalked.entry(record.tgid).or_default();
            own.push(BlockedThread { record, stack });
        } else if record.at_rest != 0 {
            stacks.by_wait.insert(wait, stack);
        }
    }
    if unwalked.is_empty() {
        return Ok(stacks);
    }
    let mut rows = Rows::new();
    let mut walked = Vec::new();
    for (tgid, threads) in unwalked {
        let key = SpaceKey {
            tgid,
            generation: spaces.latest(tgid),
        };
        spaces.refresh(key, end_ns);
        match walk_process(machine, spaces.get(key).cloned(), threads, rows) {
            Some((found, again)) => {
                walked.extend(found);
                rows = again;
            }
            None => {
                stacks.memory_unreadable += 1;
                rows = Rows::new();
            }
        }
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

/// Stacks of the sleepers of one process, by its memory; `None`: that cannot be read, or does not answer. `rows` are
/// those of the processes before it, and come back with more.
fn walk_process(
    machine: Machine,
    space: Option<Snapshot>,
    threads: Vec<BlockedThread>,
    mut rows: Rows,
) -> Option<(Vec<(TaskRecord, RawStack)>, Rows)> {
    let tgid = threads.first()?.record.tgid;
    deadline::run(Step::SleepingStacks, Subject::Process(tgid), move || {
        let memory = ProcessMemory::open(tgid).ok()?;
        let walk = |thread: BlockedThread| {
            let (user, outcome) = user_stack(machine, space.as_ref(), &memory, &mut rows, &thread);
            let stack = RawStack {
                user,
                outcome: Some(outcome),
                ..thread.stack
            };
            (thread.record, stack)
        };
        let walked = threads.into_iter().map(walk).collect();
        Some((walked, rows))
    })
    .flatten()
}

/// The user stack of a sleeper, leaf first, and how the walk ended.
fn user_stack(
    machine: Machine,
    space: Option<&Snapshot>,
    memory: &ProcessMemory,
    rows: &mut Rows,
    thread: &BlockedThread,
) -> (Vec<u64>, Outcome) {
    let Some(space) = space else {
        return (vec![thread.record.ip], Outcome::StackUnreadable);
    };
    let row = |address| rows.find(space, address);
    let (frames, outcome) = unwind::walk(machine, registers(&thread.record), memory, row);
    let ended = matches!(outcome, Outcome::Complete | Outcome::FramePointers);
    if rows.take_missed() && ended {
        return (frames, Outcome::NoTable);
    }
    (frames, outcome)
}
