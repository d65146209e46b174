//! The words of a leak.

use super::super::{
    Scene,
    words::{self, Headline},
};
use super::free;
use remora_model::display::text::{bytes, clean, count, duration, percent};
use remora_model::{
    Capture, Confidence, Fact, Finding, FindingKind, Frame, FrameKind, GrowthForm, HeapSizes,
    LeakLevel, LimitKind, Mapping, Memory, MemoryTrend, PythonObjects, Reached, Severity, Stack,
    Subject, Topic, TypeCount,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// Lines of one sort.
const SHOWN: usize = 3;
/// What has less of the growth is not shown.
const WORTH: f64 = 0.05;
/// Page cache that moved by less is not mentioned.
const CACHE_BYTES: u64 = 1 << 20;
/// A type that grew by fewer objects is not shown.
const OBJECTS: i64 = 100;

pub(super) fn finding(
    scene: &Scene<'_>,
    memory: &Memory,
    trend: &MemoryTrend,
    level: LeakLevel,
) -> Finding {
    let pid = memory.pid;
    let mut finding = scene.about_process(FindingKind::MemoryLeak, Severity::Warning, pid);
    // That it grows was read; that it is a leak is concluded from how long it does.
    finding.confidence = match level {
        LeakLevel::Suspected => Confidence::Inferred,
        LeakLevel::Confirmed => Confidence::Certain,
    };
    finding.since = Some(trend.span);
    finding.since_at_least = true;
    let heaps = scene.capture.heaps.iter();
    let heap = heaps.rev().find(|heap| heap.pid == pid);
    let free = heap.filter(|heap| free::is_fragmentation(heap, memory));
    finding.summary = summary(scene, trend, level, free.is_some());
    finding = finding.fact(Topic::Level, level_words(scene, trend, level));
    finding = finding.fact(Topic::Trend, trend_words(trend));
    if let Some(reached) = &trend.reached {
        finding = finding.fact(Topic::Limit, limit_words(reached));
    }
    for line in mappings(memory) {
        finding = finding.fact(Topic::Mapping, line);
    }
    for line in stacks(scene, memory) {
        finding = finding.fact(Topic::Where, line);
    }
    let objects = scene.capture.python_objects.iter();
    let objects = objects.rev().find(|objects| objects.pid == pid);
    let growing = objects.map(growing).unwrap_or_default();
    if let Some(objects) = objects {
        finding = finding.fact(Topic::Objects, object_words(objects, &growing));
    }
    for line in [
        heap.and_then(free::words),
        heap.and_then(|heap| sizes(heap, memory)),
    ] {
        finding.evidence.extend(line.map(|value| Fact {
            what: Topic::Sizes,
            value,
        }));
    }
    if let Some(line) = cache(memory) {
        finding = finding.fact(Topic::Cache, line);
    }
    let place = memory.stacks.iter().max_by_key(|growth| growth.bytes);
    let place = place.and_then(|growth| scene.capture.stacks.get(growth.stack));
    let place = place.and_then(|stack| words::place(&own(stack)));
    finding.next = match free {
        Some(heap) => free::next(heap, place.as_deref()),
        None => next(pid, place.as_deref(), &growing, level),
    };
    finding.about = vec![Subject::Memory(pid)];
    finding
}

fn summary(scene: &Scene<'_>, trend: &MemoryTrend, level: LeakLevel, fragmented: bool) -> String {
    let name = scene.process_name(trend.pid);
    let grown = bytes(trend.grown_bytes);
    let (span, pace) = (duration(trend.span), rate(trend.slope));
    let leak = match level {
        LeakLevel::Suspected => "may leak",
        LeakLevel::Confirmed => "leaks",
    };
    let form = match trend.by_low_points {
        true => ", more than it frees",
        false => ", none freed",
    };
    let what = match fragmented {
        true => format!("grows by free blocks, {pace}: +{grown} in {span}, its heap is fragmented"),
        false => format!("{leak} {pace}: +{grown} in {span}{form}"),
    };
    let headline = Headline {
        who: &name,
        what: &what,
        ..Headline::default()
    };
    headline.fitted()
}

fn level_words(scene: &Scene<'_>, trend: &MemoryTrend, level: LeakLevel) -> String {
    let lasted = duration(trend.span);
    let needed = duration(scene.thresholds.memory_leak_confirmed);
    match level {
        LeakLevel::Suspected => {
            format!("suspected: steady for {lasted}; confirmed after {needed}")
        }
        LeakLevel::Confirmed => format!("confirmed: steady for {lasted}"),
    }
}

pub(super) fn trend_words(trend: &MemoryTrend) -> String {
    debug_assert_eq!(trend.form, GrowthForm::Steady);
    let points = match trend.by_low_points {
        true => ", by its low points",
        false => "",
    };
    format!(
        "{} (95 % interval {} to {}){points}; growth in {} of {} parts",
        rate(trend.slope),
        rate(trend.low),
        rate(trend.high),
        trend.parts_grown,
        trend.parts
    )
}

/// Which limit is reached, and when.
pub fn limit_words(reached: &Reached) -> String {
    let limit = reached.limit;
    let name = match limit.kind {
        LimitKind::Cgroup => "cgroup",
        LimitKind::AddressSpace => "RLIMIT_AS",
        LimitKind::Data => "RLIMIT_DATA",
        LimitKind::Host => "host",
    };
    let latest = match reached.latest {
        Some(latest) => duration(whole(latest)),
        None => "never".to_owned(),
    };
    format!(
        "{name} {}, {} left, reached in {} ({} to {latest})",
        bytes(limit.limit_bytes),
        bytes(limit.left_bytes()),
        duration(whole(reached.after)),
        duration(whole(reached.soonest)),
    )
}

/// A forecast has no fractions of a second.
const fn whole(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// A pace in the unit that reads best.
pub fn rate(bytes_a_second: f64) -> String {
    const LITTLE: f64 = 64.0 * 1024.0;
    let pace = bytes_a_second.abs();
    let sign = if bytes_a_second < 0.0 { "-" } else { "" };
    let (amount, unit) = if pace >= LITTLE {
        (pace, "s")
    } else if pace * 60.0 >= LITTLE {
        (pace * 60.0, "min")
    } else {
        (pace * 3600.0, "h")
    };
    format!("{sign}{}/{unit}", bytes(amount as u64))
}

fn mappings(memory: &Memory) -> Vec<String> {
    let whole = memory.grown_bytes() as f64;
    let grown = memory.mappings.iter();
    let grown = grown.filter(|mapping| mapping.growth_bytes() as f64 > whole * WORTH);
    let mut grown: Vec<&Mapping> = grown.filter(|mapping| !mapping.kind.is_file()).collect();
    grown.sort_by_key(|mapping| (std::cmp::Reverse(mapping.growth_bytes()), mapping.start));
    let line = |mapping: &&Mapping| {
        format!(
            "{} ({}): +{} to {}",
            clean(&mapping.name),
            mapping.kind.name().replace('_', " "),
            bytes(mapping.growth_bytes()),
            bytes(mapping.end_bytes)
        )
    };
    grown.iter().take(SHOWN).map(line).collect()
}

/// Which code touched first what stayed.
fn stacks(scene: &Scene<'_>, memory: &Memory) -> Vec<String> {
    let whole = memory.grown_bytes() as f64;
    let mut sums = by_code(scene.capture, memory);
    sums.retain(|(sum, _)| *sum as f64 > whole * WORTH);
    let line = |(sum, code): &(u64, String)| {
        let share = percent(*sum as f64, whole);
        format!(
            "{} ({share} of the growth) first touched in {code}",
            bytes(*sum)
        )
    };
    sums.iter().take(SHOWN).map(line).collect()
}

/// What stayed in bytes, by the code that touched it first, the most first.
pub fn by_code(capture: &Capture, memory: &Memory) -> Vec<(u64, String)> {
    let mut by_code: BTreeMap<String, u64> = BTreeMap::new();
    for growth in &memory.stacks {
        let stack = capture.stacks.get(growth.stack);
        let code = stack.and_then(|stack| words::code(&own(stack)));
        if let Some(code) = code {
            let sum = by_code.entry(code).or_default();
            *sum = sum.saturating_add(growth.bytes);
        }
    }
    let mut sums: Vec<(u64, String)> = by_code.into_iter().map(|(code, sum)| (sum, code)).collect();
    sums.sort_by(|a, b| (b.0, &a.1).cmp(&(a.0, &b.1)));
    sums
}

/// Libraries whose functions allocate and fill memory for others.
const LIBRARIES: [&str; 8] = [
    "libc.so",
    "libc-",
    "libstdc++",
    "libm.so",
    "ld-linux",
    "libjemalloc",
    "libtcmalloc",
    "libmimalloc",
];

/// A stack of a page fault down to the program's own code: that `memset` touched memory first says less
/// than who called it.
fn own(stack: &Stack) -> Stack {
    let mut stack = stack.before_fault();
    let library = |frame: &Frame| {
        let module = frame.module.as_deref().unwrap_or_default();
        let name = module.rsplit('/').next().unwrap_or_default();
        LIBRARIES.iter().any(|library| name.starts_with(library))
    };
    let own = stack
        .frames
        .iter()
        .rposition(|frame| frame.kind != FrameKind::Kernel && !library(frame));
    if let Some(own) = own {
        stack.frames.truncate(own + 1);
    }
    stack
}

/// The types that grew by more than chance.
fn growing(objects: &PythonObjects) -> Vec<&TypeCount> {
    if objects.cut {
        return Vec::new();
    }
    let grown = objects.types.iter();
    grown
        .filter(|kind| kind.growth() >= OBJECTS && kind.growth() as f64 > kind.start as f64 * WORTH)
        .take(SHOWN)
        .collect()
}

fn object_words(objects: &PythonObjects, growing: &[&TypeCount]) -> String {
    let total = count(objects.end);
    if objects.cut {
        return format!("more than {total}: too many to count by type");
    }
    let names: Vec<String> = growing
        .iter()
        .map(|kind| {
            let grown = count(kind.growth().unsigned_abs());
            format!("{} +{grown} (to {})", clean(&kind.name), count(kind.end))
        })
        .collect();
    let apart = duration(objects.apart);
    match names.is_empty() {
        true => format!(
            "no type tracked by Python's collector grows ({total} objects in {apart}): strings, bytes or \
             extension memory"
        ),
        false => format!(
            "{} in {apart}, of {total} tracked by Python's collector",
            names.join(", ")
        ),
    }
}

/// The sizes of glibc's blocks that have most of the growth.
fn sizes(heap: &HeapSizes, memory: &Memory) -> Option<String> {
    if heap.cut {
        return None;
    }
    let whole = memory.grown_bytes() as f64;
    let grown = heap.classes.iter();
    let words: Vec<String> = grown
        .filter(|class| class.growth_bytes() as f64 > (whole * WORTH).max(1.0))
        .take(SHOWN)
        .map(|class| {
            let least = if class.size_bytes > 4096 { "≥ " } else { "" };
            format!(
                "{} of {least}{} bytes ({})",
                count(class.growth().unsigned_abs()),
                count(class.size_bytes),
                bytes(class.growth_bytes().unsigned_abs())
            )
        })
        .collect();
    (!words.is_empty()).then(|| {
        let apart = duration(heap.apart);
        format!("malloc blocks, growth in {apart}: {}", words.join(", "))
    })
}

fn cache(memory: &Memory) -> Option<String> {
    let (start, end) = (memory.start, memory.end);
    let file = end.file_bytes.saturating_sub(start.file_bytes);
    let shared = end.shmem_bytes.saturating_sub(start.shmem_bytes);
    (file.max(shared) >= CACHE_BYTES).then(|| {
        format!(
            "not counted: page cache +{}, shared memory +{}",
            bytes(file),
            bytes(shared)
        )
    })
}

fn next(pid: u32, place: Option<&str>, growing: &[&TypeCount], level: LeakLevel) -> String {
    let check = match (growing.first(), place) {
        (Some(kind), _) => format!(
            "Find what keeps the {} objects: a list, dict or cache without a limit.",
            clean(&kind.name)
        ),
        (None, Some(place)) => {
            format!("Check {place} for a missing free or a cache without a limit.")
        }
        (None, None) => "Check for a missing free or a cache without a limit.".to_owned(),
    };
    match level {
        LeakLevel::Suspected => {
            format!("{check} To confirm: remora record --pid {pid} -d 10m.")
        }
        LeakLevel::Confirmed => check,
    }
}
