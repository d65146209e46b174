//! Pools without a free slot.

use crate::waits::tests::sleeps;
use crate::{Thresholds, judge};
use remora_model::fixture::Builder;
use remora_model::{Capture, Reason};

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
