//! The `threads` of `report.json`: for each where its time went and what it does now.

use super::frames;
use crate::shares::Shares;
use crate::{label, nanos};
use remora_model::IdlePlaces;
use remora_model::{self as model, Capture, GilUse, Stack, Syscall, Wake};
use serde::Serialize;
use std::collections::HashMap;
use std::time::Duration;

/// Wakers listed for a thread.
const WAKERS: usize = 10;

/// A thread's time by state.
#[derive(Serialize)]
pub(super) struct Thread<'a> {
    pid: u32,
    tid: u32,
    comm: &'a str,
    /// What Python's `threading` calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    python_name: Option<&'a str>,
    /// What Java calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    java_name: Option<&'a str>,
    /// So many threads that ended, together.
    #[serde(skip_serializing_if = "is_zero")]
    summed_threads: u64,
    /// Its life inside the capture.
    observed_ns: u64,
    on_cpu_ns: u64,
    run_queue: RunQueue,
    /// How often the scheduler moved it to another CPU; `null` where the kernel does not say.
    migrations: Option<u64>,
    blocked: Vec<Blocked>,
    /// Blocked in its normal idle: the sum of `idle_ns`.
    idle_ns: u64,
    /// Part of that is inferred (a worker's).
    idle_inferred: bool,
    /// Time that no state accounts for.
    unaccounted_ns: u64,
    now: Now,
    /// How it stood to the lock of its Python interpreter; `null` for a thread that is none of one's.
    gil: Option<Gil>,
    /// Who woke it most, by the time that it had been blocked before.
    wakers: Vec<Waker<'a>>,
}

/// Waits for a CPU.
#[derive(Serialize)]
struct RunQueue {
    after_wake_ns: u64,
    wakes: u64,
    preempted_ns: u64,
    preemptions: u64,
    longest_ns: u64,
}

/// Waits for one reason.
#[derive(Serialize)]
struct Blocked {
    reason: &'static str,
    total_ns: u64,
    count: u64,
    /// Those under `min_block_ns`.
    short_ns: u64,
    short_count: u64,
    /// The part that is the thread's normal idle.
    idle_ns: u64,
}

/// What it does at the end of the capture.
#[derive(Serialize)]
struct Now {
    /// `unknown`, `running`, `runnable`, `blocked` or `exited`.
    state: &'static str,
    /// For how long; may be longer than the capture.
    since_s: f64,
    /// Its beginning was not observed.
    since_inferred: bool,
    reason: Option<&'static str>,
    syscall: Option<&'static str>,
    /// Arguments of the system call in hexadecimal; empty when it is in none.
    args: Vec<String>,
    /// This wait is its normal idle.
    idle: bool,
    /// 0: an interrupt, or none seen.
    waker_tid: u32,
    /// Leaf first.
    stack: Vec<String>,
    /// `held`, `waiting`, `not_held` or `unknown`; `null` outside of Python, and for a thread that was
    /// not looked at, because it ran.
    gil: Option<&'static str>,
}

/// A thread and the interpreter lock.
#[derive(Serialize)]
struct Gil {
    held_samples: u64,
    not_held_samples: u64,
    /// Long waits for it.
    waits: u64,
    waited_ns: u64,
}

/// A thread that woke it.
#[derive(Serialize)]
struct Waker<'a> {
    /// 0 for an interrupt.
    tid: u32,
    pid: u32,
    comm: &'a str,
    reason: &'static str,
    count: u64,
    blocked_ns: u64,
}

/// All threads, in the order of the capture.
pub(super) fn threads(capture: &Capture) -> Vec<Thread<'_>> {
    let mut wakes: HashMap<usize, Vec<&Wake>> = HashMap::new();
    for wake in &capture.wakes {
        wakes.entry(wake.thread).or_default().push(wake);
    }
    let shares = Shares::of_threads(capture);
    let places = IdlePlaces::new(capture);
    let gil = GilUse::of_threads(capture);
    let threads = capture.threads.iter().enumerate().zip(&shares).zip(gil);
    threads
        .map(|(((index, thread), shares), gil)| Thread {
            pid: thread.pid,
            tid: thread.tid,
            comm: &thread.comm,
            python_name: thread.python_name.as_deref(),
            java_name: thread.java_name.as_deref(),
            summed_threads: thread.summed,
            observed_ns: nanos(thread.observed),
            on_cpu_ns: nanos(thread.on_cpu),
            run_queue: run_queue(&thread.run_queue),
            migrations: thread.migrations,
            blocked: blocked(thread, shares),
            idle_ns: nanos(shares.idle_total()),
            idle_inferred: shares.inferred,
            unaccounted_ns: nanos(shares.unaccounted()),
            now: now(capture, &thread.now, places.now_is_idle(index)),
            gil: gil.map(|gil| Gil {
                held_samples: gil.held_samples,
                not_held_samples: gil.not_held_samples,
                waits: gil.waits,
                waited_ns: nanos(gil.waited),
            }),
            wakers: wakers(wakes.remove(&index).unwrap_or_default()),
        })
        .collect()
}

const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn run_queue(queue: &model::RunQueue) -> RunQueue {
    RunQueue {
        after_wake_ns: nanos(queue.after_wake),
        wakes: queue.wakes,
        preempted_ns: nanos(queue.preempted),
        preemptions: queue.preemptions,
        longest_ns: nanos(queue.longest),
    }
}

fn blocked(thread: &model::Thread, shares: &Shares) -> Vec<Blocked> {
    let mut list: Vec<_> = thread.waits.iter().collect();
    list.sort_by_key(|totals| (std::cmp::Reverse(totals.total), totals.reason));
    let idle = |reason| shares.idle.get(&reason).copied().unwrap_or(Duration::ZERO);
    list.into_iter()
        .map(|totals| Blocked {
            reason: totals.reason.label(),
            total_ns: nanos(totals.total),
            count: totals.count,
            short_ns: nanos(totals.short),
            short_count: totals.short_count,
            idle_ns: nanos(idle(totals.reason)),
        })
        .collect()
}

fn now(capture: &Capture, now: &model::Now, idle: bool) -> Now {
    let in_call = now.syscall.is_some();
    let stack = now.stack.and_then(|index| capture.stacks.get(index));
    Now {
        state: label::state(now.state),
        since_s: now.since.as_secs_f64(),
        since_inferred: now.since_inferred,
        reason: now.reason.map(model::Reason::label),
        syscall: now.syscall.map(Syscall::name),
        args: now
            .args
            .iter()
            .filter(|_| in_call)
            .map(|arg| format!("{arg:#x}"))
            .collect(),
        idle,
        waker_tid: now.waker_tid,
        stack: frames(stack),
        gil: stack.and_then(Stack::gil).map(gil_name),
    }
}

const fn gil_name(gil: model::Gil) -> &'static str {
    match gil {
        model::Gil::Held => "held",
        model::Gil::WaitedFor => "waiting",
        model::Gil::NotHeld => "not_held",
        model::Gil::Unknown => "unknown",
    }
}

fn wakers(mut wakes: Vec<&Wake>) -> Vec<Waker<'_>> {
    wakes.sort_by_key(|wake| {
        (
            std::cmp::Reverse((wake.blocked, wake.count)),
            wake.waker_tid,
            wake.reason,
        )
    });
    wakes.truncate(WAKERS);
    wakes
        .into_iter()
        .map(|wake| Waker {
            tid: wake.waker_tid,
            pid: wake.waker_pid,
            comm: &wake.waker,
            reason: wake.reason.label(),
            count: wake.count,
            blocked_ns: nanos(wake.blocked),
        })
        .collect()
}
