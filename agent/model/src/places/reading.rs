//! What a stack says of the wait at its end, from the wait up to the thread's start.
//!
//! The functions nearest to the wait say what it is: `pthread_cond_wait` a condition, the `Condition.wait` around it
//! the same, `Future.result` around that the answer of another thread. What stands further out says more than what
//! stands further in, up to the first function that is not known: that is the program's own, and what it wants of the
//! wait is not known. Whether the thread is at rest is said by where it stands: in the loop of a pool that fetches
//! work, with nothing of the program's own in between.

use super::{Meaning, function, meaning};
use crate::{Frame, FrameKind, Stack};

/// Functions of the program's own, between the thread's start and a wait, up to which the wait may be the loop of a
/// worker that nobody here knows: `main`'s `run`, its `loop`, its `next`, its `wait_for_work`.
const SHALLOW: usize = 4;

/// Functions of a library between the loop that fetches work and the wait for it: its `dequeue`, its `get`.
const FETCHES: usize = 2;

/// Paths of Python's libraries have this in them.
const LIBRARIES: [&str; 3] = ["/site-packages/", "/dist-packages/", "/lib/python3"];

/// What a stack says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// What the wait is; `None` where no function on it is known.
    pub what: Option<Meaning>,
    /// The function that says so: index of its frame.
    pub by: Option<usize>,
    /// It was guessed from the name of a function that nobody knows.
    pub guessed: bool,
    /// It stands in the loop of a worker that fetches work.
    pub home: bool,
    /// It waits in a job: a worker's loop or what runs jobs stands further out, behind functions of the program's own.
    pub job: bool,
    /// Functions of the program's own that have a name.
    pub own: usize,
    /// Functions of Python's libraries that are not known.
    pub library: usize,
    /// Some function has no name, or the thread's start was not reached.
    pub gaps: bool,
}

impl Reading {
    /// Whether the thread may be one that waits for work: at the bottom of its stack, as far as it can be told.
    pub fn may_rest(&self) -> bool {
        use Meaning::{Condition, Pass, Queue, Runtime, Semaphore, Start};
        if self.home {
            return true;
        }
        let for_work = self.what.is_none_or(|what| {
            matches!(what, Condition | Semaphore | Queue | Runtime | Pass | Start)
        });
        for_work && !self.job && (self.own <= SHALLOW || self.gaps)
    }

    /// Whether it is known to wait for a lock.
    pub fn is_lock(&self) -> bool {
        !self.home && self.what == Some(Meaning::Lock)
    }
}

/// Reads a stack.
pub fn read(stack: &Stack) -> Reading {
    let in_python = stack.frames.iter().any(|it| it.kind == FrameKind::Python);
    let user = stack.frames.iter().enumerate().rev();
    let user = user.filter(|(_, frame)| frame.kind != FrameKind::Kernel);
    let mut reading = Reading {
        gaps: stack.truncated,
        ..Reading::default()
    };
    let mut in_queue = false;
    for (at, frame) in user {
        match meaning(frame) {
            Some(Meaning::Pass | Meaning::Start) => {}
            Some(Meaning::Home) => {
                let is_lock = reading.what == Some(Meaning::Lock);
                let near = reading.own == 0 && reading.library <= FETCHES;
                reading.home = near && !reading.job && !is_lock;
                reading.job = !reading.home;
                // What is further out is the pool's.
                return reading;
            }
            Some(Meaning::Job) => reading.job = true,
            Some(what) if reading.own == 0 && !reading.job => reading.says(what, at),
            Some(_) => {}
            None if in_python && is_interpreter(frame) => in_queue |= is_of_queue(frame),
            // Java's and JavaScript's functions are many for each step of the program's.
            None if !frame.named || frame.kind == FrameKind::Jit => reading.gaps = true,
            None if reading.own == 0 && function::names_lock(&frame.name) => {
                reading.guessed |= reading.what != Some(Meaning::Lock);
                reading.says(Meaning::Lock, at);
            }
            // What the compiler put into its caller is no step of its own.
            None if frame.kind == FrameKind::Inlined => {}
            None => {
                if reading.own == 0 && is_lock_of_python(&reading, frame, in_queue) {
                    reading.says(Meaning::Lock, at);
                }
                match is_library(frame) {
                    true => reading.library += 1,
                    false => reading.own += 1,
                }
            }
        }
    }
    reading
}

impl Reading {
    fn says(&mut self, what: Meaning, by: usize) {
        self.what = Some(what);
        self.by = Some(by);
    }
}

/// A function of Python's that calls into the interpreter, and waits there for what all locks of CPython up to 3.13
/// are made of: it takes a lock, unless a queue written in C stands in between.
fn is_lock_of_python(reading: &Reading, frame: &Frame, in_queue: bool) -> bool {
    frame.kind == FrameKind::Python && reading.what == Some(Meaning::Semaphore) && !in_queue
}

/// A function of Python that came with the interpreter or a package.
fn is_library(frame: &Frame) -> bool {
    let file = frame.file.as_deref().unwrap_or_default();
    frame.kind == FrameKind::Python && LIBRARIES.iter().any(|part| file.contains(part))
}

fn is_of_queue(frame: &Frame) -> bool {
    frame
        .module
        .as_deref()
        .is_some_and(|module| module.contains("/_queue."))
}

/// A compiled frame under Python's: the interpreter's, or an extension that comes with it.
fn is_interpreter(frame: &Frame) -> bool {
    let module = frame.module.as_deref().unwrap_or_default();
    let file = module.rsplit('/').next().unwrap_or(module);
    frame.kind != FrameKind::Python
        && (file.starts_with("python")
            || file.starts_with("libpython")
            || module.contains("/lib-dynload/")
            || frame.name.starts_with("_Py")
            || frame.name.starts_with("Py"))
}
