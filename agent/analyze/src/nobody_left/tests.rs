//! Processes in which nobody is left.

use crate::waits::tests::sleeps;
use crate::{Thresholds, judge};
use remora_model::fixture::Builder;
use remora_model::{Capture, Reason, Verdict};

const WORKER: [&str; 2] = [
    "p:Thread.run@/usr/lib/python3.11/threading.py:982",
    "p:_worker@/usr/lib/python3.11/concurrent/futures/thread.py:81",
];
const JOB: [&str; 4] = [
    "p:_WorkItem.run@/usr/lib/python3.11/concurrent/futures/thread.py:58",
    "p:report@/srv/report.py:8",
    "p:Future.result@/usr/lib/python3.11/concurrent/futures/_base.py:451",
    "p:Condition.wait@/usr/lib/python3.11/threading.py:320",
];
const MAIN: [&str; 3] = [
    "p:<module>@/srv/report.py:14",
    "p:Future.result@/usr/lib/python3.11/concurrent/futures/_base.py:451",
    "p:Condition.wait@/usr/lib/python3.11/threading.py:320",
];

/// A pool of two, and the main thread that waits for a job of it; `nested` of the workers wait for another job.
fn pool(nested: usize) -> Builder {
    let mut builder = Builder::new(1, "python3");
    sleeps(&mut builder, 0, Reason::Futex, &MAIN, 60);
    for worker in 1..3 {
        builder.thread(1, 1 + worker as u32, "pool");
        let words = [&WORKER[..], if worker <= nested { &JOB } else { &[] }].concat();
        sleeps(&mut builder, worker, Reason::Futex, &words, 60);
    }
    builder
}

fn verdict(capture: &Capture) -> &'static str {
    judge(capture, &Thresholds::default()).verdict.name()
}

#[test]
fn jobs_that_wait_for_jobs_of_their_own_pool_are_a_deadlock() {
    let capture = pool(2).finish();
    let judgement = judge(&capture, &Thresholds::default());
    let finding = judgement.findings().next().expect("a deadlock");
    assert_eq!(finding.kind.name(), "deadlock");
    assert!(
        finding.summary.contains("all 3 threads"),
        "{}",
        finding.summary
    );
    let said: Vec<_> = finding.evidence.iter().map(|it| &*it.value).collect();
    assert!(said.iter().any(|it| it.contains("report.py:8")), "{said:?}");
}

#[test]
fn somebody_who_could_wake_them_makes_it_none() {
    let mut builder = pool(2);
    builder.thread(1, 9, "loop");
    sleeps(
        &mut builder,
        3,
        Reason::Epoll,
        &["start_thread", "epoll_wait"],
        60,
    );
    assert_ne!(verdict(&builder.0), "deadlock", "an event loop");
    sleeps(
        &mut builder,
        3,
        Reason::Sleep,
        &["start_thread", "nanosleep"],
        60,
    );
    assert_ne!(verdict(&builder.0), "deadlock", "a timer");
    let mut young = pool(2);
    young.0.threads[1].now.since = std::time::Duration::from_secs(9);
    assert_ne!(verdict(&young.0), "deadlock", "it moved just now");
}

#[test]
fn a_process_whose_threads_all_rest_is_idle() {
    let mut builder = pool(0);
    let main = ["main", "join_all", "pthread_join"];
    sleeps(&mut builder, 0, Reason::Futex, &main, 600);
    assert_eq!(
        judge(&builder.0, &Thresholds::default()).verdict,
        Verdict::Idle
    );
}
