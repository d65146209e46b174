//! Gaps in a thread's time, and what a number of them says.

use std::time::Duration;

/// From this length on it counts as a thread that ran there: interrupts took 7 to 80 µs where this was written, a switch
/// to another thread and back mostly more.
pub(super) const LONG: Duration = Duration::from_micros(100);

/// A time in which the spinner did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    /// When it was over, on the monotonic clock.
    pub end_ns: u64,
    /// How long it was.
    pub length_ns: u64,
}

/// The gaps of a span, by length.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gaps {
    sorted_ns: Vec<u64>,
    seconds: f64,
}

impl Gaps {
    /// Those that ended in this span.
    pub(super) fn within(all: &[Gap], from_ns: u64, to_ns: u64) -> Self {
        let inside = all
            .iter()
            .filter(|gap| (from_ns..to_ns).contains(&gap.end_ns));
        Self::of(
            inside.map(|gap| gap.length_ns).collect(),
            to_ns.saturating_sub(from_ns) as f64 / 1e9,
        )
    }

    fn of(mut lengths_ns: Vec<u64>, seconds: f64) -> Self {
        lengths_ns.sort_unstable();
        Self {
            sorted_ns: lengths_ns,
            seconds,
        }
    }

    /// Those of several spans.
    pub(super) fn together<'a>(spans: impl Iterator<Item = &'a Self>) -> Self {
        let (mut lengths_ns, mut seconds) = (Vec::new(), 0.0);
        for span in spans {
            lengths_ns.extend(&span.sorted_ns);
            seconds += span.seconds;
        }
        Self::of(lengths_ns, seconds)
    }

    /// Length of the span.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Gaps a second.
    pub(super) fn per_s(&self) -> f64 {
        self.sorted_ns.len() as f64 / self.seconds
    }

    /// Time in short gaps, in microseconds a second: what interrupts took.
    pub(super) fn short_us_per_s(&self) -> f64 {
        let (short, _) = self.sorted_ns.split_at(self.count_of_short());
        self.us_per_s(short)
    }

    /// Time in the others: what threads took that ran there.
    pub(super) fn long_us_per_s(&self) -> f64 {
        let (_, long) = self.sorted_ns.split_at(self.count_of_short());
        self.us_per_s(long)
    }

    fn count_of_short(&self) -> usize {
        let limit = u64::try_from(LONG.as_nanos()).unwrap_or(u64::MAX);
        self.sorted_ns.partition_point(|length| *length < limit)
    }

    fn us_per_s(&self, lengths_ns: &[u64]) -> f64 {
        lengths_ns.iter().sum::<u64>() as f64 / 1e3 / self.seconds
    }

    /// This share of the gaps is no longer, in microseconds; 0 where there is none.
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        let rank = (self.sorted_ns.len() as f64 * share).ceil() as usize;
        let length = self.sorted_ns.get(rank.saturating_sub(1));
        length.copied().unwrap_or(0) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn gap(end_ns: u64, length_ns: u64) -> Gap {
        Gap { end_ns, length_ns }
    }

    #[test]
    fn a_gap_belongs_to_the_span_in_which_it_ends() {
        let all = [gap(10, 7), gap(20, 6), gap(30, 9)];
        assert_eq!(Gaps::within(&all, 20, 30).sorted_ns, [6]);
        assert_eq!(Gaps::within(&all, 0, 31).sorted_ns, [6, 7, 9]);
    }

    #[test]
    fn spans_are_added_with_their_lengths() {
        let all: Vec<Gap> = (1..=200)
            .map(|number| gap(number, number * 1000))
            .chain([gap(SECOND + 1, 1_000_000)])
            .collect();
        let (first, second) = (
            Gaps::within(&all, 0, SECOND),
            Gaps::within(&all, SECOND, 2 * SECOND),
        );
        assert_eq!((first.per_s(), second.per_s()), (200.0, 1.0));
        let both = Gaps::together([first, second].iter());
        assert_eq!((both.per_s(), both.seconds()), (100.5, 2.0));
        let below_100: u64 = (1..100).sum();
        assert_eq!(both.short_us_per_s(), below_100 as f64 / 2.0);
        let others = 20_100 - below_100 + 1000;
        assert_eq!(both.long_us_per_s(), others as f64 / 2.0);
        let quantiles = [0.5, 0.99, 1.0].map(|share| both.quantile_us(share));
        assert_eq!(quantiles, [101.0, 199.0, 1000.0]);
    }

    #[test]
    fn no_gap_has_no_length() {
        let quiet = Gaps::within(&[], 0, 5);
        assert_eq!((quiet.per_s(), quiet.quantile_us(1.0)), (0.0, 0.0));
    }
}
