//! Locks that are not handed over.

use crate::graph::tests::lock;
use crate::waits::tests::sleeps;
use crate::{Thresholds, judge};
use remora_model::fixture::Builder;
use remora_model::{Capture, Finding, Lock, LockKind, Reason, State};

const SLOW: [&str; 4] = [
    "start_thread",
    "transfer",
    "parking_lot::raw_mutex::RawMutex::lock_slow",
    "syscall",
];

fn found(capture: &Capture) -> Vec<Finding> {
    let judgement = judge(capture, &Thresholds::default());
    judgement.findings().cloned().collect()
}

/// Two threads wait for locks of parking_lot, each on a futex of its own.
fn two(seconds: u64) -> Builder {
    let mut builder = Builder::new(1, "ledger");
    builder.thread(1, 2, "debit");
    builder.thread(1, 3, "credit");
    sleeps(&mut builder, 0, Reason::Sleep, &["main", "nanosleep"], 0);
    sleeps(&mut builder, 1, Reason::Futex, &SLOW, seconds);
    sleeps(&mut builder, 2, Reason::Futex, &SLOW, seconds);
    builder
}

#[test]
fn a_lock_that_nobody_hands_over_is_told_though_its_holder_is_unknown() {
    let said = found(&two(60).finish());
    let kinds: Vec<_> = said.iter().map(|it| it.kind.name()).collect();
    assert_eq!(kinds, ["lock_stuck", "lock_stuck"]);
    assert!(
        said[0].summary.contains("waits for a lock for 60.0 s"),
        "{}",
        said[0].summary
    );
    assert!(
        said[0].summary.contains("holder unknown"),
        "{}",
        said[0].summary
    );
    assert!(found(&two(9).finish()).is_empty(), "under the threshold");
}

#[test]
fn a_known_holder_is_named_with_what_it_does() {
    let mut builder = two(60);
    builder.0.threads[2].now.state = State::Running;
    let mut capture = builder.finish();
    let mutex = lock(&capture, 0x1001, 2, &[1]);
    capture.locks.push(mutex);
    let said = found(&capture);
    assert_eq!(said.len(), 1);
    assert!(
        said[0].summary.contains("held by credit-3") || said[0].summary.contains("credit-3"),
        "{}",
        said[0].summary
    );
    assert!(
        said[0].next.starts_with("Find why the holder"),
        "{}",
        said[0].next
    );
}

#[test]
fn a_semaphore_that_counts_jobs_at_work_is_a_limit_and_no_lock() {
    let acquires = [
        "p:<module>@/srv/crawl.py:9",
        "p:fetch@/srv/crawl.py:3",
        "p:Semaphore.acquire@/usr/lib/python3.11/threading.py:468",
        "p:Condition.wait@/usr/lib/python3.11/threading.py:320",
        "PyThread_acquire_lock_timed",
    ];
    let mut builder = Builder::new(1, "python3");
    builder.thread(1, 2, "worker");
    sleeps(&mut builder, 0, Reason::Futex, &acquires, 60);
    sleeps(
        &mut builder,
        1,
        Reason::SocketReceive,
        &["start_thread", "f", "recv"],
        1,
    );
    assert!(found(&builder.0).is_empty(), "a worker waits for a peer");
    sleeps(
        &mut builder,
        1,
        Reason::Sleep,
        &["start_thread", "f", "nanosleep"],
        1,
    );
    assert_eq!(found(&builder.0).len(), 1, "nobody works");
}

#[test]
fn waiters_that_are_parked_for_one_lock_are_told_at_once() {
    let mut capture = two(60).finish();
    let parked = |capture: &Capture, futex: u64, waiter: usize| Lock {
        owner: None,
        kind: LockKind::Futex,
        parked_at: Some(0x55aa_0010),
        ..lock(capture, futex, 0, &[waiter])
    };
    for (futex, waiter) in [(0x1000, 1), (0x2000, 2)] {
        let lock = parked(&capture, futex, waiter);
        capture.locks.push(lock);
    }
    let said = found(&capture);
    assert_eq!(said.len(), 1, "{said:#?}");
    let evidence: Vec<_> = said[0].evidence.iter().map(|it| &*it.value).collect();
    let has = |words: &str| evidence.iter().any(|it| it.contains(words));
    assert!(
        has("a lock 0x55aa0010 in") && has("1 more waiter"),
        "{evidence:?}"
    );
}
