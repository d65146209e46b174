//! Futures and tasks: those of asyncio's C accelerator, those written in Python, and classes derived
//! from either.

use super::Reader;
use super::layout::{CALLBACK, LOOP, PENDING};
use crate::memory::Memory;
use crate::python::object::{OBJECT_TYPE, Type, word_at};

/// `tp_name` of the accelerator's types, and of those that it replaces.
pub(super) const C_TASK: &str = "_asyncio.Task";
const C_FUTURE: &str = "_asyncio.Future";
const PYTHON_TASK: &str = "Task";
const PYTHON_FUTURE: &str = "Future";
/// The largest `TaskObj` of all versions.
const MAX_TASK: usize = 256;
/// Cells of a closure that are looked at.
const MAX_CELLS: usize = 8;
/// `PyCellObject.ob_ref`
const CELL: u64 = 16;

/// What tells a task at one moment from the same at another. Addresses, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Essentials {
    /// Its type.
    pub class: u64,
    /// Not done.
    pub pending: bool,
    /// Its loop.
    pub loop_id: u64,
    /// Its coroutine.
    pub coroutine: u64,
    /// The future that it awaits.
    pub waiter: u64,
    /// Its name: a `str`, or an `int`.
    pub name: u64,
    /// It is to be cancelled at its next step.
    pub must_cancel: bool,
}

/// Whether instances of a type are tasks.
pub(super) fn is_task(kind: &Type) -> bool {
    kind.is_a(C_TASK) || (kind.is_a(PYTHON_TASK) && kind.is_a(PYTHON_FUTURE))
}

/// Whether instances of a type are futures (tasks are).
pub(super) fn is_future(kind: &Type) -> bool {
    kind.is_a(C_FUTURE) || kind.is_a(PYTHON_FUTURE)
}

impl<M: Memory> Reader<'_, M> {
    /// Reads what stands at the address of a task; `None` when that is none any more.
    pub(super) fn essentials(&self, task: u64) -> Option<Essentials> {
        let (kind, bytes) = self.objects.typed::<MAX_TASK>(task)?;
        if kind.is_a(C_TASK) {
            self.c_task(&bytes)
        } else if is_task(&kind) {
            self.python_task(task, word_at(&bytes, OBJECT_TYPE as usize))
        } else {
            None
        }
    }

    /// Whether a task of the accelerator is as large as the layout has it, as far as can be told.
    pub(super) fn is_known(&self, task: u64) -> bool {
        let kind = self.objects.type_of(task);
        let size = kind.and_then(|kind| kind.size_of(C_TASK));
        size.is_none_or(|size| size == self.task.size)
    }

    fn c_task(&self, bytes: &[u8; MAX_TASK]) -> Option<Essentials> {
        let layout = &self.task;
        let word = |at: usize| word_at(bytes, at);
        let flags = word(layout.must_cancel) as u32;
        let found = Essentials {
            class: word(OBJECT_TYPE as usize),
            pending: word(layout.state) as u32 == PENDING,
            loop_id: word(LOOP),
            coroutine: word(layout.coroutine),
            waiter: word(layout.waiter),
            name: word(layout.name),
            must_cancel: flags & layout.must_cancel_mask != 0,
        };
        // One without a name is still being made.
        (found.name != 0).then_some(found)
    }

    fn python_task(&self, task: u64, class: u64) -> Option<Essentials> {
        let attribute = |name| self.objects.attribute(task, name);
        Some(Essentials {
            class,
            pending: self.is_python_pending(task),
            loop_id: attribute("_loop")?,
            coroutine: self.something(attribute("_coro")?).unwrap_or(0),
            waiter: self.something(attribute("_fut_waiter")?).unwrap_or(0),
            name: attribute("_name")?,
            must_cancel: self.objects.unsigned(attribute("_must_cancel")?)? != 0,
        })
    }

    /// The object, unless it is `None`.
    pub(super) fn something(&self, object: u64) -> Option<u64> {
        (self.objects.type_of(object)?.name != "NoneType").then_some(object)
    }

    /// A task's name as `get_name()` gives it.
    pub(super) fn name(&self, name: u64) -> Option<String> {
        match self.objects.text(name) {
            Some(name) => Some(name),
            None => Some(format!("Task-{}", self.objects.unsigned(name)?)),
        }
    }

    /// Whether a future has not got its result yet.
    pub(super) fn is_pending(&self, future: u64) -> Option<bool> {
        if self.objects.type_of(future)?.is_a(C_FUTURE) {
            let state = future.checked_add(self.task.state as u64)?;
            return Some(self.objects.memory().u32(state)? == PENDING);
        }
        Some(self.is_python_pending(future))
    }

    /// While it is pending, the state is an attribute of the class only.
    fn is_python_pending(&self, future: u64) -> bool {
        let state = self.objects.attribute(future, "_state");
        let state = state.and_then(|state| self.objects.text(state));
        state.is_none_or(|state| state == "PENDING")
    }

    /// What a cell holds.
    pub(super) fn cell(&self, cell: u64) -> Option<u64> {
        self.objects.memory().u64(cell.checked_add(CELL)?)
    }

    /// The first callback of a future of the accelerator, if it is a Python function: its qualified
    /// name, and the futures and tasks that it closes over.
    pub(super) fn callback(&self, future: u64) -> Option<(String, Vec<u64>)> {
        let kind = self.objects.type_of(future)?;
        if !kind.is_a(C_FUTURE) {
            return None;
        }
        let memory = self.objects.memory();
        let function = memory.u64(future.checked_add(CALLBACK)?)?;
        if self.objects.type_of(function)?.name != "function" {
            return None;
        }
        let name = memory.u64(function.checked_add(self.task.function_name)?)?;
        let closure = memory.u64(function.checked_add(self.task.function_closure)?)?;
        let cells = self
            .objects
            .sequence(closure, MAX_CELLS)
            .unwrap_or_default();
        let futures = cells.into_iter().filter_map(|cell| {
            let held = self.cell(cell)?;
            is_future(&*self.objects.type_of(held)?).then_some(held)
        });
        Some((self.objects.text(name)?, futures.collect()))
    }
}
