//! Threads without a CPU, and threads that only look so.

use super::*;
use crate::graph::tests::{blocks, lock};
use crate::{Thresholds, judge};
use remora_model::{
    Capture, Constraint, Depth, RunQueue, Unread,
    fixture::{Builder, ms},
};

/// 30 s; the thread wanted a CPU for 20 s.
fn capture(queued: Duration, longest: Duration, nice: i32) -> Capture {
    let mut capture = Builder::new(7, "router").finish();
    let thread = &mut capture.threads[0];
    thread.on_cpu = ms(20_000).saturating_sub(queued);
    thread.run_queue = RunQueue {
        preempted: queued,
        preemptions: 9,
        longest,
        ..RunQueue::default()
    };
    capture.conditions.cpus = 2;
    capture.conditions.processes = vec![Constraint {
        pid: 7,
        scheduling: vec![Scheduling {
            tid: 7,
            nice,
            policy: Policy::Other,
            cpus: 2,
        }],
        ..Constraint::default()
    }];
    capture
}

fn found(capture: &Capture) -> Vec<FindingKind> {
    let judgement = judge(capture, &Thresholds::default());
    judgement.findings().map(|finding| finding.kind).collect()
}

#[test]
fn it_takes_a_large_share_and_a_long_stretch() {
    assert_eq!(
        found(&capture(ms(15_000), ms(900), 0)),
        [FindingKind::Starved]
    );
    assert!(
        found(&capture(ms(15_000), ms(40), 0)).is_empty(),
        "short waits: a fair share"
    );
    assert!(
        found(&capture(ms(5_000), ms(900), 0)).is_empty(),
        "a small share"
    );
    assert!(
        found(&capture(ms(15_000), ms(900), 10)).is_empty(),
        "it gives way"
    );
}

#[test]
fn a_batch_that_fills_its_own_cpus_is_nothing() {
    let mut capture = capture(ms(15_000), ms(900), 0);
    capture.threads[0].on_cpu = ms(25_000);
    capture.threads[0].run_queue.preempted = ms(26_000);
    let mut second = capture.threads[0].clone();
    second.tid = 8;
    capture.threads.push(second);
    assert!(found(&capture).is_empty());
}

#[test]
fn a_limit_that_holds_back_is_named() {
    let mut capture = capture(ms(15_000), ms(80), 0);
    capture.conditions.processes[0].limit = Some(CpuLimit {
        cgroup: "/box".into(),
        quota_cpus: Some(0.2),
        quota: Some(ms(20)),
        period: Some(ms(100)),
        periods: 300,
        throttled: 290,
        time: ms(15_000),
    });
    let judgement = judge(&capture, &Thresholds::default());
    let finding = judgement.findings().next().expect("one");
    let facts: Vec<_> = finding.evidence.iter().map(|it| &*it.value).collect();
    let text = format!("{} {}", finding.summary, facts.join("; "));
    for words in [
        "throttled for 75.0 % of its runnable time: cpu.max 20 ms in each 100 ms",
        "cgroup /box, cpu.max 20 ms in each 100 ms (0.20 CPUs)",
        "throttled in 290 of 300 periods, for 15.0 s (50.0 % of the time)",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn a_limit_of_an_old_recording_has_its_cpus_only() {
    let limit = CpuLimit {
        cgroup: "/box".into(),
        quota_cpus: Some(0.2),
        ..CpuLimit::default()
    };
    assert_eq!(limit::headline(&limit), "quota 0.20 CPUs");
}

/// A thread of nice 19 that gets no CPU, and another one of its process.
fn gives_way() -> Capture {
    let mut capture = capture(ms(15_000), ms(900), 19);
    let mut other = capture.threads[0].clone();
    other.tid = 8;
    (other.on_cpu, other.run_queue) = (ms(0), RunQueue::default());
    capture.threads.push(other);
    capture
}

#[test]
fn who_gives_way_and_holds_a_lock_is_the_cause() {
    assert!(found(&gives_way()).is_empty(), "nobody waits for it");
    let waits_for = |since| {
        let mut capture = gives_way();
        blocks(&mut capture, 1, 0x40, since);
        let lock = lock(&capture, 0x40, 0, &[1]);
        capture.locks.push(lock);
        capture
    };
    assert!(found(&waits_for(20)).is_empty(), "a short wait");
    let capture = waits_for(900);
    let judgement = judge(&capture, &Thresholds::default());
    let finding = judgement.findings().next().expect("one");
    assert_eq!(finding.kind, FindingKind::Starved);
    let facts: Vec<_> = finding.evidence.iter().map(|it| &*it.value).collect();
    assert!(
        facts.contains(&"router-8 waits for a lock that it holds for 900 ms"),
        "{facts:#?}"
    );
    assert!(
        finding.next.contains("renice -n 0 -p 7"),
        "{}",
        finding.next
    );
}

#[test]
fn an_unread_queue_behind_a_thread_that_gives_way_is_its_consequence() {
    let mut capture = gives_way();
    capture.threads.truncate(1);
    capture.threads[0].now.state = State::Runnable;
    let mut unread = remora_model::fixture::socket(7, 9);
    unread.receive = Depth {
        first: 5000,
        last: 5000,
        min: 5000,
        max: 5000,
        mean: 5000.0,
    };
    (unread.samples, unread.not_read_for) = (30, ms(29_000));
    unread.oldest_unread = Some(Unread {
        min: ms(40_000),
        max: None,
        inferred: false,
    });
    unread.peer_process = Some(remora_model::PeerProcess {
        pid: 70,
        comm: "client".into(),
        fd: 5,
        inode: 77,
        holders: 1,
        held_by: Vec::new(),
        accepted: true,
        inferred: false,
        unread: 0,
        reads: None,
    });
    capture.sockets.push(unread);
    let judgement = judge(&capture, &Thresholds::default());
    let [incident] = &judgement.incidents[..] else {
        panic!("{:#?}", judgement.incidents)
    };
    let kinds: Vec<_> = incident.findings().map(|it| it.kind).collect();
    assert_eq!(kinds, [FindingKind::Starved, FindingKind::NotConsuming]);
}
