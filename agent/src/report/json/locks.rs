//! Locks and other futexes.

use super::{frames, nanos};
use crate::model::{self, Capture, LockStack, OwnerFrom};
use serde::Serialize;

/// Stacks listed of each side.
const STACKS: usize = 5;

/// A futex.
#[derive(Serialize)]
pub struct Lock<'a> {
    pid: u32,
    /// Hexadecimal.
    address: String,
    place: &'a str,
    shared: bool,
    kind: &'static str,
    /// Told from the form of its waits, not from its memory.
    kind_inferred: bool,
    operations: &'a [&'static str],
    waits: u64,
    total_ns: u64,
    worst_ns: u64,
    waiters: Vec<Waiter<'a>>,
    owner: Option<Owner<'a>>,
    last_waker: Option<Waker<'a>>,
    holders: Vec<Holder<'a>>,
    waiter_stacks: Vec<Stack<'a>>,
    holder_stacks: Vec<Stack<'a>>,
}

#[derive(Serialize)]
struct Waiter<'a> {
    tid: u32,
    comm: &'a str,
    waits: u64,
    total_ns: u64,
    /// It waits at the end.
    waits_now: bool,
}

#[derive(Serialize)]
struct Owner<'a> {
    tid: u32,
    comm: &'a str,
    /// `certain` or `inferred`.
    certainty: &'static str,
    how: &'static str,
}

/// Who woke most of its waiters.
#[derive(Serialize)]
struct Waker<'a> {
    tid: u32,
    comm: &'a str,
    wakes: u64,
}

#[derive(Serialize)]
struct Holder<'a> {
    tid: u32,
    comm: &'a str,
    waits: u64,
    total_ns: u64,
    longest_wait_ns: u64,
}

#[derive(Serialize)]
struct Stack<'a> {
    tid: u32,
    comm: &'a str,
    total_ns: u64,
    count: u64,
    /// Leaf first.
    stack: Vec<String>,
}

/// All of them.
pub fn locks(capture: &Capture) -> Vec<Lock<'_>> {
    capture
        .locks
        .iter()
        .map(|found| lock(capture, found))
        .collect()
}

fn lock<'a>(capture: &'a Capture, lock: &'a model::Lock) -> Lock<'a> {
    let waiters = lock.waiters.iter().filter_map(|waiter| {
        let thread = capture.threads.get(waiter.thread)?;
        Some(Waiter {
            tid: thread.tid,
            comm: &thread.comm,
            waits: waiter.waits,
            total_ns: nanos(waiter.total),
            waits_now: waiter.now,
        })
    });
    let holders = lock.holders.iter().map(|holder| Holder {
        tid: holder.tid,
        comm: &holder.comm,
        waits: holder.waits,
        total_ns: nanos(holder.total),
        longest_wait_ns: nanos(holder.longest),
    });
    Lock {
        pid: lock.pid,
        address: format!("{:#x}", lock.address),
        place: &lock.place,
        shared: lock.shared,
        kind: lock.kind.label(),
        kind_inferred: lock.kind_inferred,
        operations: &lock.operations,
        waits: lock.waits,
        total_ns: nanos(lock.total),
        worst_ns: nanos(lock.longest),
        waiters: waiters.collect(),
        owner: lock.owner.as_ref().map(|owner| {
            let (certainty, how) = match owner.from {
                OwnerFrom::Word => ("certain", "the futex word holds its id"),
                OwnerFrom::Memory => ("certain", "the lock's owner field holds its id"),
                OwnerFrom::LastWaker => ("inferred", "it woke a waiter last"),
            };
            Owner {
                tid: owner.tid,
                comm: &owner.comm,
                certainty,
                how,
            }
        }),
        last_waker: lock.wakers.first().map(|(tid, comm, wakes)| Waker {
            tid: *tid,
            comm,
            wakes: *wakes,
        }),
        holders: holders.collect(),
        waiter_stacks: stacks(capture, &lock.waiter_stacks),
        holder_stacks: stacks(capture, &lock.holder_stacks),
    }
}

fn stacks<'a>(capture: &'a Capture, stacks: &[LockStack]) -> Vec<Stack<'a>> {
    let shown = stacks.iter().take(STACKS).filter_map(|stack| {
        let thread = capture.threads.get(stack.thread)?;
        Some(Stack {
            tid: thread.tid,
            comm: &thread.comm,
            total_ns: nanos(stack.total),
            count: stack.count,
            stack: frames(capture.stacks.get(stack.stack)),
        })
    });
    shown.collect()
}
