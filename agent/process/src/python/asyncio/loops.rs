//! The event loops: those that a thread runs, and those that tasks belong to.

use super::Reader;
use super::find::LoopThread;
use crate::memory::Memory;
use remora_model::{EventLoop, Task};
use std::collections::{BTreeMap, BTreeSet};

/// `struct pthread.tid` of glibc on x86-64 (`nptl/descr.h`), where versions before 3.11 do not say
/// which thread of the kernel is theirs. Whoever uses it checks that there is such a thread.
#[cfg(target_arch = "x86_64")]
const PTHREAD_TID: Option<u64> = Some(720);
#[cfg(not(target_arch = "x86_64"))]
const PTHREAD_TID: Option<u64> = None;

/// What was seen of loops while tasks were read.
#[derive(Debug, Default)]
pub(super) struct Loops {
    threads: BTreeMap<u64, LoopThread>,
    current: BTreeMap<u64, u64>,
}

impl Loops {
    /// Adds the loops of an interpreter: their threads, their running tasks.
    pub(super) fn add(&mut self, threads: BTreeMap<u64, LoopThread>, current: BTreeMap<u64, u64>) {
        self.threads.extend(threads);
        self.current.extend(current);
    }

    /// All loops, by address.
    pub(super) fn finish<M: Memory>(
        self,
        reader: &Reader<'_, M>,
        tasks: &[Task],
    ) -> Vec<EventLoop> {
        let owners = tasks.iter().map(|task| task.loop_id);
        let ids: BTreeSet<u64> = self.threads.keys().copied().chain(owners).collect();
        let describe = |id| {
            let thread = self.threads.get(&id);
            let kind = reader.objects.type_of(id);
            EventLoop {
                id,
                class: kind.map_or_else(String::new, |kind| kind.name.clone()),
                ident: thread.map(|thread| thread.ident),
                tid: thread.and_then(|thread| kernel_id(reader, thread)),
                thread: None,
                current: self.current.get(&id).copied(),
                turns: false,
            }
        };
        ids.into_iter().map(describe).collect()
    }
}

/// The thread's id as the target's own PID namespace has it.
fn kernel_id<M: Memory>(reader: &Reader<'_, M>, thread: &LoopThread) -> Option<u32> {
    match (thread.native, PTHREAD_TID) {
        (Some(native), _) => u32::try_from(native).ok(),
        (None, Some(offset)) => reader
            .objects
            .memory()
            .u32(thread.ident.checked_add(offset)?),
        (None, None) => None,
    }
    .filter(|tid| *tid != 0)
}
