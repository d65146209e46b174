//! What the picture says, on captures made by hand, judged by the analyzer itself.

use super::*;
use remora_analyze::{Thresholds, judge};
use remora_model::fixture::Builder;
use remora_model::timeline::{ProcessSeries, Span};
use remora_model::{
    LimitKind, Mapping, MappingKind, MemoryLimit, MemoryReading, PythonObjects, Topic, TypeCount,
};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// A process of 40 MiB that is an hour old, read once a second: what it has more at each.
fn capture(comm: &str, grown: &[u64]) -> Builder {
    let mut builder = Builder::new(7, comm);
    let seconds = grown.len() as u64;
    builder.0.duration = Duration::from_secs(seconds);
    builder.grown(0, &["main", "serve", "take@x.c:41"], 60 * MIB, 4 * MIB);
    add(&mut builder, 7, grown);
    builder
}

fn add(builder: &mut Builder, pid: u32, grown: &[u64]) {
    if let Some(memory) = builder.0.memory.iter_mut().find(|memory| memory.pid == pid) {
        memory.age = Some(Duration::from_secs(3_600));
        memory.limits = vec![MemoryLimit {
            kind: LimitKind::Cgroup,
            limit_bytes: 512 * MIB,
            used_bytes: 412 * MIB,
        }];
    }
    builder.0.timeline.spans = (0..grown.len() as u64)
        .map(|at| Span {
            start: Duration::from_secs(at),
            length: Duration::from_secs(1),
        })
        .collect();
    let readings = grown.iter().map(|grown| MemoryReading {
        anon_bytes: 40 * MIB + grown,
        file_bytes: 6 * MIB,
        ..MemoryReading::default()
    });
    builder.0.timeline.processes.push(ProcessSeries {
        pid,
        first: 0,
        readings: readings.collect(),
    });
}

fn judged(builder: Builder, pairs: &[&str]) -> Report {
    let mut thresholds = Thresholds::default();
    for pair in pairs {
        thresholds.set_pair(pair).expect("a threshold");
    }
    let capture = builder.finish();
    let judgement = judge(&capture, &thresholds);
    Report::new(capture, judgement)
}

fn picture(report: &Report) -> String {
    let picture = draw(report).expect("a picture");
    let text = String::from_utf8(picture).expect("text");
    roxmltree::Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    text
}

/// All words, a line for each element of text.
fn words(picture: &str) -> String {
    let document = roxmltree::Document::parse(picture).expect("XML");
    let texts = document
        .descendants()
        .filter(|node| node.has_tag_name("text"));
    texts
        .filter_map(|node| node.text())
        .map(|text| format!("{}\n", text.trim()))
        .collect()
}

fn line(seconds: u64, pace: u64) -> Vec<u64> {
    (1..=seconds).map(|at| at * pace).collect()
}

#[test]
fn a_leak_is_drawn_with_its_line_and_its_limit() {
    let mut builder = capture("leaky", &line(40, 2 * MIB));
    builder.0.memory[0].mappings = vec![Mapping {
        name: "[heap]".to_owned(),
        kind: MappingKind::Heap,
        start: 0x1000,
        end: 0x2000,
        start_bytes: 8 * MIB,
        end_bytes: 72 * MIB,
        huge_bytes: 0,
    }];
    builder.0.python_objects.push(PythonObjects {
        pid: 7,
        apart: Duration::from_secs(40),
        end: 90_000,
        types: vec![TypeCount {
            name: "shop.Order".to_owned(),
            start: 100,
            end: 40_100,
            size_bytes: 48,
        }],
        ..PythonObjects::default()
    });
    let capture = judged(builder, &["memory-leak-confirmed=35s"]);
    let picture = picture(&capture);
    insta::assert_snapshot!(words(&picture));
    for class in ["fitted", "limit", "legend", "table"] {
        assert!(picture.contains(&format!("class=\"{class}\"")), "{class}");
    }
    // The future is drawn: 100 MiB are left, at 2 MiB a second.
    assert!(picture.contains("if it goes on like this"));
    assert_eq!(picture, self::picture(&capture), "the same each time");
}

#[test]
fn what_is_no_leak_is_said_in_a_word() {
    let teeth: Vec<u64> = (0..60).map(|at| at % 10 * 4 * MIB).collect();
    let bend: Vec<u64> = (0..60)
        .map(|at| 64 * MIB - ((64 * MIB) >> (at / 6)))
        .collect();
    let step: Vec<u64> = (0..60)
        .map(|at| if at < 20 { 0 } else { 96 * MIB })
        .collect();
    let cases = [
        ("NO GROWTH", vec![0; 60]),
        ("COMES BACK", teeth),
        ("LEVELS OFF", bend),
        ("STEPS", step),
        ("LEAK SUSPECTED", line(60, 2 * MIB)),
        ("GROWS", line(60, MIB / 32)),
    ];
    for (word, grown) in cases {
        let words = words(&picture(&judged(capture("service", &grown), &[])));
        assert!(words.lines().any(|line| line == word), "{word}: {words}");
        let is_leak = word.contains("LEAK");
        assert_eq!(
            words.contains("that stayed"),
            is_leak || word == "GROWS",
            "{words}"
        );
    }
}

#[test]
fn a_short_capture_is_drawn_and_says_why_nothing_is_judged() {
    let words = words(&picture(&judged(capture("service", &line(10, MIB)), &[])));
    assert!(words.contains("too short for a memory trend"), "{words}");
    assert!(!words.contains("LEAK"), "{words}");
}

#[test]
fn what_was_read_once_or_never_has_no_picture() {
    assert_eq!(draw(&judged(Builder::new(1, "idle"), &[])), None);
    assert_eq!(draw(&judged(capture("once", &[5 * MIB]), &[])), None);
    assert!(draw(&judged(capture("twice", &[5 * MIB, 6 * MIB]), &[])).is_some());
    // Nobody looked: it is drawn all the same.
    assert!(draw(&capture("unjudged", &line(40, MIB)).finish().into()).is_some());
}

#[test]
fn names_are_text_and_nothing_else() {
    let hostile = "</text><script>alert(1)</script>\u{1b}[31m\u{0}\u{202e}]]>&amp;\"'";
    let mut builder = capture(hostile, &line(40, 2 * MIB));
    builder.0.python_objects.push(PythonObjects {
        pid: 7,
        apart: Duration::from_secs(40),
        types: vec![TypeCount {
            name: hostile.repeat(40),
            start: 0,
            end: 9_000,
            size_bytes: u64::MAX,
        }],
        ..PythonObjects::default()
    });
    let picture = picture(&judged(builder, &[]));
    let document = roxmltree::Document::parse(&picture).expect("XML");
    assert!(
        !document
            .descendants()
            .any(|node| node.has_tag_name("script"))
    );
    assert!(words(&picture).contains("</text><script>alert(1)"));
    assert!(!picture.contains(['\u{1b}', '\u{0}', '\u{202e}']));
}

#[test]
fn an_hour_of_sixteen_processes_is_bounded() {
    let mut builder = capture("first", &[0; 3_600]);
    for pid in 8..23 {
        let thread = builder.process(pid, "worker");
        builder.grown(thread, &["main", "take"], 60 * MIB, 4 * MIB);
        let noise: Vec<u64> = (0..3_600_u64)
            .map(|at| (at * 7_919 + u64::from(pid)) % 97 * MIB)
            .collect();
        add(&mut builder, pid, &noise);
    }
    let picture = picture(&judged(builder, &[]));
    assert!(picture.len() < 2 << 20, "{} bytes", picture.len());
    assert_eq!(picture.matches("class=\"process\"").count(), PANELS);
    assert!(words(&picture).contains("and 8 more, which grew by less"));
}

#[test]
fn a_process_that_came_late_and_went_early_stands_where_it_was() {
    let mut builder = capture("late", &[0; 60]);
    builder.0.timeline.processes[0].first = 20;
    builder.0.timeline.processes[0].readings.truncate(10);
    let words = words(&picture(&judged(builder, &[])));
    assert!(
        words.contains("22 s") && !words.contains("60 s\n"),
        "{words}"
    );
}

#[test]
fn findings_name_the_picture() {
    let mut report = judged(capture("leaky", &line(40, 2 * MIB)), &[]);
    refer(&mut report);
    let judgement = report.judgement.as_ref().expect("judged");
    let lines = judgement.findings().flat_map(|finding| &finding.evidence);
    let plots: Vec<&str> = lines
        .filter(|line| line.what == Topic::Plot)
        .map(|line| line.value.as_str())
        .collect();
    assert_eq!(plots.len(), 1);
    assert!(plots[0].starts_with(NAME));
}

#[test]
fn a_large_process_that_leaks_little_has_an_axis_of_its_own() {
    let mut builder = capture("large", &line(60, MIB));
    for reading in &mut builder.0.timeline.processes[0].readings {
        reading.anon_bytes += 20 << 30;
    }
    builder.0.memory[0].limits[0] = MemoryLimit {
        kind: LimitKind::Host,
        limit_bytes: 64 << 30,
        used_bytes: 60 << 30,
    };
    let picture = picture(&judged(builder, &["memory-leak-confirmed=50s"]));
    let words = words(&picture);
    assert!(words.contains("LEAK CONFIRMED"), "{words}");
    assert!(words.contains("this axis does not begin at 0"), "{words}");
    // The limit is far above it: it stands in words.
    assert!(words.contains("host 64.0 GiB, 4.0 GiB left"), "{words}");
    assert!(!picture.contains("class=\"limit\""));
}
