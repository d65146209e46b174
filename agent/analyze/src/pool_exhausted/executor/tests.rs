//! Executors without a free thread.

use crate::waits::tests::sleeps;
use crate::{Thresholds, judge};
use remora_model::fixture::Builder;
use remora_model::{Capture, PythonPool, Reason};

const WORKER: [&str; 3] = [
    "p:Thread.run@/usr/lib/python3.11/threading.py:982",
    "p:_worker@/usr/lib/python3.11/concurrent/futures/thread.py:81",
    "p:_WorkItem.run@/usr/lib/python3.11/concurrent/futures/thread.py:58",
];
const EVENT: [&str; 3] = [
    "p:load@/srv/app.py:7",
    "p:Event.wait@/usr/lib/python3.11/threading.py:622",
    "p:Condition.wait@/usr/lib/python3.11/threading.py:320",
];

/// A loop in its wait, and two workers in jobs for so many seconds, with so many jobs queued.
fn executor(seconds: u64, reason: Reason, queued: u64) -> Capture {
    let mut builder = Builder::new(1, "python3");
    builder.thread(1, 2, "worker-0");
    builder.thread(1, 3, "worker-1");
    sleeps(&mut builder, 0, Reason::Epoll, &["p:main@/srv/app.py:1"], 0);
    let job = [&WORKER[..], &EVENT[..]].concat();
    sleeps(&mut builder, 1, Reason::Futex, &job, 60);
    sleeps(&mut builder, 2, reason, &job, seconds);
    builder.0.python_pools.push(PythonPool {
        pid: 1,
        object: 0x7f00,
        size: 2,
        queued,
        workers: vec![2, 3],
    });
    builder.finish()
}

fn kinds(capture: &Capture) -> Vec<&'static str> {
    let judgement = judge(capture, &Thresholds::default());
    judgement.findings().map(|it| it.kind.name()).collect()
}

#[test]
fn jobs_that_no_thread_will_take_are_told() {
    let capture = executor(40, Reason::Futex, 5);
    let judgement = judge(&capture, &Thresholds::default());
    let finding = judgement.findings().next().expect("told");
    assert_eq!(finding.kind.name(), "pool_exhausted");
    assert!(
        finding.summary.contains("all 2 executor threads") && finding.summary.contains("5 jobs"),
        "{}",
        finding.summary
    );
    let said: Vec<_> = finding.evidence.iter().map(|it| &*it.value).collect();
    assert!(said.iter().any(|it| it.contains("size 2")), "{said:?}");
    assert!(said.iter().any(|it| it.contains("worker-1")), "{said:?}");
    assert!(said.iter().any(|it| it.contains("app.py:7")), "{said:?}");
}

#[test]
fn an_executor_that_moves_or_has_no_jobs_left_is_not() {
    assert!(kinds(&executor(40, Reason::Futex, 0)).is_empty());
    assert!(kinds(&executor(5, Reason::Futex, 5)).is_empty(), "it moved");
    assert!(kinds(&executor(40, Reason::Sleep, 5)).is_empty(), "a timer");
    let mut capture = executor(40, Reason::Futex, 5);
    capture.python_pools[0].size = 3;
    assert!(kinds(&capture).is_empty(), "a third thread may come");
}
