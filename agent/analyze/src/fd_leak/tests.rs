//! Counts of descriptors made by hand: leaks, saw-teeth, warm-up, more clients.

use crate::{Thresholds, judge};
use remora_model::fixture::{Builder, ms, socket};
use remora_model::timeline::ProcessSeries;
use remora_model::{
    Address, Census, DescriptorKind, Descriptors, Finding, FindingKind, MemoryReading, SocketState,
};

/// A capture of 60 s in which a process has so many descriptors, second by second.
fn counts(count: impl Fn(u64) -> u64) -> Builder {
    let mut builder = Builder::new(1, "leaky");
    builder.0.duration = ms(60_000);
    let readings = (0..60).map(|second| MemoryReading {
        open_files: Some(count(second)),
        ..MemoryReading::default()
    });
    builder.0.timeline.processes.push(ProcessSeries {
        pid: 1,
        first: 0,
        readings: readings.collect(),
    });
    let census = |open| Census {
        open,
        kinds: vec![(DescriptorKind::Socket, open)],
        names: vec![("/tmp/x\u{1b}[31m".into(), open)],
        cut: false,
    };
    builder.0.descriptors.push(Descriptors {
        pid: 1,
        limit: Some(1024),
        start: census(count(0)),
        end: census(count(59)),
    });
    builder
}

fn found(builder: Builder) -> Vec<Finding> {
    let judgement = judge(&builder.finish(), &Thresholds::default());
    let found = judgement.findings();
    found
        .filter(|finding| finding.kind == FindingKind::FdLeak)
        .cloned()
        .collect()
}

#[test]
fn a_steady_rise_is_a_leak_with_its_rate_and_the_time_that_is_left() {
    let found = found(counts(|second| 20 + 5 * second));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    let text: String = finding
        .evidence
        .iter()
        .map(|it| it.value.clone() + "\n")
        .collect();
    for words in ["5.0/s", "limit in", "315 sockets (+295)"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_saw_tooth_a_warm_up_a_step_and_a_little_are_none() {
    assert_eq!(found(counts(|second| 20 + 5 * (second % 17))), []);
    assert_eq!(found(counts(|second| 20 + 5 * second.min(20))), []);
    assert_eq!(
        found(counts(|second| if second < 30 { 20 } else { 200 })),
        []
    );
    assert_eq!(found(counts(|second| 20 + second / 4)), []);
    assert_eq!(found(counts(|second| 200 - second)), []);
    // It slows down.
    let root = |second: u64| 20 + (1000.0 * (1.0 - (-(second as f64) / 12.0).exp())) as u64 / 4;
    assert_eq!(found(counts(root)), []);
}

#[test]
fn clients_that_come_and_stay_are_none() {
    let mut builder = counts(|second| 20 + 5 * second);
    let address = |port: u16| Some(Address::Inet(([127, 0, 0, 1], port).into()));
    let mut server = socket(1, 3);
    (server.state, server.local) = (SocketState::Listen, address(80));
    builder.0.sockets.push(server);
    for fd in 20..310 {
        let mut client = socket(1, fd);
        (client.local, client.first_seen) = (address(80), ms(30_000));
        builder.0.sockets.push(client);
    }
    assert_eq!(found(builder), []);
}

#[test]
fn a_process_near_its_limit_is_found_without_any_rise() {
    let found = found(counts(|_| 1000));
    let [finding] = &found[..] else {
        panic!("{found:#?}")
    };
    assert!(
        finding.summary == "leaky (1) uses 1,000 of 1,024 file descriptors",
        "{}",
        finding.summary
    );
    assert_eq!(self::found(counts(|_| 700)), []);
}

#[test]
fn a_short_look_says_that_it_did_not_judge_a_rise() {
    let mut builder = counts(|second| 20 + 5 * second);
    builder.0.duration = ms(3000);
    let judgement = judge(&builder.finish(), &Thresholds::default());
    assert!(
        judgement
            .skipped
            .iter()
            .any(|it| it.kind == FindingKind::FdLeak)
    );
}
