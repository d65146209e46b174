//! Executors of `concurrent.futures` whose threads work: how many there may be, which they are, and how many jobs
//! wait for one. asyncio's default executor is one of these.
//!
//! A worker's outer frame is `_worker` of `concurrent/futures/thread.py`, from 3.8 to 3.13 with a weak reference to its
//! executor and the queue as first arguments. The queue is a `queue.SimpleQueue` (`simplequeueobject` of
//! `Modules/_queuemodule.c`): a list with a position up to 3.12, then a ring that counts.

use super::frames::Place;
use super::{ALLOWANCE, MAX_WAITERS, Reader};
use crate::memory::Memory;
use crate::python::find::Python;
use crate::python::object::Objects;

/// Frames of a thread, from its start on, among which that of the worker is.
const OUTER_FRAMES: usize = 6;
/// `lst` and `lst_pos` up to 3.12; `buf.num_items` of 3.13.
const QUEUE_LIST: u64 = 32;
const QUEUE_ITEMS: u64 = 56;
/// More jobs or threads than this are none.
const MAX_COUNT: u64 = 1 << 32;

/// An executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonPool {
    /// Address of the executor.
    pub object: u64,
    /// How many threads it may have.
    pub size: u64,
    /// Jobs that no thread has taken.
    pub queued: u64,
    /// States of its threads, busy or not.
    pub workers: Vec<u64>,
}

/// Reads the executors of these threads, given by their states.
pub fn pools(python: &Python, minor: u8, memory: &impl Memory, asleep: &[u64]) -> Vec<PythonPool> {
    let known = Objects::new(memory, &python.layout, minor, ALLOWANCE);
    let Some(objects) = known else {
        return Vec::new();
    };
    let mut reader = Reader::new(&python.layout, objects, minor);
    let states = reader.states(python);
    let mut pools: Vec<PythonPool> = Vec::new();
    let own = asleep.iter().filter(|state| states.contains(state));
    for state in own.take(MAX_WAITERS) {
        let Some((executor, queue)) = reader.executor(*state) else {
            continue;
        };
        match pools.iter_mut().find(|pool| pool.object == executor) {
            Some(pool) => pool.workers.push(*state),
            None => pools.extend(reader.pool(executor, queue, *state)),
        }
    }
    pools
}

impl<M: Memory> Reader<'_, M> {
    /// The executor that a thread works for, and its queue.
    fn executor(&mut self, state: u64) -> Option<(u64, u64)> {
        let frames = self.frames(state);
        let outer = frames.iter().rev().take(OUTER_FRAMES);
        let outer: Vec<Place> = outer.copied().collect();
        let mut outer = outer.into_iter();
        let worker = outer.find(|place| {
            let code = self.code(place);
            code.is_some_and(|code| {
                &*code.name == "_worker" && code.filename.ends_with("concurrent/futures/thread.py")
            })
        })?;
        let [reference, queue] = self.slots(&worker, 0, 2)[..] else {
            return None;
        };
        Some((self.objects.referent(reference)?, queue))
    }

    fn pool(&self, executor: u64, queue: u64, first: u64) -> Option<PythonPool> {
        let size = self.objects.attribute(executor, "_max_workers")?;
        let size = self.objects.unsigned(size)?;
        let queued = self.queued(queue)?;
        (size < MAX_COUNT && queued < MAX_COUNT).then_some(PythonPool {
            object: executor,
            size,
            queued,
            workers: vec![first],
        })
    }

    /// How many items a `queue.SimpleQueue` of C has.
    fn queued(&self, queue: u64) -> Option<u64> {
        if !self.objects.type_of(queue)?.is_a("_queue.SimpleQueue") {
            return None;
        }
        let memory = self.objects.memory();
        if self.minor >= 13 {
            return memory.u64(queue.checked_add(QUEUE_ITEMS)?);
        }
        let [list, position] = self.objects.words(queue.checked_add(QUEUE_LIST)?)?;
        let items = memory.u64(list.checked_add(self.layout.object.items.into())?)?;
        items.checked_sub(position)
    }
}
