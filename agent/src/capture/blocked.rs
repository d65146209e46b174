//! Stacks of the threads that are asleep at the end: nobody comes back to take them, so their
//! registers come from the task iterator and their frames from the process's memory, read from
//! outside. That takes a while, and a thread may wake meanwhile: the registers are looked at again
//! afterwards, and a stack counts only where they have not moved.

use crate::{
    model::RawStack,
    probe::{BlockedThread, Probe, ProbeError},
    stack::frame_pointer,
};
use remora_common::event::TaskRecord;
use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

/// A thread's present wait: its serial, and when it began.
pub type WaitId = (u32, u64);

/// Stacks by wait, as far as they could be taken.
#[derive(Debug, Default)]
pub struct BlockedStacks {
    /// By (serial, beginning of the wait).
    pub by_wait: HashMap<WaitId, RawStack>,
    /// Processes whose memory could not be opened: kernel stacks only.
    pub memory_unreadable: u64,
}

/// Walks the stacks of `seen`, the threads that were asleep a moment ago, where they have been so
/// for `min_block_ns` at `end_ns`.
pub fn walk(
    probe: &mut Probe,
    seen: Vec<BlockedThread>,
    end_ns: u64,
    min_block_ns: u64,
) -> Result<BlockedStacks, ProbeError> {
    let mut stacks = BlockedStacks::default();
    let mut memories: HashMap<u32, Option<File>> = HashMap::new();
    let mut walked = Vec::new();
    for BlockedThread { record, kernel } in seen {
        // Woken, and not on its CPU yet: it has no place any more.
        let awake = record.task_state == 0;
        if awake || end_ns.saturating_sub(record.since_ns) < min_block_ns {
            continue;
        }
        let memory = memories.entry(record.tgid).or_insert_with(|| {
            let memory = File::open(format!("/proc/{}/mem", record.tgid)).ok();
            stacks.memory_unreadable += u64::from(memory.is_none());
            memory
        });
        let user = frame_pointer::walk(record.ip, record.fp, |at| frame_at(memory.as_ref(), at));
        walked.push((record, RawStack { user, kernel }));
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

/// The two words of a frame.
fn frame_at(memory: Option<&File>, address: u64) -> Option<[u64; 2]> {
    let mut words = [0_u8; 16];
    memory?.read_exact_at(&mut words, address).ok()?;
    Some(bytemuck::cast(words))
}
