//! Series of known forms, and series of chance.

use super::*;
use proptest::prelude::*;

/// A value a second.
fn series(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
    let values = values.into_iter().enumerate();
    values
        .map(|(at, value)| Point {
            at_s: at as f64,
            value,
        })
        .collect()
}

fn form(points: &[Point]) -> GrowthForm {
    of(points).expect("long enough").form
}

/// Noise from 0 to 1 that is the same each time.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn a_line_is_steady_and_its_slope_is_known() {
    let trend = of(&series((0..30).map(|at| 1e8 + 3e6 * f64::from(at)))).expect("long enough");
    assert_eq!((trend.form, trend.parts_grown), (GrowthForm::Steady, 8));
    assert!((trend.slope - 3e6).abs() < 1.0 && trend.low <= 3e6 && trend.high >= 3e6);
    assert!((trend.grown - 29.0 * 3e6).abs() < 100.0);
}

#[test]
fn what_is_flat_or_shrinks_is_flat() {
    assert_eq!(form(&series([7.0; 30])), GrowthForm::Flat);
    let shrinking = of(&series((0..30).map(|at| 1e8 - 1e6 * f64::from(at)))).expect("long enough");
    assert_ne!(shrinking.form, GrowthForm::Steady);
}

#[test]
fn a_warm_up_levels_off() {
    for lasts in [3.0, 6.0, 12.0, 20.0] {
        let warm = (0..30).map(|at| 1e8 * (1.0 - (-f64::from(at) / lasts).exp()));
        let form = form(&series(warm));
        assert!(
            matches!(form, GrowthForm::LevelsOff | GrowthForm::Steps),
            "{lasts} {form:?}"
        );
    }
}

#[test]
fn a_pool_that_fills_and_stays_is_no_leak_wherever_it_is_full() {
    for full in 3..=25 {
        let pool = (0..30).map(|at| 1e8 + 1e6 * f64::from(at.min(full)));
        assert_ne!(form(&series(pool)), GrowthForm::Steady, "{full}");
    }
}

#[test]
fn one_step_or_two_are_steps() {
    for step in 1..29 {
        let one = (0..30).map(|at| if at < step { 1e7 } else { 9e7 });
        assert_ne!(form(&series(one)), GrowthForm::Steady, "{step}");
        let two = (0..30).map(|at| 1e7 * f64::from(1 + u8::from(at >= step) + u8::from(at > 20)));
        assert_ne!(form(&series(two)), GrowthForm::Steady, "{step}");
    }
}

#[test]
fn a_step_hides_no_leak_behind_it() {
    let mixed = (0..60).map(|at| 1e6 * f64::from(at) + if at < 30 { 0.0 } else { 2e7 });
    let trend = of(&series(mixed)).expect("long enough");
    assert_eq!(trend.form, GrowthForm::Steady);
    assert!(trend.low <= 1e6 && trend.slope < 2e6, "{trend:?}");
}

#[test]
fn teeth_come_back_whatever_their_period() {
    for period in 2..=15 {
        let teeth = (0..60).map(|at| 5e7 + 1e6 * f64::from(at % period));
        assert_ne!(form(&series(teeth)), GrowthForm::Steady, "{period}");
    }
}

#[test]
fn teeth_on_a_slope_are_a_leak_by_their_low_points() {
    let teeth = (0..120).map(|at| 2e6 * f64::from(at) + 3e7 * f64::from(at % 7) / 7.0);
    let trend = of(&series(teeth)).expect("long enough");
    assert_eq!(trend.form, GrowthForm::Steady);
    assert!((trend.slope / 2e6 - 1.0).abs() < 0.1, "{trend:?}");
    let steep = (0..120).map(|at| 2e5 * f64::from(at) + 3e7 * f64::from(at % 7) / 7.0);
    let trend = of(&series(steep)).expect("long enough");
    assert!(
        trend.by_low_points && trend.form == GrowthForm::Steady,
        "{trend:?}"
    );
    assert!((trend.slope / 2e5 - 1.0).abs() < 0.3, "{trend:?}");
}

#[test]
fn a_leak_that_begins_late_is_found_from_there_on() {
    let late = (0..100).map(|at| 1e8 + 1e6 * f64::from((at - 60).max(0)));
    let trend = of(&series(late)).expect("long enough");
    assert_eq!(trend.form, GrowthForm::Steady);
    assert!((57.0..=63.0).contains(&trend.from_s), "{trend:?}");
}

#[test]
fn windows_of_unequal_length_change_nothing() {
    let mut points = series((0..40).map(|at| 2e6 * f64::from(at)));
    points.retain(|point| point.at_s > 20.0 || point.at_s % 8.0 == 0.0);
    let trend = of(&points).expect("long enough");
    assert_eq!(trend.form, GrowthForm::Steady);
    assert!((trend.slope - 2e6).abs() < 1.0);
}

#[test]
fn chance_is_hardly_ever_a_leak() {
    let (mut steady, mut walks) = (0, 0);
    for seed in 1..=300 {
        let mut chance = noise(seed);
        let flat: Vec<f64> = (0..60).map(|_| 5e7 + 2e6 * chance()).collect();
        steady += usize::from(form(&series(flat)) == GrowthForm::Steady);
        let mut sum = 5e7;
        let walk = (0..60).map(|_| {
            sum += 2e6 * (chance() - 0.5);
            sum
        });
        let walk = of(&series(walk)).expect("long enough");
        walks += usize::from(walk.is_clear());
    }
    assert!(steady <= 3 && walks <= 9, "{steady} {walks}");
}

#[test]
fn growth_under_strong_noise_is_hardly_ever_missed() {
    let mut missed = 0;
    for seed in 1..=300 {
        let mut chance = noise(seed);
        let values = (0..60).map(|at| 5e7 + 1e6 * f64::from(at) + 0.15 * 6e7 * chance());
        missed += usize::from(form(&series(values)) != GrowthForm::Steady);
    }
    assert!(missed <= 15, "{missed} of 300");
}

#[test]
fn too_little_is_nothing() {
    assert_eq!(of(&[]), None);
    assert_eq!(of(&series((0..5).map(f64::from))), None);
    assert_eq!(
        of(&[Point {
            at_s: 1.0,
            value: 2.0
        }; 50]),
        None
    );
    assert_eq!(of(&series([f64::NAN; 40])), None);
}

proptest! {
    #[test]
    fn growth_is_found_through_noise(
        slope in 1e3..1e8_f64,
        start in 0.0..1e10_f64,
        noisy in 0.0..0.04_f64,
        length in 30..600_usize,
        seed in 1..u64::MAX,
    ) {
        let mut chance = noise(seed);
        let rise = slope * length as f64;
        let values = (0..length).map(|at| start + slope * at as f64 + rise * noisy * chance());
        let trend = of(&series(values)).expect("long enough");
        prop_assert_eq!(trend.form, GrowthForm::Steady, "{:?}", trend);
        prop_assert!((trend.slope / slope - 1.0).abs() < 0.35, "{:?}", trend);
        prop_assert!(trend.low <= trend.slope && trend.slope <= trend.high);
    }

    #[test]
    fn any_series_is_survived(
        values in prop::collection::vec((any::<f64>(), any::<f64>()), 0..400),
    ) {
        let points: Vec<Point> = values.iter().map(|(at_s, value)| Point { at_s: *at_s, value: *value }).collect();
        let _ = of(&points);
    }

    #[test]
    fn figures_are_numbers(values in prop::collection::vec(0.0..1e15_f64, 6..500)) {
        if let Some(trend) = of(&series(values)) {
            let figures = [trend.slope, trend.low, trend.high, trend.grown, trend.from_s, trend.span_s];
            prop_assert!(figures.iter().all(|figure| figure.is_finite()), "{:?}", trend);
            prop_assert!(trend.low <= trend.slope && trend.slope <= trend.high, "{:?}", trend);
            prop_assert!(trend.parts_grown <= trend.parts);
        }
    }

    #[test]
    fn units_change_no_form(values in prop::collection::vec(0.0..1e6_f64, 12..100), exponent in 0..8_i32) {
        let scale = 2_f64.powi(exponent);
        let scaled = values.iter().map(|value| value * scale);
        let (one, other) = (of(&series(values.iter().copied())), of(&series(scaled)));
        prop_assert_eq!(one.map(|one| one.form), other.map(|other| other.form));
    }
}
