//! What still goes on at the end is closed: from here on nothing changes any more.

use super::threads::Threads;
use crate::{
    inspect::blocked::BlockedStacks,
    record::raw::RunFacts,
    store::{
        aggregates::{AggregateStore, Place},
        threads,
    },
};
use remora_common::thread::ThreadSlot;
use remora_model::{AgentLoss, Losses, Reason};
use remora_probe::{Times, WaitForm};

/// A long wait that lasts beyond the end.
pub(crate) struct OpenWait {
    pub(crate) place: Place,
    pub(crate) wait: WaitForm,
    pub(crate) lasted_ns: u64,
}

impl OpenWait {
    /// It, as one wait.
    pub(crate) const fn times(&self) -> Times {
        Times {
            count: 1,
            total_ns: self.lasted_ns,
            max_ns: self.lasted_ns,
        }
    }
}

/// All threads, and the long waits that last.
pub(crate) struct Closed {
    pub(crate) threads: Threads,
    pub(crate) open: Vec<OpenWait>,
}

/// Closes the threads that are there, `blocked` with these stacks, and puts those that ended beside them.
pub(crate) fn close(
    run: &RunFacts,
    mut living: Vec<ThreadSlot>,
    mut blocked: BlockedStacks,
    aggregates: &mut AggregateStore,
    losses: &mut Losses,
) -> Closed {
    losses.add(AgentLoss::MemoryUnreadable, blocked.memory_unreadable);
    let min_block_ns = u64::try_from(run.min_block.as_nanos()).unwrap_or(u64::MAX);
    let mut open = Vec::new();
    for slot in &mut living {
        let Some(lasted_ns) = threads::close(slot, run.end_ns, min_block_ns) else {
            continue;
        };
        let stack = blocked.by_wait.remove(&(slot.serial, slot.since_ns));
        open.push(OpenWait {
            place: Place {
                serial: slot.serial,
                generation: slot.generation,
                stack: stack.and_then(|stack| aggregates.intern(stack)),
            },
            wait: WaitForm {
                reason: Reason::from_u8(slot.reason as u8),
                syscall: slot.syscall as u16,
                detail: slot.wait_form(),
                futex: slot.wait_object(),
            },
            lasted_ns,
        });
    }
    living.extend(&aggregates.ended);
    Closed {
        threads: Threads::new(living),
        open,
    }
}
