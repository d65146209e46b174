//! Where asyncio keeps its tasks and loops.
//!
//! `sys.modules` → `asyncio.tasks` → its sets of tasks, and the dict of those that run
//! (`Lib/asyncio/tasks.py`; the accelerator exports its own under the same names). Which loop a
//! thread runs, its state says (`get_running_loop`, `Modules/_asynciomodule.c`).

use super::Reader;
use super::coroutine::Link;
use super::layout::RunningLoop;
use crate::memory::Memory;
use remora_common::python::ABSENT;
use std::collections::{BTreeMap, BTreeSet};

/// Interpreters of a process that are looked at.
pub(super) const MAX_INTERPRETERS: usize = 256;
/// Threads of an interpreter that are looked at.
const MAX_THREADS: usize = 4096;
/// Python frames of a thread that are looked at for its running task, and those that are kept.
const MAX_FRAMES: usize = 4096;
pub(super) const MAX_RUNNING: usize = 64;
/// `PyModuleObject.md_dict`
const MODULE_DICT: u64 = 16;
/// `PyRunningLoopHolder.rl_loop` (up to 3.11).
const HELD_LOOP: u64 = 16;
/// Key of a thread's dict.
const RUNNING_LOOP: &str = "__asyncio_running_event_loop__";
/// Weak sets of tasks: up to 3.11, from 3.12 on.
const WEAK_SETS: [&str; 2] = ["_all_tasks", "_scheduled_tasks"];
/// A set of tasks that have begun but never waited (3.12 on).
const EAGER_SET: &str = "_eager_tasks";
/// Running tasks by loop.
const CURRENT: &str = "_current_tasks";

/// What `asyncio.tasks` keeps, as addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registry {
    /// Sets of weak references to tasks.
    weak: Vec<u64>,
    /// A set of tasks.
    eager: Option<u64>,
    /// The dict loop → running task.
    current: Option<u64>,
}

/// The tasks of an interpreter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Addresses.
    pub tasks: BTreeSet<u64>,
    /// Tasks beyond the bound.
    pub cut: u64,
    /// Sets that changed each time that they were read.
    pub torn: u64,
}

/// A thread that runs a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoopThread {
    /// Address of its `PyThreadState`.
    pub state: u64,
    /// `pthread_self()`.
    pub ident: u64,
    /// `native_thread_id` (3.11 on): its id in its innermost PID namespace.
    pub native: Option<u64>,
}

impl<M: Memory> Reader<'_, M> {
    /// The interpreters of the process, by the head of their list.
    pub(super) fn interpreters(&self, runtime: u64) -> Vec<u64> {
        let head = runtime.checked_add(self.layout.runtime.interpreters_head.into());
        self.list(head, self.layout.interpreter.next, MAX_INTERPRETERS)
    }

    /// The items of a linked list, `most` of them.
    fn list(&self, head: Option<u64>, next: u16, most: usize) -> Vec<u64> {
        let follow = |link: u64| {
            let item = self.objects.memory().u64(link)?;
            (item != 0).then_some(item)
        };
        let items = std::iter::successors(head.and_then(follow), |item| {
            follow(item.checked_add(next.into())?)
        });
        items.take(most).collect()
    }

    /// `asyncio.tasks` of an interpreter: `Ok(None)` when it is not imported, `Err` when it could
    /// not be read.
    pub(super) fn registry(&self, interpreter: u64) -> Result<Option<Registry>, ()> {
        let objects = &self.objects;
        let modules = interpreter
            .checked_add(self.layout.interpreter.modules.into())
            .and_then(|at| objects.memory().u64(at));
        let modules = modules.and_then(|dict| objects.dict(dict)).ok_or(())?;
        let module = modules
            .into_iter()
            .find(|(name, _)| objects.text_is(*name, "asyncio.tasks"));
        let Some((_, module)) = module else {
            return Ok(None);
        };
        let read = || {
            let dict = objects.memory().u64(module.checked_add(MODULE_DICT)?)?;
            let sets = WEAK_SETS
                .iter()
                .filter_map(|name| objects.dict_value(dict, name));
            Some(Registry {
                weak: sets.collect(),
                eager: objects.dict_value(dict, EAGER_SET),
                current: objects.dict_value(dict, CURRENT),
            })
        };
        let registry = read().filter(|registry| !registry.weak.is_empty());
        registry.map(Some).ok_or(())
    }

    /// The tasks that a registry knows now, `most` of them.
    pub(super) fn tasks(&self, registry: &Registry, most: usize) -> Option<Found> {
        let mut found = Found::default();
        for set in &registry.weak {
            let data = self.objects.attribute(*set, "data")?;
            let members = self.objects.set(data, most)?;
            found.cut += members.cut;
            found.torn += u64::from(members.torn);
            let tasks = members.items.into_iter();
            found
                .tasks
                .extend(tasks.filter_map(|item| self.objects.referent(item)));
        }
        if let Some(set) = registry.eager {
            let members = self.objects.set(set, most)?;
            found.cut += members.cut;
            found.torn += u64::from(members.torn);
            found.tasks.extend(members.items);
        }
        // Two sets may be longer than one.
        while found.tasks.len() > most {
            found.tasks.pop_last();
            found.cut += 1;
        }
        Some(found)
    }

    /// The running task of each loop.
    pub(super) fn current(&self, registry: &Registry) -> BTreeMap<u64, u64> {
        let current = registry.current.and_then(|dict| self.objects.dict(dict));
        current.unwrap_or_default().into_iter().collect()
    }

    /// The threads that run a loop, by loop.
    pub(super) fn loop_threads(&self, interpreter: u64) -> BTreeMap<u64, LoopThread> {
        let head = interpreter.checked_add(self.layout.interpreter.threads_head.into());
        let threads = self.list(head, self.layout.thread.next, MAX_THREADS);
        threads
            .into_iter()
            .filter_map(|state| self.loop_thread(state))
            .collect()
    }

    fn loop_thread(&self, state: u64) -> Option<(u64, LoopThread)> {
        let objects = &self.objects;
        let word = |offset: u64| objects.memory().u64(state.checked_add(offset)?);
        let noted = match self.task.running_loop {
            RunningLoop::Dict(dict) => objects.dict_value(word(dict)?, RUNNING_LOOP)?,
            RunningLoop::Member(member) => word(member)?,
        };
        let mut running = self.something(noted)?;
        if objects.type_of(running)?.short_name() == "_RunningLoopHolder" {
            let held = objects.memory().u64(running.checked_add(HELD_LOOP)?)?;
            running = self.something(held)?;
        }
        let native = self.layout.thread.native_thread_id;
        let thread = LoopThread {
            state,
            ident: word(self.layout.thread.thread_id.into())?,
            native: (native != ABSENT).then(|| word(native.into())).flatten(),
        };
        Some((running, thread))
    }

    /// The Python frames of a thread, innermost first, above a frame, and whether some were left out;
    /// `None` when that frame is not among them.
    pub(super) fn frames_above(&self, thread: u64, last: u64) -> Option<(Vec<Link>, bool)> {
        let memory = self.objects.memory();
        let word = |at: u64, offset: u16| memory.u64(at.checked_add(offset.into())?);
        let mut frame = word(thread, self.layout.thread.frame)?;
        if self.layout.thread.cframe_frame != ABSENT {
            frame = word(frame, self.layout.thread.cframe_frame)?;
        }
        let offsets = &self.layout.frame;
        let (mut frames, mut cut) = (Vec::new(), false);
        for _ in 0..MAX_FRAMES {
            if frame == 0 {
                return None;
            }
            if frame == last {
                return Some((frames, cut));
            }
            cut = frames.len() == MAX_RUNNING;
            if !cut && !self.has_no_code(frame)? {
                let mut instruction = word(frame, offsets.instruction)?;
                if self.layout.instruction_is_index() {
                    instruction &= u64::from(u32::MAX);
                }
                frames.push(Link {
                    frame,
                    code: word(frame, offsets.code)?,
                    instruction,
                    name: 0,
                });
            }
            frame = word(frame, offsets.previous)?;
        }
        None
    }

    /// A frame that only marks where an evaluation loop begins (3.12 on).
    fn has_no_code(&self, frame: u64) -> Option<bool> {
        let offsets = &self.layout.frame;
        if offsets.entry_owner == 0 {
            return Some(false);
        }
        let [owner] = self
            .objects
            .memory()
            .bytes(frame.checked_add(offsets.owner.into())?)?;
        Some(u16::from(owner) >= offsets.entry_owner)
    }
}
