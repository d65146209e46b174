//! Feeds made by hand, and what only looks like one.

use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, ms, socket};
use remora_model::{Finding, FindingKind, ProcessTree, Tcp};

/// 36,000 segments in an hour, ten a second; the last so long ago, and what this side sent last.
fn feed(silence_s: u64, sent_s: u64, out: u32) -> Tcp {
    Tcp {
        segments_in: 36_000,
        segments_out: out,
        last_receive: Some(ms(1000 * silence_s)),
        last_send: Some(ms(1000 * sent_s)),
        last_ack: Some(ms(1000 * sent_s.min(silence_s))),
        bytes_received: 7_200_000,
        ..Tcp::default()
    }
}

fn found_of(tcp: Tcp, age_s: u64) -> Vec<Finding> {
    let mut builder = Builder::new(1, "feedd");
    builder.0.duration = ms(3000);
    builder.0.families.push(ProcessTree {
        pid: 1,
        age: ms(1000 * age_s),
        ancestors: Vec::new(),
        children: Vec::new(),
        children_left_out: 0,
    });
    let mut quiet = socket(1, 9);
    quiet.tcp = Some(tcp);
    builder.0.sockets.push(quiet);
    let judgement = judge(&builder.finish(), &Thresholds::default());
    let found = judgement.findings();
    found
        .filter(|finding| finding.kind == FindingKind::FeedGap)
        .cloned()
        .collect()
}

fn found(tcp: Tcp) -> Vec<Finding> {
    found_of(tcp, 3600)
}

#[test]
fn a_feed_that_fell_silent_is_found_and_inferred() {
    let found = found(feed(30, 3500, 2));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(finding.confidence.name(), "inferred");
    assert!(
        finding.summary.contains("received no data from"),
        "{}",
        finding.summary
    );
}

#[test]
fn a_short_silence_is_none() {
    assert_eq!(found(feed(4, 3500, 2)), []);
    // Five seconds, and yet few of its intervals.
    let slow = Tcp {
        segments_in: 300,
        ..feed(60, 3500, 2)
    };
    assert_eq!(found(slow), []);
}

#[test]
fn requests_and_answers_are_no_feed() {
    assert_eq!(found(feed(600, 601, 36_000)), []);
    // Answers of many segments each: the last one was asked for a moment before it came.
    assert_eq!(found(feed(600, 603, 40)), []);
}

#[test]
fn an_idle_connection_of_an_old_process_is_not_judged() {
    assert_eq!(found_of(feed(30, 3500, 2), 1_000_000), []);
}

#[test]
fn a_ping_without_answer_counts_after_several_of_its_intervals() {
    // One every 36 s in the mean: 100 of them.
    assert_eq!(found(feed(60, 20, 100)), []);
    let found = found(feed(300, 20, 100));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    let facts: String = finding.evidence.iter().map(|it| it.value.clone()).collect();
    assert!(facts.contains("application silent"), "{facts}");
}
