//! What is said of waits that nobody can explain, and of those that somebody can.

use crate::waits::tests::sleeps;
use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, ms};
use remora_model::{Judgement, Reason, Site, Verdict};

const DEEP: [&str; 7] = [
    "main",
    "a",
    "b",
    "c",
    "d",
    "await_reply",
    "pthread_cond_wait",
];

fn judged(words: &[&str], seconds: u64) -> Judgement {
    let mut builder = Builder::new(1, "feed");
    builder.thread(1, 2, "loop");
    sleeps(&mut builder, 0, Reason::Futex, words, seconds);
    sleeps(
        &mut builder,
        1,
        Reason::Epoll,
        &["start_thread", "epoll_wait"],
        1,
    );
    judge(&builder.finish(), &Thresholds::default())
}

#[test]
fn a_long_wait_in_the_middle_of_a_program_is_unclear() {
    let judgement = judged(&DEEP, 45);
    assert_eq!(judgement.verdict, Verdict::Unclear);
    let notice = &judgement.notices[0];
    assert!(
        notice
            .summary
            .contains("cannot tell whether feed (1) is healthy"),
        "{}",
        notice.summary
    );
    assert!(notice.next.contains("await_reply"), "{}", notice.next);
    assert!(judgement.incidents.is_empty());
}

#[test]
fn what_is_explained_at_rest_or_young_is_not() {
    let worker = ["start_thread", "run", "next", "pthread_cond_wait"];
    assert_eq!(judged(&worker, 3600).verdict, Verdict::Idle);
    assert_eq!(judged(&DEEP, 29).verdict, Verdict::Idle);
    let result = ["main", "std::future<int>::get()", "futex_wait"];
    assert_eq!(
        judged(&result, 45).verdict,
        Verdict::Unclear,
        "nobody works"
    );
}

#[test]
fn a_lock_whose_waiters_ask_again_is_unclear_when_they_did_nothing_else() {
    let enter = [
        "start_thread",
        "f",
        "ObjectMonitor::enter(JavaThread*)",
        "pthread_cond_timedwait",
    ];
    let judged = |milliseconds| {
        let mut builder = Builder::new(1, "java");
        sleeps(&mut builder, 0, Reason::Futex, &enter, 0);
        for frames in &mut builder.0.stacks {
            frames.frames[2].module = Some("/usr/lib/jvm/java-17/lib/server/libjvm.so".into());
        }
        builder.0.threads[0].now.args[3] = 0x7000;
        builder.wait_at(0, Reason::Futex, Site::Stack(0), 40, ms(milliseconds));
        judge(&builder.finish(), &Thresholds::default()).verdict
    };
    assert_eq!(judged(29_000), Verdict::Unclear);
    assert_eq!(judged(20_000), Verdict::Idle);
}

#[test]
fn a_session_that_asks_again_for_a_table_is_told_with_what_to_ask_the_server() {
    let table = [
        "start_thread",
        "open_table(THD*, TABLE_LIST*)",
        "MDL_context::acquire_lock(MDL_request*, double)",
        "MDL_wait::timed_wait(MDL_context_owner*)",
        "pthread_cond_timedwait",
    ];
    let mut builder = Builder::new(1, "mariadbd");
    sleeps(&mut builder, 0, Reason::Futex, &table, 0);
    for frame in &mut builder.0.stacks[0].frames {
        frame.module = Some("/usr/sbin/mariadbd".into());
    }
    builder.0.threads[0].now.args[3] = 0x7000;
    builder.wait_at(0, Reason::Futex, Site::Stack(0), 3, ms(29_000));
    let judgement = judge(&builder.finish(), &Thresholds::default());
    assert_eq!(judgement.verdict, Verdict::Unclear);
    let next = &judgement.notices[0].next;
    assert!(next.contains("show full processlist"), "{next}");
}

#[test]
fn a_task_that_asks_a_broker_again_and_again_for_its_own_subtask_is_unclear() {
    let get = [
        "p:Worker.workloop@/srv/lib/python3.11/site-packages/billiard/pool.py:362",
        "p:fast_trace_task@/srv/lib/python3.11/site-packages/celery/app/trace.py:652",
        "p:outer@/srv/own.py:7",
        "p:AsyncResult.get@/srv/lib/python3.11/site-packages/celery/result.py:252",
        "poll",
    ];
    let judged = |words: &[&str], milliseconds| {
        let mut builder = Builder::new(1, "celery");
        sleeps(&mut builder, 0, Reason::Poll, words, 0);
        let observed = &mut builder.0.threads[0].observed;
        *observed = ms(31_000);
        builder.wait_at(0, Reason::Poll, Site::Stack(0), 31, ms(milliseconds));
        judge(&builder.finish(), &Thresholds::default()).verdict
    };
    assert_eq!(judged(&get, 30_500), Verdict::Unclear);
    assert_eq!(judged(&get, 20_000), Verdict::Idle, "it did something else");
    let rests = [get[0], "poll"];
    assert_eq!(judged(&rests, 30_500), Verdict::Idle);
}

#[test]
fn a_wait_that_a_finding_tells_of_is_not_told_again() {
    let stuck = ["main", "a", "b", "c", "d", "e", "f", "__lll_lock_wait"];
    let judgement = judged(&stuck, 45);
    assert_eq!(judgement.verdict.name(), "lock_stuck");
    assert!(judgement.notices.is_empty());
}

#[test]
fn the_longest_waits_are_listed_whatever_they_are() {
    let judgement = judged(&["start_thread", "run", "pthread_cond_wait"], 3600);
    assert!(
        judgement.longest[0].contains("feed-1"),
        "{:?}",
        judgement.longest
    );
    assert_eq!(judgement.longest.len(), 2);
}
