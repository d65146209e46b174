//! Values to places: the axes, and where their marks stand.

use crate::text::count;

/// An axis from one value to another, drawn from one place to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Axis {
    pub from: f64,
    pub to: f64,
    pub first: f64,
    pub last: f64,
}

impl Axis {
    /// The place of a value; beyond the axis it is its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from).max(f64::MIN_POSITIVE);
        self.first + share.clamp(0.0, 1.0) * (self.last - self.first)
    }
}

const STEPS_S: [f64; 20] = [
    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0,
    14_400.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 604_800.0,
];

/// Round times between two, `most` at the most, in seconds.
pub(super) fn times(from: f64, to: f64, most: f64) -> Vec<f64> {
    let step = STEPS_S.iter().find(|step| (to - from) / **step <= most);
    marks(from, to, *step.unwrap_or(&((to - from) / 2.0)))
}

/// Round sizes between two, six at the most.
pub(super) fn sizes(from: f64, to: f64) -> Vec<f64> {
    marks(from, to, size_step((to - from) / 6.0))
}

/// The smallest step that is at least so large, and round in its unit.
pub(super) fn size_step(least: f64) -> f64 {
    let mut unit = 1_024.0;
    while unit * 1_000.0 < least {
        unit *= 1_024.0;
    }
    let rounds = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];
    let round = rounds.iter().find(|round| **round * unit >= least);
    round.map_or(unit * 1_024.0, |round| round * unit)
}

fn marks(from: f64, to: f64, step: f64) -> Vec<f64> {
    const MOST: usize = 64;
    let is_sane = step.is_finite() && step > 0.0 && from.is_finite() && to.is_finite();
    if !is_sane {
        return Vec::new();
    }
    let first = (from / step - 1e-9).ceil();
    (0..MOST)
        .map(|at| (first + at as f64) * step)
        .take_while(|mark| *mark <= to + step * 1e-9)
        .collect()
}

/// A time inside the capture: seconds in a short one, as a clock in a long one.
pub(super) fn clock(at_s: f64, whole_s: f64) -> String {
    let seconds = at_s.max(0.0).round() as u64;
    match whole_s {
        ..180.0 => format!("{seconds} s"),
        ..3_600.0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        _ => format!(
            "{}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        ),
    }
}

const UNITS: [(f64, &str); 4] = [
    (1_099_511_627_776.0, "TiB"),
    (1_073_741_824.0, "GiB"),
    (1_048_576.0, "MiB"),
    (1_024.0, "KiB"),
];

/// A mark of the axis of sizes: whole where it is.
pub(super) fn size(bytes: f64) -> String {
    let Some((unit, name)) = UNITS.iter().find(|(unit, _)| bytes >= *unit) else {
        return format!("{}", bytes.round());
    };
    let value = bytes / unit;
    match (value - value.round()).abs() < 1e-6 {
        true => format!("{} {name}", count(value.round() as u64)),
        false => format!("{value:.1} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    #[test]
    fn marks_are_round_and_few() {
        assert_eq!(
            times(0.0, 120.0, 8.0),
            [0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 105.0, 120.0]
        );
        assert_eq!(
            times(1.0, 3_600.0, 8.0),
            [600.0, 1_200.0, 1_800.0, 2_400.0, 3_000.0, 3_600.0]
        );
        let marks = sizes(0.0, 500.0 * MIB);
        assert_eq!(
            marks.iter().map(|mark| size(*mark)).collect::<Vec<_>>(),
            ["0", "100 MiB", "200 MiB", "300 MiB", "400 MiB", "500 MiB"]
        );
        assert_eq!(size(1.5 * 1_024.0 * MIB), "1.5 GiB");
    }

    #[test]
    fn nonsense_has_no_marks() {
        assert!(times(f64::NAN, 1.0, 8.0).is_empty());
        assert!(sizes(0.0, f64::INFINITY).len() <= 64);
        assert!(sizes(1e300, 2e300).len() <= 64);
        let axis = Axis {
            from: 5.0,
            to: 5.0,
            first: 10.0,
            last: 20.0,
        };
        assert!((10.0..=20.0).contains(&axis.place(5.0)));
        assert!((10.0..=20.0).contains(&axis.place(f64::INFINITY)));
    }

    #[test]
    fn times_read_as_the_capture_is_long() {
        assert_eq!(clock(90.0, 120.0), "90 s");
        assert_eq!(clock(90.0, 600.0), "1:30");
        assert_eq!(clock(3_690.0, 7_200.0), "1:01:30");
    }
}
