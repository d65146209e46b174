//! One task, read as of one moment: what it is at the beginning it must still be at the end, or it
//! is read again; what never stands still is said to be torn.

use super::Reader;
use super::coroutine::{Chain, Link, Stage};
use super::find::LoopThread;
use super::future::Essentials;
use crate::memory::Memory;
use remora_common::python::PythonFrame;
use remora_model::{Task, TaskFrame, TaskState};
use std::collections::BTreeMap;
use std::time::Duration;

/// Attempts to read a task that moves.
const ATTEMPTS: usize = 4;

/// What became of an attempt to read a task.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// It was read, or is torn.
    Task(Box<Task>),
    /// It is done.
    Done,
    /// There is no task at its address any more.
    Gone,
    /// It is there, but what belongs to it is not.
    Unreadable,
}

/// What is the same for all tasks of an interpreter.
pub(super) struct Surroundings<'s> {
    /// The thread of each loop that runs.
    pub threads: &'s BTreeMap<u64, LoopThread>,
    /// `CLOCK_MONOTONIC`.
    pub now: Duration,
}

/// The frames of a task as addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stack {
    chain: Chain,
    /// Those of its thread above its outermost coroutine, when it runs; innermost first.
    running: Vec<Link>,
    /// Some of those were left out.
    running_cut: bool,
}

impl Stack {
    /// Whether two readings saw the same. The innermost function of a running task goes on within
    /// itself all the time: there the line is as it was in the first reading.
    fn is_same(&self, later: &Self) -> bool {
        let without_line = |frames: &[Link]| {
            let mut frames = frames.to_vec();
            if let Some(innermost) = frames.first_mut() {
                innermost.instruction = 0;
            }
            frames
        };
        let running = self.chain.stage == Stage::Executing;
        let same_chain = if running {
            let places = |stack: &Self| -> Vec<_> {
                let links = stack.chain.links.iter();
                links.map(|link| (link.frame, link.code)).collect()
            };
            later.chain.stage == Stage::Executing && places(self) == places(later)
        } else {
            self.chain == later.chain
        };
        same_chain && without_line(&self.running) == without_line(&later.running)
    }
}

impl<M: Memory> Reader<'_, M> {
    /// Reads a task.
    pub(super) fn task(&self, id: u64, around: &Surroundings<'_>) -> Reading {
        if !self.is_known(id) {
            return Reading::Unreadable;
        }
        let mut state = None;
        for _ in 0..ATTEMPTS {
            let Some(before) = self.essentials(id) else {
                return Reading::Gone;
            };
            if !before.pending {
                return Reading::Done;
            }
            let Some(stack) = self.stack(&before, around) else {
                continue;
            };
            let seen = self.seen(id, &before, &stack, around);
            let later = self.stack(&before, around);
            let stood_still = self.essentials(id) == Some(before)
                && later.is_some_and(|later| stack.is_same(&later));
            if let Some(task) = seen {
                if stood_still {
                    return Reading::Task(Box::new(task));
                }
                state = Some(task.state);
            }
        }
        self.torn(id, state)
    }

    /// What can be said of a task that never stood still.
    fn torn(&self, id: u64, state: Option<TaskState>) -> Reading {
        let Some(before) = self.essentials(id) else {
            return Reading::Gone;
        };
        let (name, class) = (self.name(before.name), self.objects.type_of(id));
        match (self.essentials(id), name, class) {
            (None, ..) => Reading::Gone,
            (Some(now), ..) if !now.pending => Reading::Done,
            (Some(now), Some(name), Some(class)) if now.name == before.name => {
                Reading::Task(Box::new(Task {
                    id,
                    name,
                    class: class.short_name().to_owned(),
                    loop_id: now.loop_id,
                    state: state.unwrap_or(TaskState::Ready),
                    cancelling: now.must_cancel,
                    frames: Vec::new(),
                    frames_cut: false,
                    awaits: None,
                    holds: Vec::new(),
                    same_for: None,
                    torn: true,
                }))
            }
            _ => Reading::Unreadable,
        }
    }

    fn stack(&self, task: &Essentials, around: &Surroundings<'_>) -> Option<Stack> {
        let chain = self.chain(task.coroutine)?;
        let (mut running, mut running_cut) = (Vec::new(), false);
        if chain.stage == Stage::Executing
            && let [.., innermost] = chain.links.as_slice()
            && let Some(thread) = around.threads.get(&task.loop_id)
        {
            (running, running_cut) = self.frames_above(thread.state, innermost.frame)?;
        }
        Some(Stack {
            chain,
            running,
            running_cut,
        })
    }

    fn seen(
        &self,
        id: u64,
        task: &Essentials,
        stack: &Stack,
        around: &Surroundings<'_>,
    ) -> Option<Task> {
        let chain = &stack.chain;
        let mut frames = Vec::new();
        for link in &chain.links {
            frames.push(TaskFrame {
                function: self.objects.text(link.name)?,
                ..self.located(link)
            });
        }
        let state = if chain.stage == Stage::Executing {
            TaskState::Running
        } else if task.waiter == 0 || !self.is_pending(task.waiter)? {
            TaskState::Ready
        } else {
            TaskState::Waiting
        };
        let awaits = (state == TaskState::Waiting)
            .then(|| {
                // Without its end, a chain says nothing of what is awaited there.
                let whole = if chain.whole { frames.as_slice() } else { &[] };
                self.awaits(task.waiter, &chain.links, whole, around.now)
            })
            .flatten();
        let holds = match chain.stage {
            Stage::Suspended => self.holds(&chain.links, &frames, awaits.as_ref()),
            _ => Vec::new(),
        };
        let above = stack.running.iter().rev();
        frames.extend(above.map(|link| self.located(link)));
        Some(Task {
            id,
            name: self.name(task.name)?,
            class: self.objects.type_of(id)?.short_name().to_owned(),
            loop_id: task.loop_id,
            state,
            cancelling: task.must_cancel,
            frames,
            frames_cut: chain.cut || stack.running_cut,
            awaits,
            holds,
            same_for: None,
            torn: false,
        })
    }

    /// Function, file and line of a frame.
    fn located(&self, link: &Link) -> TaskFrame {
        let nowhere = TaskFrame {
            function: String::new(),
            file: String::new(),
            line: None,
        };
        self.resolved(link).unwrap_or(nowhere)
    }

    fn resolved(&self, link: &Link) -> Option<TaskFrame> {
        let memory = self.objects.memory();
        let code = &self.layout.code;
        let instruction = if self.layout.instruction_is_index() {
            link.instruction as u32
        } else {
            let first = link.code.checked_add(code.instructions.into())?;
            // Before the first one: all ones, as an index is.
            u32::try_from(link.instruction.wrapping_sub(first)).unwrap_or(u32::MAX)
        };
        let name = memory.u64(link.code.checked_add(code.name.into())?)?;
        let frame = PythonFrame {
            code: link.code,
            instruction,
            fingerprint: (name >> 4) as u32,
        };
        let found = self.codes.borrow_mut().resolve(memory, &frame)?;
        Some(TaskFrame {
            function: found.qualname.to_string(),
            file: found.filename.to_string(),
            line: found.line(instruction),
        })
    }
}
