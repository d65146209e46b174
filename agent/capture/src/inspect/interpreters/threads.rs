//! What the threads of interpreters do at this moment: who holds the interpreter lock, what they wait for, what they are called, in
//! which executor they work.

use super::{Found, Interpreters};
use remora_common::reason::Reason;
use remora_common::thread::{STATE_BLOCKED, ThreadSlot};
use remora_model as model;
use remora_process::memory::{Memory, ProcessMemory};
use remora_process::python::{
    Python, lock,
    threads::{names, waits},
};
use std::collections::HashMap;

impl Interpreters {
    /// What the interpreters look like at this moment, by process. A thread state belongs to the thread
    /// that the kernel side found it for.
    pub(crate) fn inspect(&self, slots: &[ThreadSlot]) -> Vec<(u32, model::Python)> {
        let mut states = Vec::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            let own = slots.iter().filter(|slot| slot.tgid == key.tgid);
            let own: Vec<ThreadSlot> = own.copied().collect();
            let state = known.ask(key.tgid, move |python, memory| gil(python, memory, &own));
            states.extend(state.flatten().map(|state| (key.tgid, state)));
        }
        states
    }

    /// What threads that sleep in a futex wait for, where that is a lock or a join of Python's `threading`.
    pub(crate) fn waits(&self, slots: &[ThreadSlot]) -> Vec<model::PythonWait> {
        let mut all = Vec::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            let own = slots.iter().filter(|slot| slot.tgid == key.tgid);
            let own: Vec<ThreadSlot> = own.copied().collect();
            let waits = known.ask(key.tgid, move |python, memory| {
                waits_of(python, memory, &own)
            });
            all.extend(waits.unwrap_or_default());
        }
        all
    }

    /// What Python's `threading` calls its threads, by thread id.
    pub(crate) fn names(&self, slots: &[ThreadSlot]) -> HashMap<u32, String> {
        let mut all = HashMap::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            let own = slots
                .iter()
                .filter(|slot| slot.tgid == key.tgid && slot.python_thread != 0);
            let tids: HashMap<u64, u32> = own.map(|slot| (slot.python_thread, slot.tid)).collect();
            let states: Vec<u64> = tids.keys().copied().collect();
            let names = known.ask(key.tgid, move |python, memory| {
                names::names(python, python.version.minor, memory, &states)
            });
            let named = names.unwrap_or_default().into_iter();
            all.extend(named.filter_map(|(state, name)| Some((*tids.get(&state)?, name))));
        }
        all
    }

    /// Executors of `concurrent.futures`, those with most queued jobs first.
    pub(crate) fn pools(&self, slots: &[ThreadSlot]) -> Vec<model::PythonPool> {
        let mut all = Vec::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            let own = slots.iter().filter(|slot| slot.tgid == key.tgid);
            let own = own.filter(|slot| slot.python_thread != 0 && slot.state == STATE_BLOCKED);
            let states: HashMap<u64, u32> =
                own.map(|slot| (slot.python_thread, slot.tid)).collect();
            let pid = key.tgid;
            let pools = known.ask(pid, move |python, memory| {
                pools_of(python, memory, (pid, &states))
            });
            all.extend(pools.unwrap_or_default());
        }
        all.sort_by_key(|pool| (std::cmp::Reverse(pool.queued), pool.pid, pool.object));
        all
    }
}

impl Interpreters {
    /// Pools of connections that threads wait for a slot of.
    pub(crate) fn slots(&self, slots: &[ThreadSlot]) -> Vec<model::SlotPool> {
        let mut all = Vec::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            let own = slots.iter().filter(|slot| slot.tgid == key.tgid);
            let own: Vec<ThreadSlot> = own.copied().collect();
            let pid = key.tgid;
            let pools = known.ask(pid, move |python, memory| {
                slots_of(python, memory, (pid, &own))
            });
            all.extend(pools.unwrap_or_default());
        }
        all.sort_by_key(|pool| (pool.pid, pool.object));
        all
    }
}

/// The pools of a process that its sleeping threads wait for. Whoever holds a slot need not sleep.
fn slots_of(
    python: &Python,
    memory: &ProcessMemory,
    (pid, own): (u32, &[ThreadSlot]),
) -> Vec<model::SlotPool> {
    let own = own.iter().filter(|slot| slot.python_thread != 0);
    let tids: HashMap<u64, u32> = own
        .clone()
        .map(|slot| (slot.python_thread, slot.tid))
        .collect();
    let asleep = own.filter(|slot| {
        let in_futex = slot.reason == Reason::Futex as u32;
        slot.state == STATE_BLOCKED && !slot.is_woken() && in_futex
    });
    let asleep: Vec<u64> = asleep.map(|slot| slot.python_thread).collect();
    let pools = waits::slots(python, python.version.minor, memory, &asleep);
    let named = pools.into_iter().map(|pool| {
        let library = match pool.library {
            waits::Library::SqlAlchemy => "SQLAlchemy ",
            waits::Library::Psycopg => "psycopg ",
            waits::Library::Redis => "redis ",
            waits::Library::Urllib3 => "urllib3 ",
            waits::Library::Queue => "",
        };
        let holders = pool.holders.iter();
        let holders = holders.filter_map(|(state, count)| Some((*tids.get(state)?, *count)));
        let mut holders: Vec<(u32, usize)> = holders.collect();
        holders.sort_unstable();
        let waiters = pool.waiters.iter().filter_map(|state| tids.get(state));
        let mut waiters: Vec<u32> = waiters.copied().collect();
        waiters.sort_unstable();
        model::SlotPool {
            pid,
            object: pool.object,
            name: format!("{library}{}", pool.name),
            by_hand: pool.library == waits::Library::Queue,
            size: pool.size,
            taken: pool.taken,
            waiters,
            holders,
        }
    });
    named.collect()
}

/// What an interpreter looks like at this moment. A thread state belongs to the thread that the kernel side found
/// it for.
fn gil(python: &Python, memory: &ProcessMemory, own: &[ThreadSlot]) -> Option<model::Python> {
    let seen = lock(python, memory);
    if seen.threads == 0 {
        return None;
    }
    // A thread may hold it by another of its states: the thread's id tells.
    let id_offset = python.layout.thread.thread_id;
    let id = |state: u64| memory.u64(state.wrapping_add(id_offset.into()));
    let tid_of = |state| {
        let holder = id(state)?;
        own.iter()
            .find(|slot| id(slot.python_thread) == Some(holder))
    };
    Some(model::Python {
        version: python.version.to_string(),
        free_threaded: python.layout.free_threaded,
        threads: u32::try_from(seen.threads).unwrap_or(u32::MAX),
        gil_holder_tid: seen.holder.and_then(tid_of).map(|slot| slot.tid),
        torn: seen.torn,
    })
}

/// What threads of a process that sleep in a futex wait for, where that is a lock or a join.
fn waits_of(python: &Python, memory: &ProcessMemory, own: &[ThreadSlot]) -> Vec<model::PythonWait> {
    let tids: HashMap<u64, u32> = own
        .iter()
        .filter(|slot| slot.python_thread != 0)
        .map(|slot| (slot.python_thread, slot.tid))
        .collect();
    let asleep = own.iter().filter(|slot| {
        let in_futex = slot.reason == Reason::Futex as u32;
        slot.state == STATE_BLOCKED && !slot.is_woken() && in_futex
    });
    let waiting: Vec<(u64, u64)> = asleep
        .map(|slot| (slot.python_thread, slot.args[0]))
        .collect();
    // Another state of the same thread: the thread's id tells.
    let id_offset = python.layout.thread.thread_id;
    let id = |state: u64| memory.u64(state.wrapping_add(id_offset.into()));
    let tid_of = |state: u64| {
        let by_id = || {
            let wanted = id(state)?;
            tids.iter().find(|(other, _)| id(**other) == Some(wanted))
        };
        tids.get(&state)
            .or_else(|| by_id().map(|(_, tid)| tid))
            .copied()
    };
    let waits = waits::waits(python, python.version.minor, memory, &waiting);
    let named = waits.into_iter().filter_map(|wait| {
        Some(model::PythonWait {
            tid: tid_of(wait.state)?,
            what: match wait.what {
                waits::What::Lock => model::PythonAwaited::Lock,
                waits::What::RLock => model::PythonAwaited::RLock,
                waits::What::Semaphore => model::PythonAwaited::Semaphore,
                waits::What::Thread => model::PythonAwaited::Thread,
            },
            object: wait.object,
            holders: wait
                .holders
                .iter()
                .filter_map(|state| tid_of(*state))
                .collect(),
        })
    });
    named.collect()
}

/// The executors of a process whose sleeping threads, by state, are given.
fn pools_of(
    python: &Python,
    memory: &ProcessMemory,
    (pid, tids): (u32, &HashMap<u64, u32>),
) -> Vec<model::PythonPool> {
    let states: Vec<u64> = tids.keys().copied().collect();
    let pools = waits::pools(python, python.version.minor, memory, &states);
    let named = pools.into_iter().map(|pool| {
        let workers = pool.workers.iter().filter_map(|state| tids.get(state));
        let mut workers: Vec<u32> = workers.copied().collect();
        workers.sort_unstable();
        model::PythonPool {
            pid,
            object: pool.object,
            size: pool.size,
            queued: pool.queued,
            workers,
        }
    });
    named.collect()
}
