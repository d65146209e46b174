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
//! the condition variable's operation, and so do glibc's read-write locks, so a stack whose inner
//! user frames name a lock is never idle either. What is left is a wait of the right form, in the
//! right place, that never ends: a lost wake-up. No rule can tell that from a worker without
//! work, which is why reports show for *each* thread what it does now and since when, idle or not.

use super::{Frame, FrameKind, Site, Stack, Thread, Wait};
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

/// How many user frames from the leaf may name the lock that a futex wait is for: the system call,
/// the wrapper of it, the slow path, the lock itself.
const LOCK_FRAMES: usize = 4;

/// Words of a function name that say it takes a lock (`pthread_mutex_lock`, `lock_contended`,
/// `pthread_rwlock_rdlock`): compared with whole words, for `block_on` and `clock` are none.
const LOCK_WORDS: [&str; 9] = [
    "lock",
    "lll",
    "rdlock",
    "wrlock",
    "clockrdlock",
    "clockwrlock",
    "timedlock",
    "rwlock",
    "contended",
];

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
        Reason::Futex => wait.event_form && !takes_lock(stack),
        _ => false,
    };
    for_work.then_some((wait.thread, wait.reason, site))
}

/// Whether the inner user frames of a stack name a lock.
pub fn takes_lock(stack: &Stack) -> bool {
    let user = stack
        .frames
        .iter()
        .rev()
        .filter(|frame| frame.kind != FrameKind::Kernel);
    user.take(LOCK_FRAMES).any(|frame| names_lock(&frame.name))
}

/// Whether the function itself, not its type parameters, arguments or module, is named as a lock.
fn names_lock(name: &str) -> bool {
    let mut depth = 0_u32;
    let mut function = String::new();
    let mut next_segment = false;
    for c in name.chars() {
        match c {
            '<' | '(' | '[' | '{' => depth += 1,
            '>' | ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ':' => next_segment = true,
            _ => {
                if std::mem::take(&mut next_segment) {
                    function.clear();
                }
                function.push(c.to_ascii_lowercase());
            }
        }
    }
    let mut words = function.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| LOCK_WORDS.contains(&word))
}

#[cfg(test)]
mod tests;
