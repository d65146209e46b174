//! `memory_leak`: growth that does not come back.
//!
//! What counts is anonymous memory, swapped out or not: page cache, mapped files and shared memory come and go
//! by the kernel's hand, and a pool of shared memory belongs to nobody alone. Healthy programs grow too:
//! at their start, while a cache warms, between two runs of a garbage collector, when a table is made larger.
//! [`trend`] tells these forms apart, if it sees enough of them; so
//!
//! - a process younger than the threshold is starting, and that time does not count;
//! - growth is *suspected* to be a leak when it is steady for the threshold, has made the process larger
//!   by a tenth, and would reach a limit within a day: somebody should look;
//! - it is *confirmed* when it has lasted for twenty times as long. Then a fiftieth is enough.
//!
//! Growth that is too young for either is a *notice* ([`young`]): strong, steady, and on its way to a limit.
//!
//! That nobody will use the memory any more cannot be seen from outside: a store that is being filled
//! looks the same, until it is full.

pub mod evidence;
mod free;
#[cfg(test)]
mod tests;
pub(crate) mod trend;
mod young;

use super::{Findings, Scene};
use remora_model::{
    FindingKind, LeakLevel, Memory, MemoryReading, MemoryTrend, Reached, SkipReason,
    timeline::{ProcessSeries, Span},
};
use std::time::Duration;
use trend::{Point, Trend};

/// The threshold is kept by that share of it: the first reading comes a beat after the start.
const ENOUGH: f64 = 0.9;

/// Readings are taken once a second; shorter windows repeat them.
const PERIOD_S: f64 = 0.9;

/// Growth of at least so much is suspected: what noise, an arena or a batch takes is less.
const SUSPECTED_BYTES: f64 = 8.0 * 1024.0 * 1024.0;
/// And of that share of what was there.
const SUSPECTED_SHARE: f64 = 0.1;
/// And a limit has to be reached within a day.
const SUSPECTED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// The same of what has lasted; the limit within a day stands in for the share.
const CONFIRMED_BYTES: f64 = 4.0 * 1024.0 * 1024.0;
const CONFIRMED_SHARE: f64 = 0.02;

/// Later than this is never.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

pub(crate) fn analyze(scene: &Scene<'_>, findings: &mut Findings) {
    let needed = scene.thresholds.memory_leak;
    let mut young = None;
    for series in &scene.capture.timeline.processes {
        let Some(memory) = scene
            .capture
            .memory
            .iter()
            .find(|one| one.pid == series.pid)
        else {
            continue;
        };
        let from_s = grown_up_at(scene, memory);
        let spans = &scene.capture.timeline.spans;
        let points = points(spans, series, from_s);
        let seen = trend::of(&points);
        let lasted = seen.map_or(0.0, |seen| seen.span_s);
        if lasted < needed.mul_f64(ENOUGH).as_secs_f64() {
            findings
                .notices
                .extend(young::notice(scene, memory, series));
        }
        let Some(seen) = seen else {
            young = young.or((from_s > 0.0).then_some(series.pid));
            continue;
        };
        let before = points.first().map_or(0.0, |point| point.value);
        let judged = judge(scene, memory, &seen, before);
        findings.memory_trends.push(judged);
        if judged.span < needed.mul_f64(ENOUGH) && from_s > 0.0 {
            young = young.or(Some(series.pid));
        }
        if let Some(level) = judged.level {
            findings.push(evidence::finding(scene, memory, &judged, level));
        }
    }
    if let Some(why) = not_judged(scene, needed, young) {
        findings.skip(FindingKind::MemoryLeak, why);
    }
}

/// Why nothing was said.
fn not_judged(scene: &Scene<'_>, needed: Duration, young: Option<u32>) -> Option<SkipReason> {
    if scene.capture.duration < needed.mul_f64(ENOUGH) {
        let captured = scene.capture.duration;
        return Some(SkipReason::TooShort { captured, needed });
    }
    Some(SkipReason::Starting {
        process: scene.process_name(young?),
        needed: needed.saturating_mul(2),
    })
}

/// Until when a process is starting, in seconds since the beginning of the capture.
fn grown_up_at(scene: &Scene<'_>, memory: &Memory) -> f64 {
    let Some(age) = memory.age else { return 0.0 };
    let born_s = scene.capture.duration.as_secs_f64() - age.as_secs_f64();
    (born_s + scene.thresholds.memory_leak.as_secs_f64()).max(0.0)
}

/// What counts, by time: from `from_s` seconds after the beginning of the capture on.
fn points(spans: &[Span], series: &ProcessSeries, from_s: f64) -> Vec<Point> {
    let windows = spans.iter().skip(series.first).zip(&series.readings);
    let mut points: Vec<Point> = Vec::new();
    for (span, reading) in windows {
        let at_s = span.start.as_secs_f64() + span.length.as_secs_f64();
        let next = points
            .last()
            .is_none_or(|last| at_s - last.at_s >= PERIOD_S);
        if at_s >= from_s && next {
            let value = counted(reading) as f64;
            points.push(Point { at_s, value });
        }
    }
    points
}

/// Anonymous memory, in bytes, wherever it is.
const fn counted(reading: &MemoryReading) -> u64 {
    reading.anon_bytes.saturating_add(reading.swap_bytes)
}

fn judge(scene: &Scene<'_>, memory: &Memory, seen: &Trend, before: f64) -> MemoryTrend {
    let reached = reached(memory, seen);
    MemoryTrend {
        pid: memory.pid,
        form: seen.form,
        slope: seen.slope,
        low: seen.low,
        high: seen.high,
        start_bytes: seen.first.max(0.0) as u64,
        grown_bytes: seen.grown as u64,
        from: Duration::try_from_secs_f64(seen.from_s).unwrap_or_default(),
        span: Duration::try_from_secs_f64(seen.span_s).unwrap_or_default(),
        parts_grown: seen.parts_grown,
        parts: seen.parts,
        by_low_points: seen.by_low_points,
        level: level(scene, memory, seen, before, reached),
        reached,
    }
}

fn level(
    scene: &Scene<'_>,
    memory: &Memory,
    seen: &Trend,
    before: f64,
    reached: Option<Reached>,
) -> Option<LeakLevel> {
    let lasted = |threshold: Duration| seen.span_s >= threshold.as_secs_f64() * ENOUGH;
    if !seen.is_clear() || !lasted(scene.thresholds.memory_leak) {
        return None;
    }
    let soon = (!memory.limits.is_empty())
        .then(|| reached.is_some_and(|reached| reached.after <= SUSPECTED_WITHIN));
    let large = |bytes: f64, share: f64| (seen.grown >= bytes, seen.grown >= before * share);
    if lasted(scene.thresholds.memory_leak_confirmed) {
        let (enough, share) = large(CONFIRMED_BYTES, CONFIRMED_SHARE);
        if enough && (share || soon == Some(true)) {
            return Some(LeakLevel::Confirmed);
        }
    }
    let (enough, share) = large(SUSPECTED_BYTES, SUSPECTED_SHARE);
    (enough && share && soon != Some(false)).then_some(LeakLevel::Suspected)
}

/// Which limit comes first, at this pace.
fn reached(memory: &Memory, seen: &Trend) -> Option<Reached> {
    let limit = *memory
        .limits
        .iter()
        .min_by_key(|limit| limit.left_bytes())?;
    let after = |pace: f64| {
        let seconds = limit.left_bytes() as f64 / pace;
        let time = Duration::try_from_secs_f64(seconds).ok();
        time.filter(|time| *time < FAR)
    };
    Some(Reached {
        limit,
        after: after(seen.slope)?,
        soonest: after(seen.high)?,
        latest: after(seen.low),
    })
}
