//! Loops that are stuck, and loops that are not.

use super::*;
use crate::{Thresholds, judge};
use remora_model::{
    Capture, EventLoop, Histogram, NoticeKind, PollCount, Reason, Socket, State, Tasks, ThreadLoop,
    Unread, Verdict, Watch,
    fixture::{Builder, ms, socket},
};
use std::time::Duration;

const ASYNCIO: [&str; 3] = [
    "p:BaseEventLoop.run_forever@/usr/lib/python3.11/asyncio/base_events.py:607",
    "p:BaseEventLoop._run_once@/usr/lib/python3.11/asyncio/base_events.py:1922",
    "p:Handle._run@/usr/lib/python3.11/asyncio/events.py:80",
];

fn found(capture: &Capture) -> Vec<(FindingKind, Confidence, String)> {
    let judgement = judge(capture, &Thresholds::default());
    let findings = judgement.findings();
    findings
        .map(|it| (it.kind, it.confidence, it.summary.clone()))
        .collect()
}

fn own_loop(busy_now: Option<Duration>) -> ThreadLoop {
    ThreadLoop {
        thread: 0,
        kind: Reason::Epoll,
        epoll_fd: Some(5),
        exact: false,
        waits: 100,
        timeouts: None,
        events: None,
        blocked: ms(900),
        iterations: 99,
        busy: ms(100),
        longest: ms(3),
        late: 0,
        late_time: Duration::ZERO,
        late_queued: Duration::ZERO,
        late_from: ms(100),
        lengths: Histogram::default(),
        busy_now,
    }
}

fn asleep(capture: &mut Capture, reason: Reason, since: Duration, stack: Option<usize>) {
    let now = &mut capture.threads[0].now;
    now.state = State::Blocked;
    now.reason = Some(reason);
    now.since = since;
    now.stack = stack;
}

fn with(words: &[&'static str]) -> Vec<&'static str> {
    ASYNCIO.iter().chain(words).copied().collect()
}

#[test]
fn a_loop_that_was_wedged_before_the_capture_is_known_by_its_stack() {
    let mut builder = Builder::new(7, "feedd");
    let stack = builder.stack(&with(&["p:pump@feed.py:41", "connect"]));
    let mut capture = builder.finish();
    asleep(&mut capture, Reason::SocketReceive, ms(90_000), Some(stack));
    let found = found(&capture);
    assert_eq!(found.len(), 1, "{found:?}");
    let (kind, confidence, summary) = &found[0];
    assert_eq!(
        (*kind, *confidence),
        (FindingKind::LoopBlocked, Confidence::Certain)
    );
    assert!(
        summary == "asyncio loop of feedd (7) blocked for 90.0 s: waits for data from a socket",
        "{summary}"
    );
}

#[test]
fn an_idle_loop_and_one_that_is_back_are_nothing() {
    let mut builder = Builder::new(7, "feedd");
    let stack = builder.stack(&with(&["p:pump@feed.py:41"]));
    let mut capture = builder.finish();
    asleep(&mut capture, Reason::Epoll, ms(90_000), Some(stack));
    assert!(found(&capture).is_empty());
    asleep(&mut capture, Reason::Futex, ms(200), Some(stack));
    capture.loops.push(own_loop(Some(ms(300))));
    assert!(found(&capture).is_empty(), "shorter than the threshold");
    asleep(&mut capture, Reason::Futex, ms(2_000), Some(stack));
    capture.loops[0].busy_now = Some(ms(2_000));
    assert_eq!(found(&capture).len(), 1);
}

fn polls(watched: u64, count: u64, longest: u64, open: u64) -> PollCount {
    PollCount {
        watched: ms(watched),
        polls: count,
        longest: ms(longest),
        late: ms(longest),
        open: ms(open),
    }
}

/// A thread of which all samples lie in one callback of its loop.
fn computes(words: &[&'static str]) -> Capture {
    let mut builder = Builder::new(7, "feedd");
    builder.samples(0, &[words, &["p:scale@feed.py:5"][..]].concat(), 1000);
    builder.samples(0, words, 900);
    builder.finish()
}

#[test]
fn a_callback_on_the_cpu_is_a_finding_when_it_was_seen_not_to_poll_and_a_notice_when_nobody_looked()
{
    let mut capture = computes(&with(&["p:parse@feed.py:9"]));
    assert!(found(&capture).is_empty(), "samples are no proof");
    let judgement = judge(&capture, &Thresholds::default());
    assert_eq!(judgement.verdict, Verdict::Unclear);
    assert_eq!(judgement.notices[0].kind, NoticeKind::UnconfirmedLoop);

    capture.polls = vec![(0, polls(1_200, 0, 0, 1_200))];
    let stuck = found(&capture);
    assert_eq!(stuck.len(), 1, "{stuck:?}");
    assert_eq!(stuck[0].1, Confidence::Certain);
    assert_eq!(
        stuck[0].2,
        "asyncio loop of feedd (7) blocked for ≥ 1.2 s: one callback on CPU"
    );

    for turns in [polls(200, 90, 3, 1), polls(1_200, 2, 490, 300)] {
        capture.polls = vec![(0, turns)];
        let judgement = judge(&capture, &Thresholds::default());
        assert_eq!(judgement.verdict, Verdict::Healthy, "{turns:?}");
    }
}

#[test]
fn a_loop_whose_stacks_are_broken_is_found_by_its_polls() {
    let mut builder = Builder::new(7, "node");
    builder.samples(0, &["uv_run", "j:handle"], 300);
    builder.samples(0, &["j:handle"], 2000);
    let mut capture = builder.finish();
    assert!(found(&capture).is_empty());
    capture.polls = vec![(0, polls(1_200, 0, 0, 1_200))];
    let stuck = found(&capture);
    assert_eq!(
        stuck[0].2,
        "libuv loop of node (7) blocked for ≥ 1.2 s: one iteration on CPU"
    );
    // A worker that waits for its jobs in epoll and does one is none.
    let mut builder = Builder::new(7, "worker");
    let called: &[&str] = &["main", "job", "k:do_syscall_64", "k:vfs_read"];
    builder.samples(0, called, 1000);
    let mut capture = builder.finish();
    capture.samples[0].late = 1000;
    capture.sockets = vec![watched(9), watched(10)];
    capture.loops.push(own_loop(Some(ms(2_500))));
    capture.polls = vec![(0, polls(1_200, 0, 0, 1_200))];
    assert!(found(&capture).is_empty());
}

#[test]
fn many_callbacks_in_one_iteration_are_not_one() {
    let mut capture = computes(&with(&["p:parse@feed.py:9"]));
    capture.polls = vec![(0, polls(1_200, 0, 0, 1_200))];
    capture.tasks = vec![(7, turning_loop())];
    let found = found(&capture);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, FindingKind::CycleOverrun);
}

fn turning_loop() -> Tasks {
    Tasks {
        loops: vec![EventLoop {
            id: 16,
            class: "_UnixSelectorEventLoop".to_owned(),
            ident: Some(1),
            tid: Some(7),
            thread: None,
            current: None,
            turns: true,
        }],
        ..Tasks::default()
    }
}

#[test]
fn tokio_does_many_tasks_from_one_poll_to_the_next() {
    let mut builder = Builder::new(7, "serves");
    builder.samples(0, &["tokio::runtime::task::raw::poll", "work"], 2000);
    let mut capture = builder.finish();
    capture.samples[0].late = 2000;
    capture.sockets = vec![watched(9), watched(10)];
    capture.loops.push(own_loop(Some(ms(2_500))));
    capture.polls = vec![(0, polls(1_200, 0, 0, 1_200))];
    let judgement = judge(&capture, &Thresholds::default());
    assert_eq!(judgement.verdict, Verdict::Unclear);
    capture.samples[0].stack = capture.stacks.len();
    let mut builder = Builder(capture);
    let stack = builder.stack(&["main", "work"]);
    builder.0.samples[0].stack = stack;
    assert_eq!(found(&builder.finish()).len(), 1, "another runtime");
}

#[test]
fn a_callback_that_sleeps_again_and_again_sleeps_also_while_it_is_awake() {
    let slept = |reason| {
        let mut builder = Builder::new(7, "feedd");
        builder.wait(0, reason, &with(&["p:pump@feed.py:41"]), ms(29_000));
        builder.0.threads[0].observed = ms(30_000);
        let mut capture = builder.finish();
        capture.threads[0].now.state = State::Running;
        capture.polls = vec![(0, polls(2_000, 0, 0, 2_000))];
        let judgement = judge(&capture, &Thresholds::default());
        let finding = judgement.findings().next().expect("a finding");
        (finding.summary.clone(), finding.next.clone())
    };
    let (summary, next) = slept(Reason::Sleep);
    assert!(summary.ends_with("by a sleep"), "{summary}");
    assert_eq!(
        next,
        "Replace the sleep at pump (feed.py:41) with `await asyncio.sleep()`."
    );
    let (summary, next) = slept(Reason::Futex);
    assert!(summary.ends_with("one callback"), "{summary}");
    assert!(next.starts_with("Move the work"), "{next}");
}

#[test]
fn a_thread_whose_loop_has_ended_is_none() {
    let mut builder = Builder::new(7, "feedd");
    builder.wait(0, Reason::Sleep, &with(&["p:pump@feed.py:41"]), ms(500));
    let inside = builder.stack(&with(&["p:pump@feed.py:41"]));
    let outside = builder.stack(&["p:main@feed.py:99", "p:join@threading.py:1100"]);
    let mut capture = builder.finish();
    capture.loops.push(own_loop(Some(ms(2_000))));
    asleep(&mut capture, Reason::Futex, ms(2_000), Some(outside));
    assert!(found(&capture).is_empty());
    asleep(&mut capture, Reason::Futex, ms(2_000), Some(inside));
    assert_eq!(found(&capture).len(), 1);
}

#[test]
fn a_thread_that_waits_for_one_client_in_epoll_is_no_loop() {
    let mut capture = Builder::new(7, "postgres").finish();
    capture.loops.push(own_loop(Some(ms(2_500))));
    asleep(&mut capture, Reason::Disk, ms(2_500), None);
    capture.sockets.push(watched(9));
    assert!(found(&capture).is_empty());
    capture.sockets.push(watched(10));
    assert_eq!(found(&capture).len(), 1, "it serves two, alone");
    capture.sockets[1].watched_by[0].tids = vec![7, 8];
    assert!(found(&capture).is_empty(), "threads take turns");
}

fn watched(fd: u32) -> Socket {
    Socket {
        watched_by: vec![Watch {
            pid: 7,
            epoll_fd: 5,
            tids: vec![7],
            events: 1,
        }],
        ..socket(7, fd)
    }
}

#[test]
fn an_epoll_set_with_events_that_nobody_waits_on_points_to_the_thread_that_does_not_idle() {
    let mut capture = Builder::new(7, "router").finish();
    asleep(&mut capture, Reason::Futex, ms(60_000), None);
    let mut unread = watched(9);
    unread.watched_by[0].tids.clear();
    capture.sockets.push(unread);
    assert!(found(&capture).is_empty(), "nothing has come");
    capture.sockets[0].oldest_unread = Some(Unread {
        min: ms(3_000),
        max: None,
        inferred: false,
    });
    capture.sockets[0].receive.last = 5;
    let found = found(&capture);
    assert_eq!(
        (found[0].0, found[0].1),
        (FindingKind::LoopBlocked, Confidence::Inferred)
    );
}

#[test]
fn frames_of_a_loop_that_a_fork_left_behind_are_none() {
    let mut builder = Builder::new(7, "worker");
    let plain = builder.stack(&with(&["p:submit@process.py:830", "read"]));
    let pool = builder.stack(&with(&[
        "p:submit@/usr/lib/python3.11/concurrent/futures/process.py:830",
        "p:BaseProcess._bootstrap@/usr/lib/python3.11/multiprocessing/process.py:314",
        "p:get@/usr/lib/python3.11/multiprocessing/queues.py:103",
    ]));
    let mut capture = builder.finish();
    asleep(&mut capture, Reason::PipeRead, ms(90_000), Some(plain));
    assert_eq!(found(&capture).len(), 1);
    capture.conditions.processes = vec![remora_model::Constraint {
        pid: 7,
        inherited_loops: true,
        ..remora_model::Constraint::default()
    }];
    assert!(found(&capture).is_empty(), "it has no epoll set of its own");
    capture.conditions.processes.clear();
    asleep(&mut capture, Reason::PipeRead, ms(90_000), Some(pool));
    assert!(found(&capture).is_empty(), "it began after the fork");
}

#[test]
fn a_bound_is_one_in_the_headline_and_in_the_evidence() {
    let mut builder = Builder::new(7, "feedd");
    let stack = builder.stack(&with(&["p:pump@feed.py:41", "connect"]));
    let mut capture = builder.finish();
    asleep(&mut capture, Reason::Sleep, ms(90_000), Some(stack));
    for inferred in [false, true] {
        capture.threads[0].now.since_inferred = inferred;
        let judgement = judge(&capture, &Thresholds::default());
        let finding = judgement.findings().next().expect("a finding");
        assert_eq!(finding.since_at_least, inferred);
        let facts = finding.evidence.iter().map(|fact| fact.value.as_str());
        let bounds = facts.chain([finding.summary.as_str()]);
        let bounds: Vec<_> = bounds.filter(|text| text.contains("90.0 s")).collect();
        for text in bounds {
            assert_eq!(text.contains("≥ 90.0 s"), inferred, "{text}");
        }
    }
}
