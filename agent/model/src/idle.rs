//! Telling a thread that waits for work from one that is held up.
//!
//! An event loop in `epoll_wait` and a worker on its queue spend nearly all their time waiting,
//! and nobody asks why. Drawn beside the waits that hold a thread up, they drown them. So they are
//! set apart, by a rule that would rather call an idle wait busy than hide one busy wait:
//!
//! - `epoll` is idle by what it is: certain. `poll` is not: with one descriptor it is how database
//!   clients and sockets with a time limit wait for an answer.
//! - A worker is inferred. Its wait has to be of a kind that is used to wait for work (a
//!   connection, a signal, a completion, a poll of several descriptors, a condition variable or
//!   semaphore), at its *home site*: one reason and one stack of user frames that holds at least
//!   half of the thread's blocked time. A thread that waits in many places is at home in none.
//! - Nothing else is ever idle: a mutex, bytes of a socket, a sleep, a disk, a pipe, a child.
//!
//! The kernel tells a condition variable from a mutex by the futex operation only where the C
//! library makes that difference (glibc does). Rust's standard library waits for its mutexes with
//! the condition variable's operation, and so do glibc's read-write locks. So the stack has to agree
//! ([`places`]): a lock is never idle, nor is a wait in a job that a worker runs, or deep inside the
//! program; a wait at the bottom of a stack, in the loop that fetches work, is. What is left is a wait of
//! the right form, in the right place, that never ends: a lost wake-up. `analyze::waits` looks for who could
//! end it.

use super::{Frame, FrameKind, Site, Stack, Thread, Wait, places};
use remora_common::reason::Reason;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;

/// Whether a wait is a thread's normal idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
pub enum Idleness {
    /// It holds the thread up.
    Busy,
    /// An event loop that waits for events: certain, by the system call.
    EventLoop,
    /// A worker that waits for work: inferred, from the form of the wait and its dominance.
    Worker,
}

/// Whether waits for this reason are an event loop's idle wherever they happen.
pub const fn is_event_loop(reason: Reason) -> bool {
    matches!(reason, Reason::Epoll)
}

/// Decides for each wait whether it is its thread's normal idle. `waits` refer to `stacks` and
/// `threads` by index; a reference that leads nowhere is never idle.
pub fn classify(waits: &mut [Wait], stacks: &[Stack], threads: &[Thread]) {
    let sites = user_sites(stacks);
    let candidate = |wait: &Wait| candidate(wait, stacks, &sites);
    let homes = homes(waits, threads, candidate);
    for wait in waits {
        wait.idle = if is_event_loop(wait.reason) {
            Idleness::EventLoop
        } else if candidate(wait).is_some_and(|place| homes.contains_key(&place)) {
            Idleness::Worker
        } else {
            Idleness::Busy
        };
    }
}

/// For each stack the first one with the same user frames, as an index; `None` where there are no
/// user frames. A wait is at the same site whatever the kernel's frames are: they differ between a
/// stack taken on the way back and one taken of a thread that sleeps.
pub fn user_sites(stacks: &[Stack]) -> Vec<Option<usize>> {
    let mut first: HashMap<Vec<&Frame>, usize> = HashMap::new();
    let sites = stacks.iter().enumerate().map(|(index, stack)| {
        let user: Vec<_> = stack
            .frames
            .iter()
            .filter(|frame| frame.kind != FrameKind::Kernel)
            .collect();
        (!user.is_empty()).then(|| *first.entry(user).or_insert(index))
    });
    sites.collect()
}

/// A place where a thread may wait for work: thread, reason, index from [`user_sites`].
type Place = (usize, Reason, usize);

/// The places that hold at least half of their thread's blocked time, with that time.
fn homes(
    waits: &[Wait],
    threads: &[Thread],
    candidate: impl Fn(&Wait) -> Option<Place>,
) -> HashMap<Place, Duration> {
    let mut places: HashMap<Place, Duration> = HashMap::new();
    let mut blocked: Vec<Duration> = vec![Duration::ZERO; threads.len()];
    for wait in waits {
        if let Some(sum) = blocked.get_mut(wait.thread) {
            *sum = sum.saturating_add(wait.total);
        }
        if let Some(place) = candidate(wait) {
            let sum = places.entry(place).or_default();
            *sum = sum.saturating_add(wait.total);
        }
    }
    places.retain(|&(thread, ..), time| {
        let (Some(sum), Some(thread)) = (blocked.get(thread), threads.get(thread)) else {
            return false;
        };
        // The totals hold what the table of stacks had no room for.
        let whole = thread.blocked().max(*sum);
        !time.is_zero() && time.saturating_mul(2) >= whole
    });
    places
}

/// The place of a wait that may be a worker's idle, by its kind and stack alone.
fn candidate(wait: &Wait, stacks: &[Stack], sites: &[Option<usize>]) -> Option<Place> {
    let Site::Stack(index) = wait.site else {
        return None;
    };
    let (stack, site) = (stacks.get(index)?, (*sites.get(index)?)?);
    let for_work = match wait.reason {
        Reason::SocketAccept | Reason::SignalWait | Reason::IoUring => true,
        Reason::Poll => wait.event_form,
        Reason::Futex => wait.event_form && places::read(stack).may_rest(),
        _ => false,
    };
    for_work.then_some((wait.thread, wait.reason, site))
}

/// Whether a stack leads into a lock.
pub fn takes_lock(stack: &Stack) -> bool {
    places::read(stack).is_lock()
}

#[cfg(test)]
mod tests;
