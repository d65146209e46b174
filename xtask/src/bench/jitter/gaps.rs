//! Gaps in a thread's time, and what a number of them says.

use serde::Serialize;

/// A time in which the spinner did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// When it was over, on the monotonic clock.
    pub end_ns: u64,
    /// How long it was.
    pub length_ns: u64,
}

/// The gaps of some spans of the same kind, together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gaps {
    lengths_ns: Vec<u64>,
    seconds: f64,
}

/// What they say.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Gaps a second.
    pub per_s: f64,
    /// Time in them, in microseconds a second.
    pub lost_us_per_s: f64,
    /// Half of them are no longer, in microseconds.
    pub median_us: f64,
    /// All but one in a hundred are no longer.
    pub p99_us: f64,
    /// The longest.
    pub longest_us: f64,
}

impl Gaps {
    /// Those that ended in this span.
    pub fn within(all: &[Gap], from_ns: u64, to_ns: u64) -> Self {
        let inside = all
            .iter()
            .filter(|gap| (from_ns..to_ns).contains(&gap.end_ns));
        Self {
            lengths_ns: inside.map(|gap| gap.length_ns).collect(),
            seconds: to_ns.saturating_sub(from_ns) as f64 / 1e9,
        }
    }

    /// With those of another span.
    pub fn add(&mut self, other: &Self) {
        self.lengths_ns.extend(&other.lengths_ns);
        self.seconds += other.seconds;
    }

    /// Time of the spans.
    pub fn seconds(&self) -> f64 {
        self.seconds
    }

    /// Time in gaps, in microseconds a second.
    pub fn lost_us_per_s(&self) -> f64 {
        self.lengths_ns.iter().sum::<u64>() as f64 / 1e3 / self.seconds
    }

    /// What they say; `None` for no time at all.
    pub fn figures(&self) -> Option<Figures> {
        if self.seconds <= 0.0 {
            return None;
        }
        let mut sorted = self.lengths_ns.clone();
        sorted.sort_unstable();
        // The smallest that is no less than this share of all.
        let at = |share: f64| {
            let rank = (sorted.len() as f64 * share).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0) as f64 / 1e3
        };
        Some(Figures {
            per_s: sorted.len() as f64 / self.seconds,
            lost_us_per_s: self.lost_us_per_s(),
            median_us: at(0.5),
            p99_us: at(0.99),
            longest_us: at(1.0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(end_ns: u64, length_ns: u64) -> Gap {
        Gap { end_ns, length_ns }
    }

    #[test]
    fn a_gap_belongs_to_the_span_in_which_it_ends() {
        let all = [gap(10, 7), gap(20, 6), gap(30, 9)];
        assert_eq!(Gaps::within(&all, 20, 30).lengths_ns, [6]);
        assert_eq!(Gaps::within(&all, 0, 31).lengths_ns, [7, 6, 9]);
    }

    #[test]
    fn figures_are_for_all_spans_together() {
        let second = 1_000_000_000;
        let all: Vec<Gap> = (1..=200)
            .map(|number| gap(number, number * 1000))
            .chain([gap(second + 1, 1_000_000)])
            .collect();
        let mut gaps = Gaps::within(&all, 0, second);
        gaps.add(&Gaps::within(&all, second, 2 * second));
        let figures = gaps.figures().unwrap();
        assert_eq!(figures.per_s, 100.5);
        assert_eq!((figures.median_us, figures.p99_us), (101.0, 199.0));
        assert_eq!(figures.longest_us, 1000.0);
        assert_eq!(figures.lost_us_per_s, (20_100.0 + 1000.0) / 2.0);
    }

    #[test]
    fn no_gap_is_a_figure_and_no_time_is_none() {
        assert_eq!(Gaps::default().figures(), None);
        let quiet = Gaps::within(&[], 0, 5).figures().unwrap();
        assert_eq!((quiet.per_s, quiet.longest_us), (0.0, 0.0));
    }
}
