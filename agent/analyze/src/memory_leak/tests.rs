//! Captures with a process that grows in a known way.

use super::*;
use crate::{Thresholds, judge as judge_capture};
use remora_model::{
    Confidence, Finding, HeapSizes, HeapUse, Judgement, LimitKind, MemoryLimit, NoticeKind,
    PythonObjects, SkipReason, Topic, TypeCount, Verdict,
    fixture::{Builder, ms},
};

const MIB: u64 = 1 << 20;

/// A process of 40 MiB that is five minutes old, in a capture of so many seconds: `grown` gives what it has more
/// at the end of each second.
fn capture(seconds: u32, grown: impl Fn(u32) -> u64) -> Builder {
    let mut builder = Builder::new(7, "leaky");
    builder.0.duration = Duration::from_secs(seconds.into());
    builder.grown(0, &["main", "take@x.c:41"], 60 * MIB, 4 * MIB);
    builder.0.memory[0].age = Some(Duration::from_secs(300 + u64::from(seconds)));
    builder.0.memory[0].limits = vec![MemoryLimit {
        kind: LimitKind::Cgroup,
        limit_bytes: 512 * MIB,
        used_bytes: 112 * MIB,
    }];
    builder.0.timeline.spans = (0..seconds)
        .map(|at| Span {
            start: Duration::from_secs(at.into()),
            length: Duration::from_secs(1),
        })
        .collect();
    let readings = (1..=seconds).map(|at| MemoryReading {
        anon_bytes: 40 * MIB + grown(at),
        ..MemoryReading::default()
    });
    builder.0.timeline.processes.push(ProcessSeries {
        pid: 7,
        first: 0,
        readings: readings.collect(),
    });
    builder
}

fn judged(builder: Builder) -> Judgement {
    judge_capture(&builder.finish(), &Thresholds::default())
}

fn leak(judgement: &Judgement) -> Option<&Finding> {
    judgement
        .findings()
        .find(|finding| finding.kind == FindingKind::MemoryLeak)
}

fn says(finding: &Finding, what: Topic, words: &str) -> bool {
    let mut lines = finding.evidence.iter().filter(|line| line.what == what);
    lines.any(|line| line.value.contains(words))
}

#[test]
fn a_strong_steady_growth_of_thirty_seconds_is_suspected() {
    let judgement = judged(capture(30, |at| 2 * MIB * u64::from(at)));
    let finding = leak(&judgement).expect("a finding");
    assert_eq!(judgement.verdict, Verdict::Sick(FindingKind::MemoryLeak));
    assert_eq!(finding.confidence, Confidence::Inferred);
    assert!(
        finding.summary.contains("leaky (7) may leak 2.0 MiB/s"),
        "{}",
        finding.summary
    );
    assert!(says(finding, Topic::Level, "suspected"));
    assert!(says(finding, Topic::Trend, "growth in 8 of 8 parts"));
    assert!(says(
        finding,
        Topic::Limit,
        "cgroup 512.0 MiB, 400.0 MiB left, reached in 3 min 20 s"
    ));
    assert!(says(finding, Topic::Mapping, "[heap]"));
    assert!(says(finding, Topic::Where, "take (x.c:41)"));
    let trend = judgement.memory_trends[0];
    assert_eq!(trend.level, Some(LeakLevel::Suspected));
}

#[test]
fn what_lasts_is_confirmed_even_if_it_is_slow() {
    let judgement = judged(capture(600, |at| 10_000 * u64::from(at)));
    let finding = leak(&judgement).expect("a finding");
    assert_eq!(finding.confidence, Confidence::Certain);
    assert!(says(finding, Topic::Level, "confirmed"));
    assert!(
        finding.summary.contains("leaks 585.9 KiB/min"),
        "{}",
        finding.summary
    );
}

#[test]
fn a_short_look_says_nothing_of_memory_and_that_it_does_not() {
    for seconds in [3, 8, 20] {
        let judgement = judged(capture(seconds, |at| 50 * MIB * u64::from(at)));
        assert_eq!(leak(&judgement), None, "{seconds}");
        let skipped = &judgement.skipped[0];
        assert_eq!(skipped.kind, FindingKind::MemoryLeak);
        let why = SkipReason::TooShort {
            captured: ms(u64::from(seconds) * 1000),
            needed: ms(30_000),
        };
        assert_eq!(skipped.why, why);
    }
}

#[test]
fn thirty_seconds_never_confirm() {
    for pace in [1, 10, 100, 1000] {
        let judgement = judged(capture(30, |at| pace * MIB * u64::from(at)));
        assert!(judgement.memory_trends[0].level < Some(LeakLevel::Confirmed));
    }
}

#[test]
fn healthy_growth_is_none() {
    type Form = fn(u32) -> u64;
    let forms: [(&str, Form); 7] = [
        ("flat", |_| 0),
        ("warm-up", |at| {
            (80.0 * (1.0 - (-f64::from(at) / 8.0).exp())) as u64 * MIB
        }),
        ("teeth", |at| u64::from(at % 9) * 8 * MIB),
        ("step", |at| if at < 14 { 0 } else { 90 * MIB }),
        ("pool", |at| 4 * MIB * u64::from(at.min(17))),
        ("little", |at| 4096 * u64::from(at)),
        ("shrinks", |at| 30 * MIB - MIB * u64::from(at)),
    ];
    for (name, grown) in forms {
        let judgement = judged(capture(30, grown));
        assert_eq!(leak(&judgement), None, "{name}");
        assert_eq!(judgement.skipped, [], "{name}");
    }
}

#[test]
fn page_cache_and_shared_memory_do_not_count() {
    let mut builder = capture(30, |_| 0);
    for (at, reading) in builder.0.timeline.processes[0]
        .readings
        .iter_mut()
        .enumerate()
    {
        reading.file_bytes = 10 * MIB * at as u64;
        reading.shmem_bytes = 10 * MIB * at as u64;
    }
    assert_eq!(leak(&judged(builder)), None);
}

#[test]
fn what_is_swapped_out_still_counts() {
    let mut builder = capture(30, |_| 0);
    for (at, reading) in builder.0.timeline.processes[0]
        .readings
        .iter_mut()
        .enumerate()
    {
        reading.anon_bytes -= MIB * at as u64;
        reading.swap_bytes = 3 * MIB * at as u64;
    }
    assert!(leak(&judged(builder)).is_some());
}

#[test]
fn a_process_that_starts_may_grow() {
    let mut builder = capture(30, |at| 2 * MIB * u64::from(at));
    builder.0.memory[0].age = Some(Duration::from_secs(35));
    let judgement = judged(builder);
    assert_eq!(leak(&judgement), None);
    assert!(
        matches!(judgement.skipped[0].why, SkipReason::Starting { .. }),
        "{judgement:?}"
    );
}

#[test]
fn a_limit_that_is_far_is_no_reason_to_suspect() {
    let mut builder = capture(30, |at| MIB * u64::from(at) / 2);
    builder.0.memory[0].limits[0].limit_bytes = 1 << 50;
    assert_eq!(leak(&judged(builder)), None);
}

#[test]
fn the_types_that_grow_are_named_and_a_count_that_was_cut_names_none() {
    for cut in [false, true] {
        let mut builder = capture(30, |at| 2 * MIB * u64::from(at));
        let kind = |name: &str, start, end| TypeCount {
            name: name.into(),
            start,
            end,
            size_bytes: 48,
        };
        builder.0.python_objects.push(PythonObjects {
            pid: 7,
            apart: ms(29_000),
            start: 50_000,
            end: 90_000,
            cut,
            types: vec![
                kind("shop.Order", 100, 40_100),
                kind("dict", 20_000, 20_200),
            ],
            ..PythonObjects::default()
        });
        let judgement = judged(builder);
        let finding = leak(&judgement).expect("a finding");
        assert_eq!(
            says(finding, Topic::Objects, "shop.Order +40,000 (to 40,100)"),
            !cut
        );
        assert!(!says(finding, Topic::Objects, "dict"));
        assert_eq!(finding.next.contains("shop.Order"), !cut);
    }
}

#[test]
fn thresholds_shorten_what_is_needed() {
    let mut thresholds = Thresholds::default();
    for pair in ["memory-leak=6s", "memory-leak-confirmed=7s"] {
        thresholds.set_pair(pair).expect("a threshold");
    }
    let capture = capture(8, |at| 4 * MIB * u64::from(at)).finish();
    let judgement = judge_capture(&capture, &thresholds);
    assert_eq!(judgement.memory_trends[0].level, Some(LeakLevel::Confirmed));
}

/// A leak of 2 MiB a second for 30 s whose heaps' blocks in use and free blocks grew by these.
fn with_heap(used: u64, free: u64, change: impl Fn(&mut HeapSizes)) -> Finding {
    let mut builder = capture(30, |at| 2 * MIB * u64::from(at));
    let mut heap = HeapSizes {
        pid: 7,
        apart: Duration::from_secs(30),
        start_bytes: 20 * MIB,
        end_bytes: 20 * MIB + used,
        start_free_bytes: 10 * MIB,
        end_free_bytes: 10 * MIB + free,
        end_top_bytes: MIB,
        heaps: 9,
        by_heap: vec![HeapUse {
            start: 0x1000,
            main: true,
            used_bytes: MIB,
            free_bytes: MIB,
        }],
        ..HeapSizes::default()
    };
    change(&mut heap);
    builder.0.heaps = vec![heap];
    leak(&judged(builder)).expect("a finding").clone()
}

#[test]
fn growth_by_free_blocks_is_fragmentation_and_not_a_missing_free() {
    let finding = with_heap(4 * MIB, 54 * MIB, |_| {});
    assert!(
        finding.summary.contains("grows by free blocks, 2.0 MiB/s"),
        "{}",
        finding.summary
    );
    assert!(!finding.summary.contains("may leak"), "{}", finding.summary);
    assert!(says(
        &finding,
        Topic::Sizes,
        "+4.0 MiB in use, +54.0 MiB free blocks; now 24.0 MiB in use, 64.0 MiB free, 1.0 MiB at the top, in 9 heaps"
    ));
    assert!(
        finding.next.contains("malloc_trim(0), M_ARENA_MAX"),
        "{}",
        finding.next
    );
    // What is in use is a leak, and says so.
    let finding = with_heap(54 * MIB, 4 * MIB, |_| {});
    assert!(finding.summary.contains("may leak"), "{}", finding.summary);
    assert!(says(&finding, Topic::Sizes, "+54.0 MiB in use"));
    assert!(finding.next.contains("missing free"), "{}", finding.next);
    // A growth that lies elsewhere, and a look that is not whole, say nothing of the heap.
    for finding in [
        with_heap(0, 5 * MIB, |_| {}),
        with_heap(0, 54 * MIB, |heap| heap.torn = 1),
        with_heap(0, 54 * MIB, |heap| heap.cut = true),
    ] {
        assert!(finding.summary.contains("may leak"), "{}", finding.summary);
    }
}

fn young(builder: Builder) -> Vec<String> {
    let judgement = judged(builder);
    let notices = judgement.notices.iter();
    let young = notices.filter(|it| it.kind == NoticeKind::YoungGrowth);
    young.map(|it| it.summary.clone()).collect()
}

#[test]
fn strong_growth_that_is_too_young_to_judge_is_a_notice() {
    let grows = |seconds: u32| capture(seconds, |at| 2 * MIB * u64::from(at));
    let said = young(grows(25));
    assert_eq!(said.len(), 1);
    assert!(
        said[0].starts_with("leaky (7) grows by 2.0 MiB/s for 24.0 s, too early to call it a leak"),
        "{said:?}"
    );
    assert!(said[0].contains("; limit in 3 min"), "{said:?}");
    let judgement = judged(grows(25));
    assert_eq!(judgement.verdict, Verdict::Unclear);
    // In a process that is forty seconds old at its end; its first ten seconds do not count.
    let mut starting = grows(30);
    starting.0.memory[0].age = Some(Duration::from_secs(40));
    assert_eq!(young(starting).len(), 1);
    // What is judged is a finding, and no notice.
    assert!(young(grows(30)).is_empty());
}

#[test]
fn what_starts_or_fills_a_cache_gets_no_notice() {
    let aged = |age: u64, mut builder: Builder| {
        builder.0.memory[0].age = Some(Duration::from_secs(age));
        builder
    };
    // Imports for six seconds, and then at work.
    let imports = |at: u32| 20 * MIB * u64::from(at.min(6));
    assert!(young(aged(30, capture(30, imports))).is_empty());
    // A cache that is loaded for twenty seconds, and then is there.
    let loads = |at: u32| 30 * MIB * u64::from(at.min(20));
    assert!(young(aged(30, capture(30, loads))).is_empty());
    assert!(young(capture(27, |at| 30 * MIB * u64::from(at.min(20)))).is_empty());
    // Ever more slowly.
    let slows = |at: u32| (200.0 * (1.0 - (-f64::from(at) / 10.0).exp())) as u64 * MIB;
    assert!(young(capture(25, slows)).is_empty());
    // A little, a limit that is far, a short look, a limit that is not known.
    assert!(young(capture(25, |at| 4096 * u64::from(at))).is_empty());
    let mut far = capture(25, |at| 2 * MIB * u64::from(at));
    far.0.memory[0].limits[0].limit_bytes = 1 << 40;
    assert!(young(far).is_empty());
    assert!(young(capture(12, |at| 20 * MIB * u64::from(at))).is_empty());
    let mut unknown = capture(25, |at| 2 * MIB * u64::from(at));
    unknown.0.memory[0].limits.clear();
    assert!(young(unknown).is_empty());
}
