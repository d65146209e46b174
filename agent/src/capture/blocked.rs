//! Stacks of the threads that are asleep: nobody comes back to take them, so their registers come
//! from the task iterator and their frames from the process's memory, read from outside.

use crate::{
    model::RawStack,
    probe::{BlockedThread, Probe, ProbeError},
    stack::frame_pointer,
};
use std::{collections::HashMap, fs::File, os::unix::fs::FileExt};

/// A thread's present wait: its serial, and when it began.
pub type WaitId = (u32, u64);

/// Stacks by wait, as far as they could be taken.
#[derive(Debug, Default)]
pub struct BlockedStacks {
    /// By (serial, beginning of the wait): a thread that woke meanwhile does not match.
    pub by_wait: HashMap<WaitId, RawStack>,
    /// Processes whose memory could not be opened: kernel stacks only.
    pub memory_unreadable: u64,
}

/// Takes the stacks of all target threads that have been asleep for `min_block_ns` at `now_ns`.
pub fn take(
    probe: &mut Probe,
    now_ns: u64,
    min_block_ns: u64,
) -> Result<BlockedStacks, ProbeError> {
    let mut stacks = BlockedStacks::default();
    let mut memories = HashMap::new();
    for thread in probe.blocked_threads()? {
        let BlockedThread { record, kernel } = thread;
        // Woken, and not on its CPU yet: it has no place any more.
        let awake = record.task_state == 0;
        if awake || now_ns.saturating_sub(record.since_ns) < min_block_ns {
            continue;
        }
        let memory = memories
            .entry(record.tgid)
            .or_insert_with(|| File::open(format!("/proc/{}/mem", record.tgid)).ok());
        if memory.is_none() {
            stacks.memory_unreadable += 1;
        }
        let read = |address: u64| {
            let mut words = [0; 16];
            memory.as_ref()?.read_exact_at(&mut words, address).ok()?;
            Some(bytemuck::cast(words))
        };
        let user = frame_pointer::walk(record.ip, record.fp, read);
        stacks
            .by_wait
            .insert((record.serial, record.since_ns), RawStack { user, kernel });
    }
    Ok(stacks)
}
