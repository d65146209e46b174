//! Order statistics of a few repeated measurements.
//!
//! A shared machine gives outliers on one side only, so the figures are medians and quartiles,
//! and the extremes are shown rather than averaged in.

use serde::Serialize;

/// Five-number summary of a non-empty set of finite numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    /// Smallest.
    pub min: f64,
    /// First quartile.
    pub q1: f64,
    /// Median.
    pub median: f64,
    /// Third quartile.
    pub q3: f64,
    /// Largest.
    pub max: f64,
    /// How many numbers there were.
    pub n: usize,
}

impl Spread {
    /// Summarises `values`; those that are not finite are left out. `None` if nothing remains.
    pub(super) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            min: *sorted.first()?,
            q1: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            q3: quantile(&sorted, 0.75),
            max: *sorted.last()?,
            n: sorted.len(),
        })
    }
}

/// The quantile `p` (0 to 1) of a sorted, non-empty slice, linear between the two neighbours
/// (Hyndman and Fan's type 7, which R and NumPy use).
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let position = p * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    sorted[below] + (sorted[above] - sorted[below]) * (position - below as f64)
}

/// `on` against the mean of the measurements just before and after it, in which a steady drift of
/// the machine cancels out.
pub(super) fn against_neighbours(before: f64, on: f64, after: f64) -> f64 {
    on / f64::midpoint(before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_an_odd_number_are_members() {
        let spread = Spread::of(&[5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
        let expected = Spread {
            min: 1.0,
            q1: 2.0,
            median: 3.0,
            q3: 4.0,
            max: 5.0,
            n: 5,
        };
        assert_eq!(spread, expected);
    }

    #[test]
    fn quartiles_of_an_even_number_lie_between() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!((spread.q1, spread.median, spread.q3), (1.75, 2.5, 3.25));
    }

    #[test]
    fn one_number_is_all_five() {
        let spread = Spread::of(&[0.9]).unwrap();
        assert_eq!(
            (spread.min, spread.q1, spread.median, spread.q3, spread.max),
            { (0.9, 0.9, 0.9, 0.9, 0.9) }
        );
    }

    #[test]
    fn nothing_has_no_spread_and_infinities_do_not_count() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[f64::NAN, f64::INFINITY]), None);
        assert_eq!(Spread::of(&[f64::INFINITY, 2.0]).unwrap().n, 1);
    }

    #[test]
    fn a_linear_drift_cancels_out() {
        // The machine slows from 100 to 80; half way the profiler takes a tenth of 90.
        assert_eq!(against_neighbours(100.0, 81.0, 80.0), 0.9);
    }
}
