//! Pools without a free slot.

use crate::waits::tests::sleeps;
use crate::{Thresholds, judge};
use remora_model::fixture::Builder;
use remora_model::{Capture, Reason, SlotPool};

const TAKES: [&str; 4] = [
    "p:<module>@/srv/app.py:9",
    "p:save@/srv/app.py:3",
    "p:QueuePool._do_get@/usr/lib/python3/dist-packages/sqlalchemy/pool/impl.py:150",
    "p:Condition.wait@/usr/lib/python3.11/threading.py:320",
];

fn kinds(capture: &Capture) -> Vec<&'static str> {
    let judgement = judge(capture, &Thresholds::default());
    judgement.findings().map(|it| it.kind.name()).collect()
}

#[test]
fn who_waits_long_for_a_connection_of_a_pool_is_told_with_who_may_have_it() {
    let mut builder = Builder::new(1, "python3");
    builder.thread(1, 2, "job");
    sleeps(&mut builder, 0, Reason::Futex, &TAKES, 20);
    let asks = ["start_thread", "f", "PQexec", "poll"];
    sleeps(&mut builder, 1, Reason::Poll, &asks, 20);
    let judgement = judge(&builder.0, &Thresholds::default());
    let finding = judgement.findings().next().expect("told");
    assert_eq!(finding.kind.name(), "pool_exhausted");
    let said: Vec<_> = finding.evidence.iter().map(|it| &*it.value).collect();
    assert!(
        said.iter()
            .any(|it| it.contains("job-2") && it.contains("may hold")),
        "{said:?}"
    );
    sleeps(&mut builder, 0, Reason::Futex, &TAKES, 5);
    assert!(kinds(&builder.0).is_empty(), "pools are empty for a moment");
}

/// Two threads that wait for a connection of a pool that was read, and one that waits for an event.
fn read(holders: Vec<(u32, usize)>, by_hand: bool) -> Builder {
    let mut builder = Builder::new(1, "python3");
    builder.thread(1, 2, "two");
    builder.thread(1, 3, "keeper");
    for index in [0, 1] {
        sleeps(&mut builder, index, Reason::Futex, &TAKES, 20);
    }
    let keeps = [
        "p:<module>@/srv/app.py:9",
        "p:keep@/srv/app.py:3",
        "p:Event.wait@/usr/lib/python3.11/threading.py:622",
    ];
    sleeps(&mut builder, 2, Reason::Futex, &keeps, 25);
    builder.0.slot_pools.push(SlotPool {
        pid: 1,
        object: 0x7f00,
        name: "SQLAlchemy QueuePool".into(),
        by_hand,
        size: Some(2),
        taken: Some(2),
        waiters: vec![1, 2],
        holders,
    });
    builder
}

#[test]
fn a_pool_that_was_read_is_told_with_its_size_and_holders() {
    let told = |builder: &Builder| {
        let judgement = judge(&builder.0, &Thresholds::default());
        let finding = judgement.findings().next().expect("told").clone();
        let evidence: Vec<_> = finding.evidence.iter().map(|it| &*it.value).collect();
        (finding.summary.clone(), evidence.join("\n"), finding.next)
    };
    let (summary, evidence, next) = told(&read(vec![(1, 1), (2, 1)], false));
    assert!(
        summary.contains("2 threads") && summary.contains("2 of 2 taken"),
        "{summary}"
    );
    for words in [
        "SQLAlchemy QueuePool 0x7f00: size 2, 2 taken",
        "two-2 holds 1, waits for another",
    ] {
        assert!(evidence.contains(words), "{evidence}");
    }
    assert!(
        next.contains("each holder waits for a second slot"),
        "{next}"
    );
    let (_, evidence, next) = told(&read(vec![(3, 2)], false));
    assert!(
        evidence.contains("keeper-3 is in futex for 25.0 s, holds 2"),
        "{evidence}"
    );
    assert!(next.contains("not given back"), "{next}");
    let (_, evidence, _) = told(&read(Vec::new(), false));
    assert!(
        evidence.contains("which threads hold the slots"),
        "{evidence}"
    );
}

#[test]
fn a_pool_that_somebody_wrote_may_limit_what_works() {
    let mut builder = read(Vec::new(), true);
    assert_eq!(kinds(&builder.0), ["pool_exhausted"]);
    let talks = ["start_thread", "f", "recv"];
    sleeps(&mut builder, 2, Reason::SocketReceive, &talks, 1);
    assert!(kinds(&builder.0).is_empty(), "a job works");
}
