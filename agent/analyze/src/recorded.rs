//! What real runs saw, judged again: `remora triage --recording FILE` (hidden) made the files in `recordings/`.

use super::*;
use remora_model::{Confidence, Finding, recording};

fn judged(text: &str) -> Judgement {
    let capture = recording::read(text).expect("a capture of an earlier run");
    judge(&capture, &Thresholds::default())
}

fn says(finding: &Finding, word: &str) -> bool {
    let facts = finding.evidence.iter().map(|fact| fact.value.as_str());
    facts
        .chain([finding.summary.as_str()])
        .any(|text| text.contains(word))
}

/// Two threads of a C program that took two mutexes in different orders.
#[test]
fn a_deadlock_of_two_mutexes() {
    let judgement = judged(include_str!("../recordings/deadlock.json"));
    assert_eq!(judgement.verdict, Verdict::Sick(FindingKind::Deadlock));
    let [incident] = &judgement.incidents[..] else {
        panic!("one deadlock: {:#?}", judgement.incidents);
    };
    assert_eq!(incident.cause.confidence, Confidence::Certain);
    for word in [
        "take_second (sick_locks.c:86)",
        "glibc mutex",
        "one-",
        "two-",
    ] {
        assert!(says(&incident.cause, word), "{word}: {:#?}", incident.cause);
    }
}

/// An asyncio callback that takes a `threading.Lock` twice.
#[test]
fn a_loop_that_a_lock_blocks() {
    let judgement = judged(include_str!("../recordings/loop_blocked.json"));
    assert_eq!(judgement.verdict, Verdict::Sick(FindingKind::LoopBlocked));
    let cause = &judgement.incidents[0].cause;
    for word in [
        "asyncio loop",
        "blocked_on_lock (sick_loops.py:55)",
        "Task-1",
    ] {
        assert!(says(cause, word), "{word}: {cause:#?}");
    }
}

/// redis under its benchmark.
#[test]
fn a_server_under_load_is_healthy() {
    let judgement = judged(include_str!("../recordings/healthy.json"));
    assert_eq!(
        judgement.verdict,
        Verdict::Healthy,
        "{:#?}",
        judgement.incidents
    );
    assert!(judgement.incidents.is_empty());
}

/// Two threads that took two Mutexes of parking_lot 0.12 in different orders.
#[test]
fn locks_of_parking_lot_that_nobody_hands_over() {
    let judgement = judged(include_str!("../recordings/parking_lot.json"));
    assert_eq!(judgement.verdict, Verdict::Sick(FindingKind::LockStuck));
    let cause = &judgement.incidents[0].cause;
    for word in ["ledger::transfer (main.rs:8)", "waits for a lock"] {
        assert!(says(cause, word), "{word}: {cause:#?}");
    }
}

/// Both workers of a tokio runtime stand in `futures_executor::block_on`.
#[test]
fn a_runtime_whose_workers_all_block() {
    let judgement = judged(include_str!("../recordings/tokio_block_on.json"));
    assert_eq!(judgement.verdict, Verdict::Sick(FindingKind::Deadlock));
    let cause = &judgement.incidents[0].cause;
    for word in ["all 3 threads", "nobody is left", "price_sync (main.rs:11)"] {
        assert!(says(cause, word), "{word}: {cause:#?}");
    }
}

/// A worker that waits for a `multiprocessing.Lock` whose holder was killed.
#[test]
fn a_lock_between_processes_whose_holder_was_killed() {
    let judgement = judged(include_str!("../recordings/killed_holder.json"));
    assert_eq!(judgement.verdict, Verdict::Sick(FindingKind::LockStuck));
    let cause = &judgement.incidents[0].cause;
    assert!(says(cause, "shared between processes"), "{cause:#?}");
}

/// A Java program at rest: pools, a scheduler, `wait`, collectors and compilers without work.
#[test]
fn a_java_program_at_rest_is_idle() {
    let judgement = judged(include_str!("../recordings/jvm_idle.json"));
    assert_eq!(judgement.verdict, Verdict::Idle, "{:#?}", judgement.notices);
    assert_eq!(judgement.limits[0].of.name(), "java_frames");
}
