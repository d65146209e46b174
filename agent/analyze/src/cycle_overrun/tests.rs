//! Iterations that are too long, too often; and those that only look so.

use super::*;
use crate::judge;
use remora_common::event_loop::{LOOP_BUCKETS, bucket};
use remora_model::{
    Capture, Histogram, Idleness, Reason, Sample, Site, Syscall, Wait,
    fixture::{Builder, ms},
};

const ASYNCIO: [&str; 2] = [
    "p:BaseEventLoop._run_once@/usr/lib/python3.11/asyncio/base_events.py:1922",
    "p:Handle._run@/usr/lib/python3.11/asyncio/events.py:80",
];

/// 30 s of a loop with so many long (700 ms) and short (1 ms) iterations.
fn capture(long: u32, short: u32, exact: bool, stack: &[&'static str]) -> Capture {
    let mut builder = Builder::new(7, "poller");
    let words: Vec<&str> = ASYNCIO.iter().chain(stack).copied().collect();
    let stack = builder.stack(&words);
    let mut capture = builder.finish();
    let mut counts = [0; LOOP_BUCKETS];
    counts[bucket(700_000_000)] = long;
    counts[bucket(1_000_000)] = short;
    capture.loops.push(ThreadLoop {
        thread: 0,
        kind: Reason::Epoll,
        epoll_fd: Some(5),
        exact,
        waits: u64::from(long + short) + 1,
        timeouts: None,
        events: None,
        blocked: ms(1_000),
        iterations: (long + short).into(),
        busy: ms(700) * long,
        longest: ms(720),
        late: long.into(),
        late_time: ms(700) * long,
        late_queued: Duration::ZERO,
        late_from: ms(100),
        lengths: Histogram::between(&[0; LOOP_BUCKETS], &counts),
        busy_now: None,
    });
    let count = u64::from(long) * 69;
    capture.samples.push(Sample {
        thread: 0,
        stack,
        count,
        late: count,
    });
    capture
}

fn found(capture: &Capture, cycle: &str) -> Vec<Finding> {
    let mut thresholds = Thresholds::default();
    thresholds.set("cycle", cycle).expect("a time");
    let judgement = judge(capture, &thresholds);
    judgement.findings().cloned().collect()
}

#[test]
fn too_many_long_iterations_are_told_with_their_distribution() {
    let found = found(&capture(10, 90, true, &["p:poll@poll.py:5"]), "500ms");
    let [finding] = &found[..] else {
        panic!("{found:?}");
    };
    assert!(
        finding.summary
            == "asyncio loop of poller (7) had 10 of 100 iterations over 500 ms, max 720 ms",
        "{}",
        finding.summary
    );
    let facts: Vec<&str> = finding.evidence.iter().map(|fact| &*fact.value).collect();
    assert!(
        facts
            .iter()
            .any(|fact| fact.starts_with("20/min over 500 ms")),
        "{facts:?}"
    );
    assert!(
        facts
            .iter()
            .any(|fact| fact.contains("p95 ") && fact.contains("max 720 ms")),
        "{facts:?}"
    );
    assert!(
        facts.iter().any(|fact| fact.contains("poll (poll.py:5)")),
        "{facts:?}"
    );
}

#[test]
fn a_few_among_many_and_declared_ones_are_nothing() {
    let stack = ["p:poll@poll.py:5"];
    assert!(
        found(&capture(1, 0, true, &stack), "500ms").is_empty(),
        "one"
    );
    assert!(
        found(&capture(3, 900, true, &stack), "500ms").is_empty(),
        "few, and little time"
    );
    assert_eq!(
        found(&capture(12, 9000, true, &stack), "500ms").len(),
        1,
        "few, and much time"
    );
    assert!(
        found(&capture(10, 90, true, &stack), "1s").is_empty(),
        "declared"
    );
    let mut queued = capture(10, 90, true, &stack);
    queued.loops[0].late_queued = ms(5_000);
    assert!(found(&queued, "500ms").is_empty(), "it had no CPU");
}

#[test]
fn where_polls_are_not_seen_the_samples_have_to_show_one_piece_of_work() {
    let work = capture(10, 90, false, &["p:poll@poll.py:5"]);
    assert_eq!(found(&work, "500ms")[0].confidence, Confidence::Inferred);
    let serves = [
        "p:serve@poll.py:9",
        "recv",
        "k:do_syscall_64",
        "k:__sys_recvfrom",
    ];
    let mut serves = capture(10, 90, false, &serves);
    assert!(
        found(&serves, "500ms").is_empty(),
        "it takes something in all the time"
    );
    serves.waits.push(Wait {
        thread: 0,
        reason: Reason::Sleep,
        syscall: Some(Syscall::named("clock_nanosleep")),
        site: Site::Stack(0),
        event_form: false,
        count: 10,
        total: ms(9_000),
        late: ms(9_000),
        idle: Idleness::Busy,
    });
    assert_eq!(found(&serves, "500ms").len(), 1, "it sleeps in between");
}

#[test]
fn a_loop_that_never_sleeps_is_judged_by_the_polls_that_were_counted() {
    let polls = |count, longest, late, open| PollCount {
        watched: ms(1_200),
        polls: count,
        longest: ms(longest),
        late: ms(late),
        open: ms(open),
    };
    let kinds = |polls: PollCount| {
        let mut builder = Builder::new(7, "poller");
        builder.samples(0, &["uv_run", "handle"], 290);
        let mut capture = builder.finish();
        capture.polls = vec![(0, polls)];
        let judgement = judge(&capture, &Thresholds::default());
        judgement.findings().map(|it| it.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(polls(1, 700, 700, 500)), [FindingKind::CycleOverrun]);
    assert!(kinds(polls(3, 400, 1_200, 0)).is_empty(), "short enough");
    assert!(kinds(polls(90, 600, 600, 2)).is_empty(), "one among many");
}

#[test]
fn iterations_of_a_loop_that_was_seen_turning_are_not_long() {
    let mut capture = capture(30, 0, false, &["p:serve@app.py:7"]);
    let judgement = judge(&capture, &Thresholds::default());
    assert_eq!(judgement.findings().count(), 1);
    let turns = PollCount {
        watched: ms(200),
        polls: 60,
        longest: ms(4),
        late: Duration::ZERO,
        open: ms(1),
    };
    capture.polls = vec![(0, turns)];
    let judgement = judge(&capture, &Thresholds::default());
    assert_eq!(judgement.findings().count(), 0);
}
