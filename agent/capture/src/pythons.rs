//! The Python interpreters of the targets: found when their process is, so that the kernel side can
//! walk their frames; their code objects read while they are there, at each beat, for a process that
//! ends takes its names along.

use super::spaces::SpaceKey;
use remora_common::{
    python::Interpreter,
    reason::Reason,
    thread::{STATE_BLOCKED, ThreadSlot},
};
use remora_model::{self as model, AgentLoss, HookState, PythonFrame, Signal, SignalId, Tasks};
use remora_process::deadline::{self, Step, Subject};
use remora_process::python::{
    Finder, NotFound, Python, asyncio,
    code::{Code, Resolver},
    lock,
    threads::{names, waits},
};
use remora_process::{
    maps::Snapshot,
    memory::{Memory, ProcessMemory},
};
use std::{collections::HashMap, sync::Arc, time::Instant};

/// Beats between two searches in a process that has no interpreter yet, at the most.
const MAX_BACKOFF: u32 = 16;

/// What tasks await, by process and task.
type Awaited = HashMap<(u32, u64), u64>;

/// One process with an interpreter.
pub struct Known {
    /// What was found.
    pub python: Arc<Python>,
    memory: Arc<ProcessMemory>,
    resolver: Resolver,
}

/// What was found in a process.
enum Found {
    Yes(Box<Known>),
    /// Not yet: it is searched again after so many beats.
    Later {
        rest: u32,
        backoff: u32,
        why: NotFound,
    },
    /// It has one that cannot be read.
    Refused(NotFound),
    No,
}

/// The interpreters of all processes.
#[derive(Default)]
pub struct Pythons {
    finder: Finder,
    by_space: HashMap<SpaceKey, Found>,
    on: bool,
    /// What each task awaited at an early moment of the capture, by process and task; and that moment.
    early: Option<(Instant, Awaited)>,
}

impl Pythons {
    /// None yet; `on`: they are looked for.
    pub fn new(on: bool) -> Self {
        Self {
            on,
            ..Self::default()
        }
    }

    /// Looks for the interpreter of a process, where it was not found yet. Returns what the kernel
    /// side must know of it.
    pub fn find(&mut self, key: SpaceKey, snapshot: &Snapshot) -> Option<Interpreter> {
        if !self.on {
            return None;
        }
        if let Some(Found::Yes(known)) = self.by_space.get(&key) {
            return Some(known.python.interpreter);
        }
        let mut found = self.look(key.tgid, snapshot.clone());
        if let (
            Found::Later { rest, backoff, .. },
            Some(Found::Later {
                backoff: before, ..
            }),
        ) = (&mut found, self.by_space.get(&key))
        {
            (*rest, *backoff) = (*before, *before);
        }
        let interpreter = match &found {
            Found::Yes(known) => Some(known.python.interpreter),
            _ => None,
        };
        self.by_space.insert(key, found);
        interpreter
    }

    fn look(&mut self, pid: u32, snapshot: Snapshot) -> Found {
        let mut finder = std::mem::take(&mut self.finder);
        let looked = deadline::run(Step::Interpreter, Subject::Process(pid), move || {
            let memory = ProcessMemory::open(pid).ok();
            let found = memory.map(|memory| (finder.find(&snapshot, &memory), memory));
            (finder, found)
        });
        let Some((finder, found)) = looked else {
            return Found::Refused(NotFound::NoAnswer);
        };
        self.finder = finder;
        match found {
            Some((Ok(python), memory)) => Found::Yes(Box::new(Known {
                resolver: Resolver::new(python.layout),
                python: Arc::new(python),
                memory: Arc::new(memory),
            })),
            None | Some((Err(NotFound::NoInterpreter), _)) => Found::No,
            Some((Err(why @ NotFound::NotReady(_)), _)) => Found::Later {
                rest: 1,
                backoff: 1,
                why,
            },
            Some((Err(why), _)) => Found::Refused(why),
        }
    }

    /// The processes whose interpreter was not ready, and should be asked again at this beat.
    pub fn due(&mut self) -> Vec<SpaceKey> {
        let mut due = Vec::new();
        for (key, found) in &mut self.by_space {
            if let Found::Later { rest, backoff, .. } = found {
                *rest -= 1;
                if *rest == 0 {
                    *backoff = (*backoff * 2).min(MAX_BACKOFF);
                    *rest = *backoff;
                    due.push(*key);
                }
            }
        }
        due
    }

    /// Forgets a process that has ended, whose id was given to another.
    pub fn forget(&mut self, tgid: u32) {
        self.by_space.retain(|key, _| key.tgid != tgid);
    }

    /// An image that was replaced by an exec is not searched for an interpreter any more.
    pub fn replaced(&mut self, key: SpaceKey) {
        if let Some(found @ Found::Later { .. }) = self.by_space.get_mut(&key) {
            *found = Found::No;
        }
    }

    /// Whether any process has an interpreter.
    pub fn any(&self) -> bool {
        self.by_space
            .values()
            .any(|found| matches!(found, Found::Yes(_)))
    }

    /// Reads the code objects of these frames, as far as they are not known.
    pub fn learn(&mut self, key: SpaceKey, frames: &[PythonFrame]) {
        if let Some(Found::Yes(known)) = self.by_space.get_mut(&key) {
            known.learn(key.tgid, frames);
        }
    }

    /// The interpreter of a process, to look code objects up in.
    pub fn get(&self, key: SpaceKey) -> Option<&Known> {
        match self.by_space.get(&key) {
            Some(Found::Yes(known)) => Some(known),
            _ => None,
        }
    }

    /// What the interpreters look like at this moment, by process. A thread state belongs to the thread
    /// that the kernel side found it for.
    pub fn look_at(&self, slots: &[ThreadSlot]) -> Vec<(u32, model::Python)> {
        let mut looks = Vec::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            let own = slots.iter().filter(|slot| slot.tgid == key.tgid);
            let own: Vec<ThreadSlot> = own.copied().collect();
            let look = known.ask(key.tgid, move |python, memory| gil(python, memory, &own));
            looks.extend(look.flatten().map(|look| (key.tgid, look)));
        }
        looks
    }

    /// The interpreter of a process that has not executed another program.
    pub fn of(&self, tgid: u32) -> Option<Python> {
        let found = self.by_space.get(&SpaceKey {
            tgid,
            generation: 0,
        })?;
        match found {
            Found::Yes(known) => Some((*known.python).clone()),
            _ => None,
        }
    }

    /// What threads that sleep in a futex wait for, where that is a lock or a join of Python's `threading`.
    pub fn waits(&self, slots: &[ThreadSlot]) -> Vec<model::PythonWait> {
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
    pub fn names(&self, slots: &[ThreadSlot]) -> HashMap<u32, String> {
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
    pub fn pools(&self, slots: &[ThreadSlot]) -> Vec<model::PythonPool> {
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

    /// Notes once what each task awaits, to tell at the end who still awaits the same.
    pub fn note_tasks(&mut self) {
        if self.early.is_some() || !self.any() {
            return;
        }
        let all = self.read_tasks();
        let tasks = all.iter().flat_map(|(pid, tasks)| {
            let tasks = tasks.tasks.iter();
            tasks.filter_map(|task| Some(((*pid, task.id), task.awaits.as_ref()?.object)))
        });
        self.early = Some((Instant::now(), tasks.collect()));
    }

    /// The asyncio tasks of each process at this moment, of those that have any.
    pub fn tasks(&self) -> Vec<(u32, Tasks)> {
        let mut all = self.read_tasks();
        let Some((then, early)) = &self.early else {
            return all;
        };
        for (pid, tasks) in &mut all {
            for task in &mut tasks.tasks {
                let object = task.awaits.as_ref().map(|awaits| awaits.object);
                let same = object.is_some() && early.get(&(*pid, task.id)).copied() == object;
                task.same_for = same.then(|| then.elapsed());
            }
        }
        all
    }

    fn read_tasks(&self) -> Vec<(u32, Tasks)> {
        let mut all = Vec::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            let tasks = known.ask(key.tgid, |python, memory| {
                asyncio::snapshot(python, memory).ok()
            });
            if let Some(mut tasks) = tasks.flatten()
                && !(tasks.tasks.is_empty() && tasks.loops.is_empty())
            {
                asyncio::name_threads(key.tgid, &mut tasks);
                all.push((key.tgid, tasks));
            }
        }
        all.sort_by_key(|(pid, _)| *pid);
        all
    }

    /// Processes without an interpreter that can be read, and why, the lowest process id first.
    pub fn without(&self) -> Vec<(u32, NotFound)> {
        let without = self.by_space.iter().filter_map(|(key, found)| match found {
            Found::Yes(_) => None,
            Found::Refused(why) => Some((key.tgid, *why)),
            Found::Later { why, .. } => Some((key.tgid, *why)),
            Found::No => Some((key.tgid, NotFound::NoInterpreter)),
        });
        let mut without: Vec<_> = without.collect();
        without.sort_by_key(|(pid, _)| *pid);
        without
    }

    /// What serves Python frames; `None` where no target runs Python.
    pub fn signal(&self) -> Option<Signal> {
        let refused = self
            .without()
            .into_iter()
            .find(|(_, why)| *why != NotFound::NoInterpreter);
        let state = match refused {
            Some((pid, why)) => HookState::Degraded(format!("process {pid}: {why}")),
            None if self.any() => HookState::On,
            None => return None,
        };
        Some(Signal {
            id: SignalId::Python,
            hook: "its memory, from the hooks of stacks".to_owned(),
            state,
        })
    }

    /// What could not be read, by name in `report.json`.
    pub fn losses(&self) -> [(AgentLoss, u64); 3] {
        let is_refused = |found: &&Found| matches!(found, Found::Refused(_));
        let refused = self.by_space.values().filter(is_refused).count();
        let (mut unreadable, mut replaced) = (0, 0);
        for found in self.by_space.values() {
            if let Found::Yes(known) = found {
                let failures = known.resolver.failures();
                unreadable += failures.unreadable;
                replaced += failures.replaced;
            }
        }
        [
            (AgentLoss::PythonInterpretersUnknown, refused as u64),
            (AgentLoss::PythonCodeUnreadable, unreadable),
            (AgentLoss::PythonCodeReplaced, replaced),
        ]
    }
}

impl Known {
    /// A question to the interpreter of a process; `None`: it does not answer.
    fn ask<T: Send + 'static>(
        &self,
        pid: u32,
        question: impl FnOnce(&Python, &ProcessMemory) -> T + Send + 'static,
    ) -> Option<T> {
        let (python, memory) = (Arc::clone(&self.python), Arc::clone(&self.memory));
        deadline::run(Step::Interpreter, Subject::Process(pid), move || {
            question(&python, &memory)
        })
    }

    /// Reads the code objects of these frames, as far as they are not known. Where the process does not answer,
    /// what was known before stays.
    pub fn learn(&mut self, pid: u32, frames: &[PythonFrame]) {
        let unknown = frames.iter().filter(|frame| !self.resolver.knows(frame));
        let unknown: Vec<PythonFrame> = unknown.copied().collect();
        if unknown.is_empty() {
            return;
        }
        let mut resolver = self.resolver.clone();
        let learned = self.ask(pid, move |_, memory| {
            for frame in &unknown {
                resolver.resolve(memory, frame);
            }
            resolver
        });
        if let Some(learned) = learned {
            self.resolver = learned;
        }
    }

    /// The code object of a frame; `None` when it was not there any more, or was never asked for.
    pub fn code(&self, frame: &PythonFrame) -> Option<Arc<Code>> {
        self.resolver.known(frame)
    }
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
