//! Feeds made by hand, and what only looks like one.

use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, ms, socket};
use remora_model::{Address, Finding, FindingKind, ProcessTree, SocketState, Tcp};

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

/// Seen from its first second on: 40 segments at 50 a second, none for five seconds since, and nothing was ever sent.
fn young() -> Tcp {
    Tcp {
        segments_in: 45,
        segments_out: 0,
        segments_in_capture: 40,
        samples_with_data: 2,
        longest_pause: ms(20),
        last_receive: Some(ms(5_200)),
        last_send: Some(ms(6_100)),
        last_ack: Some(ms(5_200)),
        bytes_received: 4_000,
        ..Tcp::default()
    }
}

/// In a capture of six seconds, in an old process.
fn watched(tcp: Tcp, is_accepted: bool) -> Vec<Finding> {
    let mut builder = Builder::new(1, "feedd");
    builder.0.duration = ms(6_000);
    let mut quiet = socket(1, 9);
    quiet.tcp = Some(tcp);
    (quiet.first_seen, quiet.last_seen) = (ms(0), ms(6_000));
    quiet.local = Some(Address::Inet(([127, 0, 0, 1], 80).into()));
    if is_accepted {
        let mut server = quiet.clone();
        (server.fd, server.state, server.tcp) = (3, SocketState::Listen, None);
        builder.0.sockets.push(server);
    }
    builder.0.sockets.push(quiet);
    let judgement = judge(&builder.finish(), &Thresholds::default());
    let found = judgement.findings();
    found
        .filter(|finding| finding.kind == FindingKind::FeedGap)
        .cloned()
        .collect()
}

#[test]
fn a_young_feed_that_is_seen_to_fall_silent_is_judged_by_its_own_intervals() {
    let found = watched(young(), false);
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert_eq!(finding.confidence.name(), "inferred");
    assert!(
        finding.summary.contains("usual interval ≤ 20 ms"),
        "{}",
        finding.summary
    );
    let text = format!("{:?}", finding.evidence);
    assert!(text.contains("40 segments in this capture"), "{text}");
    assert!(text.contains("nothing sent since"), "{text}");
}

#[test]
fn what_was_asked_for_came_in_a_burst_or_is_a_clients_log_is_no_young_feed() {
    let few = Tcp {
        segments_in_capture: 29,
        ..young()
    };
    let answer = Tcp {
        segments_out: 1,
        ..young()
    };
    let burst = Tcp {
        samples_with_data: 1,
        ..young()
    };
    let bursts = Tcp {
        longest_pause: ms(1_000),
        ..young()
    };
    for (what, tcp) in [
        ("few intervals", few),
        ("an answer", answer),
        ("one burst", burst),
        ("bursts", bursts),
    ] {
        assert_eq!(watched(tcp, false), [], "{what}");
    }
    assert_eq!(watched(young(), true), [], "a client's");
}
