//! Growth that is too young to judge: a notice, where silence would be taken for an all-clear.
//!
//! A process that starts grows, and one that fills a cache does. So only what stands out of that gets a notice: a pace that
//! has lasted for two thirds of the threshold and does not slow down, by much, and that reaches a limit within two hours.
//! The first third of the threshold after a start does not count: imports, pools and first caches.

use super::{ENOUGH, SUSPECTED_BYTES, SUSPECTED_SHARE, evidence, judge, points, trend};
use crate::Scene;
use remora_model::display::text::{duration, fit};
use remora_model::{
    Fact, Memory, MemoryTrend, Notice, NoticeKind, Process, Reached, Topic, timeline::ProcessSeries,
};
use std::time::Duration;

/// Share of the threshold for which it has to be steady.
const STEADY: f64 = 2.0 / 3.0;
/// Share of it after a start that does not count.
const START: f64 = 1.0 / 3.0;
/// A limit has to be reached within this time.
const WITHIN: Duration = Duration::from_secs(2 * 3600);
/// Characters of a headline.
const HEADLINE: usize = 100;

/// Of a target that grows strongly and has not done so for long.
pub(super) fn notice(scene: &Scene<'_>, memory: &Memory, series: &ProcessSeries) -> Option<Notice> {
    let process = scene.process(memory.pid)?;
    if !process.is_target() || process.exited {
        return None;
    }
    let needed = scene.thresholds.memory_leak;
    let since_start = memory.age.map_or(0.0, |age| {
        let born_s = scene.capture.duration.as_secs_f64() - age.as_secs_f64();
        (born_s + needed.as_secs_f64() * START).max(0.0)
    });
    let points = points(&scene.capture.timeline.spans, series, since_start);
    let seen = trend::of(&points)?;
    let before = points.first().map_or(0.0, |point| point.value);
    let is_large = seen.grown >= SUSPECTED_BYTES && seen.grown >= before * SUSPECTED_SHARE;
    let lasted = seen.span_s >= needed.as_secs_f64() * STEADY * ENOUGH;
    if !seen.is_clear() || seen.by_low_points || !lasted || !is_large {
        return None;
    }
    let trend = judge(scene, memory, &seen, before);
    let reached = trend.reached.filter(|it| it.after <= WITHIN)?;
    Some(words(scene, process, &trend, &reached))
}

fn words(scene: &Scene<'_>, process: &Process, trend: &MemoryTrend, reached: &Reached) -> Notice {
    let name = scene.process_name(process.pid);
    let (pace, span) = (evidence::rate(trend.slope), duration(trend.span));
    let after = duration(Duration::from_secs(reached.after.as_secs()));
    let what = format!("grows by {pace} for {span}, too early to call it a leak");
    let summary = format!("{name} {what}; limit in {after}");
    let needed = duration(scene.thresholds.memory_leak);
    let fact = |what, value| Fact { what, value };
    Notice {
        kind: NoticeKind::YoungGrowth,
        pid: process.pid,
        tid: None,
        thread: process.comm.clone(),
        since: Some(trend.span),
        since_at_least: true,
        summary: match summary.chars().count() <= HEADLINE {
            true => summary,
            false => fit(&format!("{name} {what}"), HEADLINE).into_owned(),
        },
        evidence: vec![
            fact(Topic::Trend, evidence::trend_words(trend)),
            fact(Topic::Limit, evidence::limit_words(reached)),
            fact(
                Topic::Unknown,
                format!(
                    "whether it levels off: judged after {needed} of steady growth in a process older than {needed}"
                ),
            ),
        ],
        next: format!("Watch longer: remora record --pid {} -d 2m.", process.pid),
    }
}
