//! Locks and other futexes.

use super::{frames, nanos};
use remora_model::{self as model, Capture, LockStack, OwnerFrom};
use serde::Serialize;

/// Stacks listed of each side.
const STACKS: usize = 5;

/// A futex.
#[derive(Serialize)]
pub(super) struct Lock<'a> {
    pid: u32,
    /// Hexadecimal.
    address: String,
    place: &'a str,
    shared: bool,
    kind: &'static str,
    /// Told from the form of its waits, not from its memory.
    kind_inferred: bool,
    operations: Vec<&'static str>,
    waits: u64,
    total_ns: u64,
    worst_ns: u64,
    waiters: Vec<Waiter<'a>>,
    owner: Option<Owner<'a>>,
    /// Who holds it by their code, where its memory names nobody.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keepers: Vec<Keeper<'a>>,
    /// Threads that read under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    readers: Option<u32>,
    /// Where the lock lies whose waiter has this futex for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    parked_at: Option<String>,
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

/// A thread that will free it.
#[derive(Serialize)]
struct Keeper<'a> {
    tid: u32,
    comm: &'a str,
    /// The function that does, leaf first with what is inlined.
    frame: Vec<String>,
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
pub(super) fn locks(capture: &Capture) -> Vec<Lock<'_>> {
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
        operations: lock.operations.iter().map(|it| it.name()).collect(),
        waits: lock.waits,
        total_ns: nanos(lock.total),
        worst_ns: nanos(lock.longest),
        waiters: waiters.collect(),
        owner: lock.owner.as_ref().map(|owner| {
            let (certainty, how) = match owner.from {
                OwnerFrom::Word => ("certain", "the futex word holds its id"),
                OwnerFrom::Memory => ("certain", "the lock's owner field holds its id"),
                OwnerFrom::Code => ("inferred", "its code frees it after the call it is in"),
                OwnerFrom::LastWaker => ("inferred", "it woke a waiter last"),
            };
            Owner {
                tid: owner.tid,
                comm: &owner.comm,
                certainty,
                how,
            }
        }),
        keepers: lock
            .keepers
            .iter()
            .map(|keeper| Keeper {
                tid: keeper.tid,
                comm: &keeper.comm,
                frame: frames(capture.stacks.get(keeper.frame)),
            })
            .collect(),
        readers: (lock.readers > 0).then_some(lock.readers),
        parked_at: lock.parked_at.map(|address| format!("{address:#x}")),
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

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::fixture::{Builder, lock, ms};

    #[test]
    fn a_lock_is_written_with_both_of_its_sides() {
        let mut builder = Builder::new(7, "server");
        let waiter = builder.thread(7, 8, "waiter");
        let (waits, holds) = (
            builder.stack(&["main", "take"]),
            builder.stack(&["main", "hold"]),
        );
        let of = |thread: usize, stack: usize| LockStack {
            thread,
            stack,
            count: 2,
            total: ms(40),
        };
        let found = model::Lock {
            waits: 2,
            total: ms(40),
            longest: ms(30),
            waiters: vec![model::Waiter {
                thread: waiter,
                waits: 2,
                total: ms(40),
                now: true,
            }],
            owner: Some(model::Owner {
                tid: 7,
                comm: "server".into(),
                from: OwnerFrom::Memory,
            }),
            wakers: vec![(7, "server".into(), 1)],
            holders: vec![model::Holder {
                tid: 7,
                comm: "server".into(),
                waits: 2,
                total: ms(40),
                longest: ms(30),
            }],
            waiter_stacks: vec![of(waiter, waits); STACKS + 1],
            holder_stacks: vec![of(0, holds), of(99, holds)],
            ..lock(7, 0xffff_0000_0000_1000)
        };
        builder.0.locks = vec![found];
        let capture = builder.finish();
        let mut written = serde_json::to_value(locks(&capture)).expect("plain data");
        let stacks = written[0]["waiter_stacks"].as_array_mut().expect("a list");
        assert_eq!(stacks.len(), STACKS);
        stacks.truncate(1);
        insta::assert_snapshot!(serde_json::to_string_pretty(&written).expect("plain data"));
    }

    #[test]
    fn what_is_inferred_and_what_is_not_known_says_so() {
        let mut builder = Builder::new(7, "server");
        let guessed = model::Lock {
            owner: Some(model::Owner {
                tid: 7,
                comm: "server".into(),
                from: OwnerFrom::LastWaker,
            }),
            waiters: vec![model::Waiter {
                thread: 99,
                waits: 1,
                total: ms(1),
                now: false,
            }],
            ..lock(7, 0x1000)
        };
        builder.0.locks = vec![guessed, lock(7, 0x2000)];
        let capture = builder.finish();
        let written = serde_json::to_value(locks(&capture)).expect("plain data");
        assert_eq!(written[0]["owner"]["certainty"], "inferred");
        assert_eq!(
            written[0]["waiters"],
            serde_json::json!([]),
            "no such thread"
        );
        assert_eq!(written[1]["owner"], serde_json::Value::Null);
        assert_eq!(written[1]["last_waker"], serde_json::Value::Null);
    }
}
