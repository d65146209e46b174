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

/// A session of a database waits in these functions of the server's.
fn session(module: &str, reason: Reason, words: &[&str]) -> Vec<Finding> {
    let mut builder = Builder::new(1, module);
    sleeps(&mut builder, 0, reason, words, 60);
    let mut capture = builder.finish();
    for frame in &mut capture.stacks.last_mut().expect("a stack").frames {
        frame.module = Some(format!("/usr/sbin/{module}").into());
    }
    found(&capture)
}

#[test]
fn a_session_of_a_database_that_waits_for_a_row_or_a_table_is_told_with_what_to_ask() {
    let update = ["main", "PostmasterMain", "PostgresMain", "PortalRun"];
    let row = ["heap_update", "XactLockTableWait", "LockAcquireExtended"];
    let latch = ["ProcSleep", "WaitLatch", "WaitEventSetWait", "epoll_wait"];
    let said = session(
        "postgres",
        Reason::Epoll,
        &[&update[..], &row, &latch].concat(),
    );
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].kind.name(), "lock_stuck");
    assert!(
        said[0].next.contains("pg_blocking_pids(1)"),
        "{}",
        said[0].next
    );
    // Leaders of applications wait for an advisory lock for good; a session waits for its client.
    for at_rest in [
        &[
            &update[..],
            &["pg_advisory_lock_int8", "LockAcquire"],
            &latch,
        ]
        .concat(),
        &[
            &update[..],
            &["secure_read", "WaitEventSetWait", "epoll_wait"],
        ]
        .concat(),
    ] {
        assert_eq!(
            session("postgres", Reason::Epoll, at_rest),
            [],
            "{at_rest:?}"
        );
    }
    let alter = [
        "start_thread",
        "handle_one_connection",
        "mysql_alter_table(THD*)",
        "MDL_context::acquire_lock(MDL_request*, double)",
        "MDL_wait::timed_wait(MDL_context_owner*, timespec*, bool, PSI_stage_info_v1 const*)",
        "pthread_cond_timedwait",
    ];
    let said = session("mariadbd", Reason::Futex, &alter);
    assert_eq!(said.len(), 1);
    assert!(said[0].next.contains("processlist"), "{}", said[0].next);
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
