//! The asyncio tasks of a running process, read from its memory: what `aiomonitor` shows to those who
//! built it into their program, for all others.
//!
//! Nothing is stopped, so everything moves. Each task is read as of one moment or said to be torn
//! (`read`); the sets of tasks are read again at the end, and what is not in them any more was
//! ending while it was looked at, and is dropped. The look as a whole is no moment: two tasks may
//! have been read milliseconds apart.
//!
//! Bounds: [`MAX_TASKS`], [`MAX_LINKS`] coroutines a task, [`ALLOWANCE`] bytes of reads. What they cut
//! off is counted in [`TaskLoss`].

mod awaits;
mod coroutine;
mod find;
mod future;
mod holds;
mod layout;
mod loops;
mod read;
mod ready;
#[cfg(test)]
mod tests;
mod threads;

pub use coroutine::MAX_LINKS;
pub use ready::{ReadyHead, ready_heads};
pub use threads::name_threads;

use super::layout::Layout;
use super::object::Objects;
use super::{Python, Resolver, Version};
use crate::memory::Memory;
use find::{Found, Registry};
use layout::TaskLayout;
use loops::Loops;
use read::{Reading, Surroundings};
use remora_model::{Task, TaskLoss, Tasks};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Tasks of one process that are read.
pub const MAX_TASKS: usize = 10_000;
/// Bytes that are read of one process.
pub const ALLOWANCE: u64 = 64 << 20;

/// Why the tasks of an interpreter cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Its asyncio keeps tasks in a way that is not known here.
    #[error("asyncio of Python {0} is not supported: 3.8 to 3.13 are")]
    Version(Version),
    /// Its objects have another header.
    #[error("free-threaded builds of Python are not supported")]
    FreeThreaded,
}

/// A reader of one process's tasks.
struct Reader<'m, M> {
    objects: Objects<'m, M>,
    layout: Layout,
    task: TaskLayout,
    minor: u8,
    codes: RefCell<Resolver>,
}

/// Reads the tasks of all interpreters of a process.
///
/// Thread ids are those of the process's own PID namespace, and threads have no names yet.
///
/// # Errors
/// When it is not known how this interpreter lays out its tasks.
pub fn snapshot<M: Memory>(python: &Python, memory: &M) -> Result<Tasks, Unsupported> {
    let reader = Reader::new(memory, python.layout, python.version, ALLOWANCE)?;
    let start = Instant::now();
    let mut tasks = Tasks::default();
    let mut loops = Loops::default();
    for interpreter in reader.interpreters(python.runtime()) {
        match reader.registry(interpreter) {
            Ok(None) => {}
            Ok(Some(registry)) => {
                reader.read_all(interpreter, &registry, &mut tasks, &mut loops);
            }
            Err(()) => tasks.loss.interpreters += 1,
        }
    }
    tasks.loops = loops.finish(&reader, &tasks.tasks);
    tasks.took = start.elapsed();
    Ok(tasks)
}

impl<'m, M: Memory> Reader<'m, M> {
    fn new(
        memory: &'m M,
        layout: Layout,
        version: Version,
        allowance: u64,
    ) -> Result<Self, Unsupported> {
        if layout.free_threaded {
            return Err(Unsupported::FreeThreaded);
        }
        let minor = version.minor;
        let objects = Objects::new(memory, &layout, minor, allowance);
        let (Some(objects), Some(task)) = (objects, TaskLayout::of(minor)) else {
            return Err(Unsupported::Version(version));
        };
        Ok(Self {
            objects,
            layout,
            task,
            minor,
            codes: RefCell::new(Resolver::new(layout)),
        })
    }

    /// Adds the tasks of an interpreter.
    fn read_all(&self, interpreter: u64, registry: &Registry, into: &mut Tasks, loops: &mut Loops) {
        let threads = self.loop_threads(interpreter);
        let around = Surroundings {
            threads: &threads,
            now: monotonic(),
        };
        let room = MAX_TASKS.saturating_sub(into.tasks.len());
        let Some(found) = self.tasks(registry, room) else {
            into.loss.interpreters += 1;
            return;
        };
        let Found { tasks, cut, torn } = found;
        into.loss.tasks_cut += cut;
        into.loss.sets_torn += torn;
        let before = into.tasks.len();
        for id in tasks {
            if self.objects.memory().exhausted() {
                into.loss.tasks_cut += 1;
                continue;
            }
            match self.task(id, &around) {
                Reading::Task(task) => into.tasks.push(*task),
                Reading::Done => {}
                Reading::Gone => into.loss.vanished += 1,
                Reading::Unreadable => into.loss.unreadable += 1,
            }
        }
        if let Some(later) = self.tasks(registry, usize::MAX).filter(|l| l.torn == 0) {
            let kept = into.tasks.split_off(before);
            let (there, ended): (Vec<_>, Vec<_>) = kept
                .into_iter()
                .partition(|task| later.tasks.contains(&task.id));
            into.tasks.extend(there);
            into.loss.vanished += ended.len() as u64;
        }
        count(&mut into.loss, &into.tasks[before..]);
        loops.add(threads, self.current(registry));
    }
}

fn count(loss: &mut TaskLoss, tasks: &[Task]) {
    let number = |what: fn(&Task) -> bool| tasks.iter().filter(|task| what(task)).count() as u64;
    loss.torn += number(|task| task.torn);
    loss.frames_cut += number(|task| task.frames_cut);
}

/// The clock of event loops.
fn monotonic() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::try_from(now).unwrap_or_default()
}
