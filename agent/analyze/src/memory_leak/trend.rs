//! Whether a series grows and stays, and how fast: robust statistics that know nothing of memory.
//!
//! The slope is Theil and Sen's: the median of the slopes of all pairs of points, which three in ten
//! outliers do not move. Its interval is Sen's, by Kendall's distribution of concordant pairs. That one takes
//! the points for independent, and a sum that grows is none: each point has all before it in it. So the slopes
//! of the parts of the series, which *are* independent in a sum, give an interval of their own (Hodges and
//! Lehmann's, by Wilcoxon's signed ranks), and the wider end of the two counts.
//!
//! A slope alone says nothing of what made it. What is no steady growth is told apart by its form:
//!
//! | form | told by |
//! | --- | --- |
//! | comes back (garbage collection) | it falls by a quarter of its range: only its low points count then |
//! | a step, or a few | the parts between are flat |
//! | levels off (warm-up, a pool that fills) | its last third, or its last part, is flatter than its first |
//! | began late | nothing before: what follows is judged as a series of its own |
//!
//! References: P. K. Sen, Journal of the American Statistical Association 63 (1968), 1379-1389; J. L. Hodges and
//! E. L. Lehmann, Annals of Mathematical Statistics 34 (1963), 598-611.

use remora_model::GrowthForm;

/// Points that are looked at: all pairs of them are compared.
const MAX_POINTS: usize = 200;

/// Points without which nothing is said.
const MIN_POINTS: usize = 6;

/// Parts of the series that must have grown each, but for one of them.
const PARTS: usize = 8;

/// Of a normal distribution: 95 % lie within so many standard deviations.
const Z_95: f64 = 1.96;

/// A fall by that share of the range is no noise.
const FALL: f64 = 0.25;

/// A part has grown that has that share of what it had if all parts were alike.
const GROWN: f64 = 0.1;

/// The last third of a steady growth has that share of the pace of its first at the least.
const LAST_THIRD: f64 = 0.6;

/// And its last part that of the mean of all.
const LAST_PART: f64 = 0.3;

/// Until it has grown by that share of its growth, it has not begun.
const BEGUN: f64 = 0.05;

/// A value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Seconds.
    pub at_s: f64,
    /// Bytes, or whatever it is that grows.
    pub value: f64,
}

/// A series in figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trend {
    /// What it looks like.
    pub form: GrowthForm,
    /// Value a second.
    pub slope: f64,
    /// Lower end of its interval, at 95 %.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Value of the line at `from_s`: the median of what the points leave of it.
    pub first: f64,
    /// Growth that stayed, by the slope: value.
    pub grown: f64,
    /// From which time on, in seconds.
    pub from_s: f64,
    /// For how long, in seconds.
    pub span_s: f64,
    /// Parts in which it grew.
    pub parts_grown: usize,
    /// Parts.
    pub parts: usize,
    /// Only its low points count: it falls in between.
    pub by_low_points: bool,
}

/// The lower end of the interval of a clear slope is that share of the slope.
const CLEAR: f64 = 0.5;

impl Trend {
    /// It grows at a pace that lasts, and the pace is known well: chance does not do that.
    pub(crate) fn is_clear(&self) -> bool {
        self.form == GrowthForm::Steady && self.low >= self.slope * CLEAR
    }
}

/// The trend of a series, in the order of time; `None` where it is too short. Points that are no numbers,
/// or not later than the one before, are left out.
pub(crate) fn of(points: &[Point]) -> Option<Trend> {
    let mut points = thinned(&ordered(points));
    let mut by_low_points = false;
    loop {
        if points.len() < MIN_POINTS {
            return None;
        }
        let low = low_points(&points);
        let Some(low) = low else { break };
        if low.len() < MIN_POINTS {
            let whole = judge(&points)?;
            return Some(Trend {
                form: GrowthForm::ComesBack,
                ..whole
            });
        }
        (points, by_low_points) = (low, true);
    }
    let stays = staying(&points);
    let whole = judge(&stays)?;
    let late = match whole.form {
        GrowthForm::Steps | GrowthForm::LevelsOff => begun(&stays).and_then(judge),
        _ => None,
    };
    let trend = late.filter(|late| late.form == GrowthForm::Steady);
    Some(Trend {
        by_low_points,
        ..trend.unwrap_or(whole)
    })
}

/// Finite, and each later than the one before.
fn ordered(points: &[Point]) -> Vec<Point> {
    let mut ordered: Vec<Point> = Vec::with_capacity(points.len());
    for point in points {
        let finite = point.at_s.is_finite() && point.value.is_finite();
        let later = ordered.last().is_none_or(|last| point.at_s > last.at_s);
        if finite && later {
            ordered.push(*point);
        }
    }
    ordered
}

/// At the most [`MAX_POINTS`], evenly in time: the last of each stretch.
fn thinned(points: &[Point]) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let stretch = (last.at_s - first.at_s) / MAX_POINTS as f64;
    let number = |point: &Point| ((point.at_s - first.at_s) / stretch) as usize;
    let mut thinned: Vec<Point> = points
        .windows(2)
        .filter(|pair| number(&pair[0]) != number(&pair[1]))
        .map(|pair| pair[0])
        .collect();
    thinned.push(*last);
    // The first stretch may begin with the last point of it: its beginning counts too.
    if thinned.first() != Some(first) {
        thinned.insert(0, *first);
    }
    thinned
}

/// The low points between falls; `None` when it never falls by much.
fn low_points(points: &[Point]) -> Option<Vec<Point>> {
    let values = || points.iter().map(|point| point.value);
    let range = values().fold(f64::MIN, f64::max) - values().fold(f64::MAX, f64::min);
    let much = range * FALL;
    let (mut peak, mut low) = (*points.first()?, *points.first()?);
    let mut lows = Vec::new();
    let mut falling = false;
    for point in points {
        if falling {
            if point.value < low.value {
                low = *point;
            } else if point.value - low.value >= much {
                lows.push(low);
                (falling, peak) = (false, *point);
            }
        } else if point.value > peak.value {
            peak = *point;
        } else if peak.value - point.value >= much && much > 0.0 {
            (falling, low) = (true, *point);
        }
    }
    if falling {
        lows.push(low);
    }
    (!lows.is_empty()).then_some(lows)
}

/// What never came back: the smallest value from each point on.
fn staying(points: &[Point]) -> Vec<Point> {
    let mut least = f64::INFINITY;
    let mut staying: Vec<Point> = points
        .iter()
        .rev()
        .map(|point| {
            least = least.min(point.value);
            Point {
                value: least,
                ..*point
            }
        })
        .collect();
    staying.reverse();
    staying
}

/// From where it begins to grow, when that is late.
fn begun(points: &[Point]) -> Option<&[Point]> {
    let (first, last) = (points.first()?, points.last()?);
    let little = first.value + (last.value - first.value) * BEGUN;
    let at = points.partition_point(|point| point.value <= little);
    let from = points.get(at.saturating_sub(1)..)?;
    let waited = from.first()?.at_s - first.at_s;
    (waited > (last.at_s - first.at_s) / PARTS as f64).then_some(from)
}

/// Slope and form of a series that does not fall.
fn judge(points: &[Point]) -> Option<Trend> {
    if points.len() < MIN_POINTS {
        return None;
    }
    let (first, last) = (points.first()?, points.last()?);
    let span_s = last.at_s - first.at_s;
    let (slope, mut low, mut high) = theil_sen(points)?;
    let parts = parts(points, PARTS.min(points.len() - 1));
    let (part_low, part_high) = signed_ranks(&parts, span_s / parts.len() as f64)?;
    (low, high) = (low.min(part_low), high.max(part_high));
    let mean = (last.value - first.value) / parts.len() as f64;
    let parts_grown = parts
        .iter()
        .filter(|grown| **grown > 0.0 && **grown > mean * GROWN)
        .count();
    let form = if slope <= 0.0 || last.value <= first.value {
        match last.value > first.value {
            true => GrowthForm::Steps,
            false => GrowthForm::Flat,
        }
    } else if levels_off(points, mean, parts.last().copied()?) {
        GrowthForm::LevelsOff
    } else if parts_grown + 1 < parts.len() || low <= 0.0 {
        GrowthForm::Steps
    } else {
        GrowthForm::Steady
    };
    Some(Trend {
        form,
        slope,
        low,
        high,
        first: intercept(points, slope)?,
        grown: (slope * span_s).max(0.0),
        from_s: first.at_s,
        span_s,
        parts_grown,
        parts: parts.len(),
        by_low_points: false,
    })
}

fn levels_off(points: &[Point], mean_part: f64, last_part: f64) -> bool {
    let third = points.len() / 3;
    let pace = |points: &[Point]| theil_sen(points).map_or(0.0, |(slope, ..)| slope);
    let (first, last) = (
        pace(points.get(..=third).unwrap_or_default()),
        pace(points.get(points.len() - third - 1..).unwrap_or_default()),
    );
    last < first * LAST_THIRD || last_part < mean_part * LAST_PART
}

/// The median slope of all pairs, and the ends of its interval.
fn theil_sen(points: &[Point]) -> Option<(f64, f64, f64)> {
    let mut slopes = Vec::with_capacity(points.len() * points.len() / 2);
    for (at, left) in points.iter().enumerate() {
        let right = points.iter().skip(at + 1);
        slopes.extend(right.map(|right| (right.value - left.value) / (right.at_s - left.at_s)));
    }
    slopes.sort_by(f64::total_cmp);
    let n = points.len() as f64;
    let spread = Z_95 * (variance(points, n)).sqrt();
    let pairs = slopes.len() as f64;
    let low = ((pairs - spread) / 2.0).floor().max(0.0) as usize;
    let high = (f64::midpoint(pairs, spread).ceil() as usize).min(slopes.len().saturating_sub(1));
    Some((median(&slopes)?, *slopes.get(low)?, *slopes.get(high)?))
}

/// Where a line of this slope begins: as many points lie above it as below.
fn intercept(points: &[Point], slope: f64) -> Option<f64> {
    let from_s = points.first()?.at_s;
    let mut rests: Vec<f64> = points
        .iter()
        .map(|point| point.value - slope * (point.at_s - from_s))
        .collect();
    rests.sort_by(f64::total_cmp);
    median(&rests)
}

/// Variance of Kendall's count of concordant less discordant pairs, with ties among the values.
fn variance(points: &[Point], n: f64) -> f64 {
    let mut values: Vec<f64> = points.iter().map(|point| point.value).collect();
    values.sort_by(f64::total_cmp);
    let ties = values.chunk_by(|a, b| a == b);
    let term = |t: f64| t * (t - 1.0) * (2.0 * t + 5.0);
    let tied: f64 = ties.map(|tie| term(tie.len() as f64)).sum();
    ((term(n) - tied) / 18.0).max(0.0)
}

/// What it grew by in each of so many parts of equal length.
fn parts(points: &[Point], count: usize) -> Vec<f64> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    let length = (last.at_s - first.at_s) / count as f64;
    let bounds: Vec<f64> = (0..=count)
        .map(|number| value_at(points, first.at_s + length * number as f64))
        .collect();
    bounds.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// The value at a time: on the line between the points around it.
fn value_at(points: &[Point], at_s: f64) -> f64 {
    let after = points.partition_point(|point| point.at_s < at_s);
    let right = points.get(after).or(points.last());
    let left = points.get(after.saturating_sub(1));
    match (left, right) {
        (Some(left), Some(right)) if right.at_s > left.at_s => {
            let share = ((at_s - left.at_s) / (right.at_s - left.at_s)).clamp(0.0, 1.0);
            left.value + (right.value - left.value) * share
        }
        (Some(one), _) | (_, Some(one)) => one.value,
        (None, None) => 0.0,
    }
}

/// The ends of the interval of the median growth of the parts, as slopes.
fn signed_ranks(parts: &[f64], length_s: f64) -> Option<(f64, f64)> {
    let mut means = Vec::new();
    for (at, left) in parts.iter().enumerate() {
        means.extend(parts.iter().skip(at).map(|right| (left + right) / 2.0));
    }
    means.sort_by(f64::total_cmp);
    let n = parts.len() as f64;
    let spread = Z_95 * (n * (n + 1.0) * (2.0 * n + 1.0) / 24.0).sqrt();
    let skip = (means.len() as f64 / 2.0 - spread).floor().max(1.0) as usize - 1;
    let (low, high) = (means.get(skip)?, means.get(means.len() - 1 - skip)?);
    Some((low / length_s, high / length_s))
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = sorted.get(middle)?;
    match sorted.len().is_multiple_of(2) {
        true => Some((sorted.get(middle.checked_sub(1)?)? + upper) / 2.0),
        false => Some(*upper),
    }
}

#[cfg(test)]
mod tests;
