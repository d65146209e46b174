//! A count that rises and does not come back, told from saw-teeth, warm-up and steps: descriptors, threads.

use crate::Scene;
use remora_model::MemoryReading;
use std::time::Duration;

/// A rise of fewer is none.
const LEAST: u64 = 20;
/// What may be given back of the growth.
const GIVEN_BACK: f64 = 0.1;
/// With fewer readings nothing can be told.
const READINGS: usize = 8;

/// A rise that does not come back.
pub(crate) struct Rise {
    /// By how many the floor rose.
    pub growth: u64,
    /// And how many a second.
    pub a_second: f64,
    /// How long was looked.
    pub over: Duration,
}

impl Rise {
    /// The rise of one of the counts of a process: the floor is higher in each quarter of the capture, hardly anything is given back, and the
    /// second half rises at least half as fast as the first.
    pub(crate) fn of(
        scene: &Scene<'_>,
        pid: u32,
        count: impl Fn(&MemoryReading) -> Option<u64>,
    ) -> Option<Self> {
        let mut all = scene.capture.timeline.processes.iter();
        let series = all.find(|series| series.pid == pid)?;
        let counts: Vec<u64> = series.readings.iter().filter_map(count).collect();
        (counts.len() >= READINGS).then_some(())?;
        let over = scene.capture.duration;
        let quarter = counts.len().div_ceil(4);
        let floors = counts.chunks(quarter);
        let floors: Vec<u64> = floors
            .filter_map(|chunk| chunk.iter().min().copied())
            .collect();
        let (first, last) = (*floors.first()?, *floors.last()?);
        let middle = *floors.get(floors.len() / 2)?;
        let growth = last.saturating_sub(first);
        let steps = floors.len() as f64 - 1.0;
        let half = floors.len() / 2;
        let before = middle.saturating_sub(first) as f64 / half.max(1) as f64;
        let after = last.saturating_sub(middle) as f64 / (steps - half as f64).max(1.0);
        let rises = floors.is_sorted_by(|a, b| a < b);
        let steady =
            after >= before / 2.0 && drawdown(&counts) as f64 <= GIVEN_BACK * growth as f64;
        // From the beginning of the first quarter to that of the last, which may be shorter.
        let span = over.as_secs_f64() * steps * quarter as f64 / counts.len() as f64;
        (rises && steady && growth >= LEAST).then(|| Self {
            growth,
            a_second: growth as f64 / span.max(1e-3),
            over,
        })
    }

    /// Whether most of it is left when so much of it has another cause.
    pub(crate) fn is_kept_without(&self, explained: u64) -> bool {
        let kept = self.growth.saturating_sub(explained);
        kept >= LEAST && kept >= self.growth / 2
    }
}

/// The largest fall from a height.
fn drawdown(counts: &[u64]) -> u64 {
    let (mut top, mut most) = (0, 0);
    for count in counts {
        top = top.max(*count);
        most = most.max(top - count);
    }
    most
}
