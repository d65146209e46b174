//! The Python interpreters of the targets: found when their process is, so that the kernel side can
//! walk their frames; their code objects read while they are there, at each beat, for a process that
//! ends takes its names along.

mod threads;

use crate::store::spaces::SpaceKey;
use remora_common::python::Interpreter;
use remora_model::{AgentLoss, HookState, PythonFrame, Signal, SignalId, Tasks};
use remora_process::deadline::{self, Step, Subject};
use remora_process::python::{
    Finder, NotFound, Python,
    asyncio::{self, ReadyHead},
    code::{Code, Resolver},
};
use remora_process::{maps::Snapshot, memory::ProcessMemory};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

/// Beats between two searches in a process that has no interpreter yet, at the most.
const MAX_BACKOFF: u32 = 16;

/// What tasks await, by process and task.
type Awaited = HashMap<(u32, u64), u64>;

/// One process with an interpreter.
pub(crate) struct Known {
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
pub(crate) struct Interpreters {
    finder: Finder,
    by_space: HashMap<SpaceKey, Found>,
    on: bool,
    /// What each task awaited at an early moment of the capture, by process and task; and that moment.
    early: Option<(Instant, Awaited)>,
}

impl Interpreters {
    /// None yet; `on`: they are looked for.
    pub(crate) fn new(on: bool) -> Self {
        Self {
            on,
            ..Self::default()
        }
    }

    /// Looks for the interpreter of a process, where it was not found yet. Returns what the kernel
    /// side must know of it.
    pub(crate) fn find(&mut self, key: SpaceKey, snapshot: &Snapshot) -> Option<Interpreter> {
        if !self.on {
            return None;
        }
        if let Some(Found::Yes(known)) = self.by_space.get(&key) {
            return Some(known.python.interpreter);
        }
        let mut found = self.inspect_process(key.tgid, snapshot.clone());
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

    fn inspect_process(&mut self, pid: u32, snapshot: Snapshot) -> Found {
        let mut finder = std::mem::take(&mut self.finder);
        let asked = deadline::run(Step::Interpreter, Subject::Process(pid), move || {
            let memory = ProcessMemory::open(pid).ok();
            let found = memory.map(|memory| (finder.find(&snapshot, &memory), memory));
            (finder, found)
        });
        let Some((finder, found)) = asked else {
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
    pub(crate) fn due(&mut self) -> Vec<SpaceKey> {
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
    pub(crate) fn forget(&mut self, tgid: u32) {
        self.by_space.retain(|key, _| key.tgid != tgid);
    }

    /// An image that was replaced by an exec is not searched for an interpreter any more.
    pub(crate) fn replaced(&mut self, key: SpaceKey) {
        if let Some(found @ Found::Later { .. }) = self.by_space.get_mut(&key) {
            *found = Found::No;
        }
    }

    /// Whether any process has an interpreter.
    pub(crate) fn any(&self) -> bool {
        self.by_space
            .values()
            .any(|found| matches!(found, Found::Yes(_)))
    }

    /// Reads the code objects of these frames, as far as they are not known.
    pub(crate) fn learn(&mut self, key: SpaceKey, frames: &[PythonFrame]) {
        if let Some(Found::Yes(known)) = self.by_space.get_mut(&key) {
            known.learn(key.tgid, frames);
        }
    }

    /// The interpreter of a process, to look code objects up in.
    pub(crate) fn get(&self, key: SpaceKey) -> Option<&Known> {
        match self.by_space.get(&key) {
            Some(Found::Yes(known)) => Some(known),
            _ => None,
        }
    }

    /// The interpreter of a process that has not executed another program.
    pub(crate) fn of(&self, tgid: u32) -> Option<Python> {
        let found = self.by_space.get(&SpaceKey {
            tgid,
            generation: 0,
        })?;
        match found {
            Found::Yes(known) => Some((*known.python).clone()),
            _ => None,
        }
    }

    /// Notes once what each task awaits, to tell at the end who still awaits the same.
    pub(crate) fn note_tasks(&mut self) {
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
    pub(crate) fn tasks(&self) -> Vec<(u32, Tasks)> {
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

    /// Where loops of processes stand in their callbacks now.
    pub(crate) fn ready_heads(&self, pids: &BTreeSet<u32>) -> Vec<(u32, ReadyHead)> {
        let mut all = Vec::new();
        for (key, found) in &self.by_space {
            let Found::Yes(known) = found else { continue };
            if pids.contains(&key.tgid) {
                let heads = known.ask(key.tgid, |python, memory| {
                    asyncio::ready_heads(python, memory)
                });
                all.extend(heads.into_iter().flatten().map(|head| (key.tgid, head)));
            }
        }
        all
    }

    /// Processes without an interpreter that can be read, and why, the lowest process id first.
    pub(crate) fn without(&self) -> Vec<(u32, NotFound)> {
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
    pub(crate) fn signal(&self) -> Option<Signal> {
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
    pub(crate) fn losses(&self) -> [(AgentLoss, u64); 3] {
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
    pub(crate) fn learn(&mut self, pid: u32, frames: &[PythonFrame]) {
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
    pub(crate) fn code(&self, frame: &PythonFrame) -> Option<Arc<Code>> {
        self.resolver.known(frame)
    }
}
