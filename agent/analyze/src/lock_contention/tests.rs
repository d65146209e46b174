//! Time lost for a lock, and waits that are none.

use crate::graph::tests::{blocks, lock};
use crate::{Thresholds, judge};
use remora_model::{Capture, Holder, Reason, State, fixture::Builder};
use std::time::Duration;

/// A thread has waited all the time for a lock whose holder waits for this reason.
fn held_while(reason: Reason) -> Capture {
    let mut builder = Builder::new(1, "server");
    builder.thread(1, 2, "waiter");
    let mut capture = builder.finish();
    let observed = capture.threads[1].observed;
    assert!(observed >= Duration::from_secs(1));
    let mut lock = lock(&capture, 0x1000, 0, &[1]);
    (lock.total, lock.waiters[0].total) = (observed, observed);
    capture.locks.push(lock);
    blocks(&mut capture, 1, 0x1000, observed.as_millis() as u64);
    let now = &mut capture.threads[0].now;
    (now.state, now.reason) = (State::Blocked, Some(reason));
    capture
}

fn kinds(capture: &Capture) -> Vec<&'static str> {
    let judgement = judge(capture, &Thresholds::default());
    judgement.findings().map(|it| it.kind.name()).collect()
}

#[test]
fn a_lock_that_is_kept_in_a_sleep_is_told_and_one_kept_in_accept_is_a_queue_for_work() {
    let mut held = held_while(Reason::Sleep);
    assert_eq!(
        kinds(&held),
        ["lock_stuck"],
        "in one wait, that says it all"
    );
    held.threads[1].now.since = Duration::from_secs(9);
    assert_eq!(kinds(&held), ["lock_contention"]);
    for idle in [Reason::SocketAccept, Reason::Epoll, Reason::SignalWait] {
        assert!(kinds(&held_while(idle)).is_empty(), "{idle:?}");
    }
}

#[test]
fn a_wait_that_the_end_of_the_process_ended_is_none() {
    let mut capture = held_while(Reason::Sleep);
    for thread in &mut capture.threads {
        thread.now.state = State::Exited;
    }
    capture.locks[0].waiters[0].now = false;
    assert_eq!(
        kinds(&capture),
        ["lock_contention"],
        "it got the lock first"
    );
    capture.processes[0].exited = true;
    assert!(kinds(&capture).is_empty());
    capture.locks[0].waiters[0].waits = 9;
    assert_eq!(kinds(&capture), ["lock_contention"], "eight times it did");
}

/// Two threads hold a lock in turns, and wait for this reason while they do; nobody waits at the end.
fn in_turns(reason: Reason) -> Capture {
    let mut builder = Builder::new(1, "server");
    builder.thread(1, 2, "listener");
    let half = builder.0.threads[0].observed / 2;
    for thread in 0..2 {
        builder.wait(thread, reason, &["main", "listen"], half);
    }
    let mut capture = builder.finish();
    let mut lock = lock(&capture, 0x1000, 0, &[0, 1]);
    lock.owner = None;
    lock.total = 2 * half;
    for (waiter, tid) in lock.waiters.iter_mut().zip([1, 2]) {
        (waiter.total, waiter.waits, waiter.now) = (half, 30, false);
        lock.holders.push(Holder {
            tid,
            comm: "listener".to_owned(),
            waits: 30,
            total: half,
            longest: half / 20,
        });
    }
    capture.locks.push(lock);
    capture
}

#[test]
fn listeners_that_take_turns_in_accept_contend_for_nothing_also_at_work() {
    assert_eq!(kinds(&in_turns(Reason::Sleep)), ["lock_contention"]);
    for idle in [Reason::SocketAccept, Reason::Epoll] {
        assert!(kinds(&in_turns(idle)).is_empty(), "{idle:?}");
    }
    // One of those that held it is not known: what it did meanwhile is not, either.
    let mut unknown = in_turns(Reason::Epoll);
    unknown.locks[0].holders[1].tid = 99;
    assert_eq!(kinds(&unknown), ["lock_contention"]);
}
