//! What is said of a process: a word, and a line or two.

use super::Process;
use super::draw::Mark;
use crate::text::{bytes, duration};
use remora_analyze::leak_evidence::{limit_words, rate};
use remora_model::display::skipped;
use remora_model::{FindingKind, GrowthForm, LeakLevel, MemoryTrend};

/// Pages of files that grew by so much, and by more than all else, are what there is to say.
const CACHE_BYTES: u64 = 8 << 20;

/// What grew by so much before it was judged, in bytes, and by that share of it since, has levelled off.
const STARTED_BYTES: f64 = 1_048_576.0;
const RESTED: f64 = 0.1;

/// The trend begins late that begins so long after the readings, in seconds.
const LATE_S: f64 = 2.5;

/// The words of a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caption {
    /// The verdict.
    pub word: &'static str,
    /// How bad it is.
    pub mark: Mark,
    /// Why.
    pub lines: Vec<String>,
}

/// What there is to say.
pub(super) fn of(process: &Process<'_>) -> Caption {
    let Some(trend) = process.trend else {
        let why = not_judged(process)
            .unwrap_or_else(|| "there are too few readings for a trend".to_owned());
        return caption("NOT JUDGED", Mark::Open, why);
    };
    let mut said = match trend.level {
        Some(LeakLevel::Confirmed) => caption("LEAK CONFIRMED", Mark::Bad, pace(trend)),
        Some(LeakLevel::Suspected) => caption("LEAK SUSPECTED", Mark::Doubtful, pace(trend)),
        None => harmless(process, trend),
    };
    let growing = trend.form == GrowthForm::Steady;
    if let Some(reached) = trend.reached.filter(|_| growing) {
        said.lines
            .push(format!("at this pace: {}", limit_words(&reached)));
    }
    said
}

fn caption(word: &'static str, mark: Mark, line: String) -> Caption {
    Caption {
        word,
        mark,
        lines: vec![line],
    }
}

/// No leak, by its form.
fn harmless(process: &Process<'_>, trend: &MemoryTrend) -> Caption {
    let (file, anon) = grown(process);
    if trend.form != GrowthForm::Steady && file >= CACHE_BYTES && file > anon {
        let line = format!(
            "no growth that stays: pages of files +{}, which the kernel takes back when it needs them",
            bytes(file)
        );
        return caption("PAGE CACHE", Mark::Well, line);
    }
    if let Some(said) = started(process, trend) {
        return said;
    }
    let (word, why) = match trend.form {
        GrowthForm::Flat => ("NO GROWTH", "no growth that stays"),
        GrowthForm::LevelsOff => (
            "LEVELS OFF",
            "it grew less and less, as in a warm-up: no growth that goes on",
        ),
        GrowthForm::ComesBack => (
            "COMES BACK",
            "it takes and gives back, as a garbage collector does: no growth that stays",
        ),
        GrowthForm::Steps => (
            "STEPS",
            "it grew in a few places and rested in between: no growth that goes on",
        ),
        GrowthForm::Steady => return steady(process, trend),
    };
    let begin = process.series.span().0;
    let late = match trend.from.as_secs_f64() > begin + LATE_S {
        true => format!(" (judged from {} on)", duration(trend.from)),
        false => String::new(),
    };
    caption(word, Mark::Well, format!("{why}{late}"))
}

/// What grew before it was judged, and has as good as rested since: it started, or warmed up.
fn started(process: &Process<'_>, trend: &MemoryTrend) -> Option<Caption> {
    if !matches!(
        trend.form,
        GrowthForm::Flat | GrowthForm::Steps | GrowthForm::LevelsOff
    ) {
        return None;
    }
    let points = || process.series.points.iter();
    let from = trend.from.as_secs_f64();
    let first = points().next()?.counted();
    let judged = points().find(|point| point.at_s >= from)?.counted();
    let (before, since) = (judged - first, points().last()?.counted() - judged);
    (before >= STARTED_BYTES && since.abs() <= before * RESTED).then(|| {
        let line = format!(
            "it grew by {} in the first {} and by {} since, as at a start or in a warm-up: no growth that goes on",
            bytes(before as u64),
            duration(trend.from),
            bytes(since.max(0.0) as u64)
        );
        caption("LEVELS OFF", Mark::Well, line)
    })
}

/// Steady, and no leak: too short, or too little.
fn steady(process: &Process<'_>, trend: &MemoryTrend) -> Caption {
    let mut said = caption("GROWS", Mark::Open, pace(trend));
    let why = not_judged(process).map_or_else(
        || "no leak is suspected: it is too little, too uncertain, or no limit is near".to_owned(),
        |why| format!("whether it leaks is not judged: {why}"),
    );
    said.lines.push(why);
    said
}

fn pace(trend: &MemoryTrend) -> String {
    let points = match trend.by_low_points {
        true => ", by its low points",
        false => "",
    };
    format!(
        "{} (95 % interval {} to {}) for {}: {} that stayed{points}; it grew in {} of {} parts of the time",
        rate(trend.slope),
        rate(trend.low),
        rate(trend.high),
        duration(trend.span),
        bytes(trend.grown_bytes),
        trend.parts_grown,
        trend.parts
    )
}

/// Growth of pages of files and shared memory, and of what counts, in bytes.
fn grown(process: &Process<'_>) -> (u64, u64) {
    let (start, end) = (process.memory.start, process.memory.end);
    let file = end.file_bytes.saturating_sub(start.file_bytes);
    let counted = |kinds: remora_model::Resident| kinds.anon_bytes.saturating_add(kinds.swap_bytes);
    (file, counted(end).saturating_sub(counted(start)))
}

/// Why the analyzer says nothing of memory.
fn not_judged(process: &Process<'_>) -> Option<String> {
    let mut missing = process.judgement?.skipped.iter();
    missing
        .find(|skipped| skipped.kind == FindingKind::MemoryLeak)
        .map(|skipped| skipped::why(&skipped.why))
}
