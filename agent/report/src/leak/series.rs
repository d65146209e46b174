//! The readings of a process as points, few enough to draw.

use remora_model::MemoryReading;
use remora_model::timeline::{ProcessSeries, Span};

/// Kinds of memory, from the ground up: what counts for a leak lies at the bottom, so that its top is its size.
pub(super) const KINDS: usize = 4;

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Seconds since the beginning of the capture.
    pub at_s: f64,
    /// By kind, in bytes.
    pub bytes: [f64; KINDS],
}

impl Point {
    /// Anonymous memory, swapped out or not.
    pub(super) fn counted(&self) -> f64 {
        self.bytes[0] + self.bytes[1]
    }

    /// All kinds.
    pub(super) fn total(&self) -> f64 {
        self.bytes.iter().sum()
    }
}

/// All readings of a process.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    /// In the order of time; two at the least.
    pub points: Vec<Point>,
}

impl Series {
    /// Each reading stands at the end of its window; `None` where there are not two.
    pub(super) fn of(spans: &[Span], series: &ProcessSeries) -> Option<Self> {
        let windows = spans.iter().skip(series.first).zip(&series.readings);
        let mut points: Vec<Point> = Vec::new();
        for (span, reading) in windows {
            let at_s = span.start.as_secs_f64() + span.length.as_secs_f64();
            if points.last().is_none_or(|last| at_s > last.at_s) {
                let bytes = by_kind(reading);
                points.push(Point { at_s, bytes });
            }
        }
        (points.len() > 1).then_some(Self { points })
    }

    /// First and last time, in seconds.
    pub(super) fn span(&self) -> (f64, f64) {
        let at = |point: Option<&Point>| point.map_or(0.0, |point| point.at_s);
        (at(self.points.first()), at(self.points.last()))
    }

    /// The smallest and the largest of a figure.
    pub(super) fn range(&self, of: fn(&Point) -> f64) -> (f64, f64) {
        let values = || self.points.iter().map(of);
        (
            values().fold(f64::INFINITY, f64::min),
            values().fold(0.0, f64::max),
        )
    }

    /// What a picture of so many columns shows: of each column the lowest and the highest reading and the ends,
    /// and of readings that are all alike the first and the last.
    pub(super) fn thinned(&self, columns: usize) -> Vec<Point> {
        let (from, to) = self.span();
        let column = |point: &Point| {
            let share = (point.at_s - from) / (to - from).max(1e-9);
            (share * columns as f64) as usize
        };
        let mut thin: Vec<Point> = Vec::new();
        for some in self.points.chunk_by(|a, b| column(a) == column(b)) {
            let by_size = |a: &&Point, b: &&Point| a.total().total_cmp(&b.total());
            let ends = [some.first(), some.last()];
            let extremes = [some.iter().min_by(by_size), some.iter().max_by(by_size)];
            let mut kept: Vec<Point> = ends
                .into_iter()
                .chain(extremes)
                .flatten()
                .copied()
                .collect();
            kept.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
            kept.dedup();
            thin.extend(kept);
        }
        let alike = |a: Option<&Point>, b: &Point| a.is_some_and(|a| a.bytes == b.bytes);
        let inner = |at: usize, point: &Point| {
            at > 0 && alike(thin.get(at - 1), point) && alike(thin.get(at + 1), point)
        };
        let kept = thin.iter().enumerate();
        kept.filter(|(at, point)| !inner(*at, point))
            .map(|(_, point)| *point)
            .collect()
    }
}

fn by_kind(reading: &MemoryReading) -> [f64; KINDS] {
    [
        reading.anon_bytes,
        reading.swap_bytes,
        reading.shmem_bytes,
        reading.file_bytes,
    ]
    .map(|bytes| bytes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn series(values: &[u64], first: usize) -> Option<Series> {
        let spans: Vec<Span> = (0..values.len() + first)
            .map(|at| Span {
                start: Duration::from_secs(at as u64),
                length: Duration::from_secs(1),
            })
            .collect();
        let readings = values.iter().map(|anon_bytes| MemoryReading {
            anon_bytes: *anon_bytes,
            ..MemoryReading::default()
        });
        let series = ProcessSeries {
            pid: 1,
            first,
            readings: readings.collect(),
        };
        Series::of(&spans, &series)
    }

    #[test]
    fn one_reading_is_no_series() {
        assert_eq!(series(&[], 0), None);
        assert_eq!(series(&[7], 0), None);
        let two = series(&[7, 8], 3).expect("a series");
        assert_eq!(two.span(), (4.0, 5.0));
    }

    #[test]
    fn what_stands_out_stays_and_what_is_flat_goes() {
        let mut values = vec![100; 3_600];
        values[1_777] = 900;
        values[2_500] = 1;
        let thin = series(&values, 0).expect("a series").thinned(100);
        assert!(thin.len() < 20, "{}", thin.len());
        let has = |value: f64| thin.iter().any(|point| point.total() == value);
        assert!(has(900.0) && has(1.0));
        assert_eq!((thin[0].at_s, thin[thin.len() - 1].at_s), (1.0, 3_600.0));
    }

    #[test]
    fn noise_of_an_hour_is_four_points_a_column() {
        let noise: Vec<u64> = (0..36_000_u64)
            .map(|at| at.wrapping_mul(2_654_435_761) % 9_999)
            .collect();
        let thin = series(&noise, 0).expect("a series").thinned(400);
        assert!(thin.len() <= 4 * 401, "{}", thin.len());
        assert!(thin.windows(2).all(|pair| pair[0].at_s < pair[1].at_s));
    }
}
