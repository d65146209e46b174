//! Nothing waits without a limit: one place for the limits of all steps, and for the threads that may hang.
//!
//! A read of `/proc/PID/maps` waits for the target's memory lock, a file on a dead NFS or FUSE mount for its server,
//! a page of another process for its disk. No signal but a fatal one ends such a wait. So whatever may block in the
//! kernel runs on a thread of this module ([`run`]), and the caller waits for the step's limit and not longer. Then the
//! step is **given up**: its thread is left to itself, the subject (a process, a file system) counts as stuck, and
//! later steps about it are refused at once, until that thread comes back. What was given up is told by
//! [`take_given_up`], and stands under `loss` and in the verdict's note.
//!
//! | module | what |
//! | --- | --- |
//! | `step` | the steps, their limits and what each costs when it is given up |
//! | `pool` | the threads: a bounded number, nobody joins them |
//! | `stuck` | which subjects do not answer, and what was given up for that |
//! | `hurry` | the user wants the report now |
//!
//! A thread that is ready to run and gets no CPU is slow, not stuck: it gets its limit several times over
//! (`EXTENSIONS`), unless the user is in a hurry.

mod hurry;
mod pool;
mod step;
mod stuck;

pub use hurry::{hurry, left};
pub use step::Step;
pub use stuck::{GivenUp, Subject, anything_hangs, is_stuck, note as gave_up, take_given_up};

use pool::Ticket;
use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

/// How many times more a step may take while its thread runs or waits for a CPU.
const EXTENSIONS: u32 = 5;
/// How often a wait looks whether the user is in a hurry.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `work`, which may block in the kernel, on a thread of its own, and waits for it within the limit of `step`.
///
/// `None`: it was given up, and that is noted. It may still run; what it returns is dropped.
pub fn run<T: Send + 'static>(
    step: Step,
    about: Subject,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if is_stuck(about) {
        stuck::note(step, about);
        return None;
    }
    let (give, given) = sync_channel(1);
    let ticket = pool::submit(about, move || {
        // Nobody waits any more: nobody's loss.
        drop(give.send(work()));
    });
    let _asking = pool::Asking::begins();
    let answer = ticket.and_then(|ticket| wait(step, &given, &ticket));
    if answer.is_none() {
        stuck::note(step, about);
    }
    answer
}

/// Threads that there are before the first step: one step asks for another.
const RESERVED: usize = 2;

/// Makes the first threads.
///
/// # Errors
/// The system gives none.
pub fn prepare() -> Result<(), NoThreads> {
    match pool::reserve(RESERVED) {
        true => Ok(()),
        false => Err(NoThreads),
    }
}

/// The system gives no more threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no thread can be started: the limit of processes is reached; raise `ulimit -u`, pids.max of the cgroup \
     or kernel.pid_max"
)]
pub struct NoThreads;

/// Has a thread do `work`, which may block in the kernel; nobody waits. `false`: there is no thread for it.
pub fn begin(about: Subject, work: impl FnOnce() + Send + 'static) -> bool {
    pool::submit(about, work).is_some()
}

/// Takes from a channel whose other end may hang, until a moment or until the user's time is over.
pub fn receive<T>(from: &Receiver<T>, until: Instant) -> Option<T> {
    loop {
        let left = left(until.saturating_duration_since(Instant::now()));
        match from.recv_timeout(LOOK.min(left)) {
            Ok(taken) => return Some(taken),
            Err(RecvTimeoutError::Timeout) if !left.is_zero() => {}
            Err(_) => return None,
        }
    }
}

/// Waits for an answer; `None` when the time is over, or the thread panicked.
fn wait<T>(step: Step, given: &Receiver<T>, ticket: &Ticket) -> Option<T> {
    let began = Instant::now();
    let mut until = began + step.limit();
    let last = began + step.limit() * EXTENSIONS;
    loop {
        let now = Instant::now();
        let hurried = hurry::until().map(|hurried| hurried.max(began + step.least()));
        let over = hurried.map_or(until, |hurried| hurried.min(until));
        if now < over {
            match given.recv_timeout(LOOK.min(over - now)) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        if hurried.is_none() && now < last && ticket.is_runnable() {
            until = now + step.limit();
            continue;
        }
        // It may have ended in this very moment.
        return match ticket.abandon() {
            true => None,
            false => given.recv().ok(),
        };
    }
}

#[cfg(test)]
mod tests;
