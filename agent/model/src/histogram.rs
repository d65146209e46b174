//! Lengths of time by number: a few counts in each window, and the quantiles of any number of windows.

use hdrhistogram::Histogram as Hdr;
use remora_common::event_loop::{LOOP_BUCKETS, bucket_floor_ns};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How exact quantiles are: three digits, finer than the buckets.
const DIGITS: u8 = 3;

/// Numbers of lengths by bucket of the kernel side (`remora_common::event_loop::bucket`, at most a
/// sixteenth wide), those that are not zero, in the order of their buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Histogram {
    counts: Vec<(u16, u32)>,
}

/// What is said of many lengths of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// Half are at most this long.
    pub p50: Duration,
    /// 95 % are.
    pub p95: Duration,
    /// 99 % are.
    pub p99: Duration,
}

impl Histogram {
    /// What came to `before` until `now`, both by bucket.
    pub fn between(before: &[u32], now: &[u32]) -> Self {
        let buckets = now.iter().zip(before).enumerate();
        let counts = buckets.filter_map(|(bucket, (now, before))| {
            // Counters wrap after 2^32.
            let more = now.wrapping_sub(*before);
            (more != 0).then_some((bucket as u16, more))
        });
        Self {
            counts: counts.collect(),
        }
    }

    /// Of counts by bucket, in order.
    pub const fn of(counts: Vec<(u16, u32)>) -> Self {
        Self { counts }
    }

    /// Counts by bucket, those that are not zero, in order.
    pub fn counts(&self) -> &[(u16, u32)] {
        &self.counts
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, more) in &other.counts {
            match self
                .counts
                .binary_search_by_key(bucket, |(bucket, _)| *bucket)
            {
                Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(*more),
                Err(at) => self.counts.insert(at, (*bucket, *more)),
            }
        }
    }

    /// Number of lengths.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    /// The end of the longest one's bucket, in nanoseconds; 0 without any.
    pub fn longest_ns(&self) -> u64 {
        let last = self.counts.last();
        last.map_or(0, |(bucket, _)| bucket_floor_ns(usize::from(*bucket) + 1))
    }

    /// Number of lengths that are at least this long: those of the bucket that it lies in are left out.
    pub fn count_from(&self, least: Duration) -> u64 {
        let least_ns = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX);
        let long = self.counts.iter();
        let long = long.filter(|(bucket, _)| bucket_floor_ns(usize::from(*bucket)) >= least_ns);
        long.map(|(_, count)| u64::from(*count)).sum()
    }

    /// The beginning of the shortest one's bucket, in nanoseconds; 0 without any.
    pub fn shortest_ns(&self) -> u64 {
        let first = self.counts.first();
        first.map_or(0, |(bucket, _)| bucket_floor_ns(usize::from(*bucket)))
    }

    /// The quantiles, none beyond `longest`, which is known exactly; `None` without any length.
    pub fn quantiles(&self, longest: Duration) -> Option<Quantiles> {
        let longest_ns = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        let mut lengths = Hdr::<u64>::new(DIGITS).ok()?;
        lengths.auto(true);
        for (bucket, count) in &self.counts {
            lengths
                .record_n(middle_ns(usize::from(*bucket)), u64::from(*count))
                .ok()?;
        }
        let at =
            |quantile| Duration::from_nanos(lengths.value_at_quantile(quantile).min(longest_ns));
        (!lengths.is_empty()).then(|| Quantiles {
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
        })
    }
}

/// The middle of a bucket.
fn middle_ns(bucket: usize) -> u64 {
    let floor = bucket_floor_ns(bucket.min(LOOP_BUCKETS - 1));
    let next = bucket_floor_ns((bucket + 1).min(LOOP_BUCKETS));
    floor + (next - floor) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_common::event_loop::bucket;

    fn of(lengths: &[u64]) -> Histogram {
        let mut now = [0; LOOP_BUCKETS];
        lengths.iter().for_each(|ns| now[bucket(*ns)] += 1);
        Histogram::between(&[0; LOOP_BUCKETS], &now)
    }

    #[test]
    fn quantiles_are_within_a_bucket_of_the_truth() {
        let lengths: Vec<u64> = (1..=10_000).map(|i| i * 10_000).collect();
        let quantiles = of(&lengths).quantiles(Duration::from_millis(100)).unwrap();
        for (found, expected_ms) in [
            (quantiles.p50, 50.0),
            (quantiles.p95, 95.0),
            (quantiles.p99, 99.0),
        ] {
            let off = (found.as_secs_f64() * 1e3 / expected_ms - 1.0).abs();
            assert!(off < 0.035, "{found:?} instead of {expected_ms} ms");
        }
    }

    #[test]
    fn merged_windows_are_the_whole() {
        let (a, b) = (of(&[5, 500, 50_000]), of(&[500, 7_000_000]));
        let mut merged = a;
        merged.merge(&b);
        assert_eq!(merged, of(&[5, 500, 50_000, 500, 7_000_000]));
        assert_eq!(merged.count(), 5);
        merged.merge(&Histogram::default());
        assert_eq!(merged.count(), 5);
    }

    #[test]
    fn no_quantile_is_longer_than_the_longest_and_none_is_of_nothing() {
        let longest = Duration::from_nanos(1_000_001);
        assert!(of(&[1_000_001]).quantiles(longest).unwrap().p99 <= longest);
        assert_eq!(of(&[]).quantiles(longest), None);
        assert!(of(&[u64::MAX]).quantiles(Duration::MAX).is_some());
    }

    #[test]
    fn long_ones_are_counted_and_the_shortest_is_known() {
        let lengths = of(&[1_000, 1_000_000, 2_000_000, 900_000_000]);
        assert_eq!(lengths.count_from(Duration::from_millis(500)), 1);
        assert_eq!(lengths.count_from(Duration::ZERO), 4);
        assert!((900..=1_000).contains(&lengths.shortest_ns()));
        assert_eq!(of(&[]).count_from(Duration::ZERO), 0);
    }

    #[test]
    fn a_counter_that_wrapped_still_counts() {
        let counts = Histogram::between(&[u32::MAX - 1], &[2]);
        assert_eq!(counts.count(), 4);
    }
}
