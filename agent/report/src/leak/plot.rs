//! One process by time: kinds of memory upon each other, the fitted line, the limit.
//!
//! The axis of sizes begins at nothing, as areas must. Where what counts moves by a few percent of itself nobody
//! would see it: then it is drawn alone, and the axis begins under it and says so.

use super::Process;
use super::axis::{Axis, clock, size, size_step, sizes, times};
use super::draw::{BAD, GRID, INK, Mark, SOFT, WIDTH, line, round, text};
use super::series::{KINDS, Point};
use crate::text::{bytes, duration, signed_bytes};
use remora_model::{GrowthForm, LimitKind, MappingKind, MemoryTrend};
use svg::node::element::path::Data;
use svg::node::element::{Circle, Group, Path, Title};

const LEFT: f64 = 104.0;
const RIGHT: f64 = WIDTH - 312.0;

/// Of the plot of a process that may leak or is the only one, and of another.
const HIGH: f64 = 230.0;
const LOW: f64 = 110.0;

/// Under the plot, for the times.
const UNDER: f64 = 26.0;

/// Two of them are one column of readings.
const COLUMNS: usize = ((RIGHT - LEFT) / 2.0) as usize;

/// What moves by a smaller share of itself has an axis of its own.
const MOVES: f64 = 0.12;

/// A limit is drawn that is so many times as high as what is there.
const NEAR: f64 = 1.6;
/// The same above the beginning of an axis of its own.
const NEAR_ALONE: f64 = 3.0;

/// The future is drawn until the limit, when that is no longer than so many times the past.
const FORECAST: f64 = 1.5;

/// The kinds in the order of [`Point::bytes`], with the colours that the page has for them.
const KIND: [(&str, &str); KINDS] = [
    ("anonymous", "#7ba3dc"),
    ("swapped out", "#d98a9b"),
    ("shared", "#dcc37a"),
    ("of files", "#c9dff2"),
];

/// The heap and malloc's arenas, a part of the first.
const HEAP: &str = "#2c5282";

/// The frame of a plot.
struct Plot<'a> {
    process: &'a Process<'a>,
    points: Vec<Point>,
    x: Axis,
    y: Axis,
    /// What counts alone, on an axis that does not begin at nothing.
    alone: bool,
    /// Where the limit is reached: total of what counts, in bytes.
    limit: Option<f64>,
    mark: Mark,
}

/// The plot with its top there, and its height.
pub(super) fn draw(process: &Process<'_>, top: f64, mark: Mark) -> (Group, f64) {
    let plot = Plot::of(process, top, mark);
    let mut group = Group::new().set("class", "plot").add(plot.grid());
    group = group.add(plot.areas()).add(plot.heap());
    if let Some(trend) = process.trend {
        group = group.add(plot.fitted(trend));
    }
    let bottom = plot.y.first;
    group = group
        .add(plot.limit_line())
        .add(plot.note())
        .add(plot.legend(top));
    (group, bottom - top + UNDER)
}

impl<'a> Plot<'a> {
    fn of(process: &'a Process<'a>, top: f64, mark: Mark) -> Self {
        let series = &process.series;
        let (least, most) = series.range(Point::counted);
        let alone = most > 0.0 && most - least < most * MOVES && process.level().is_some();
        let (_, highest) = match alone {
            true => (0.0, most),
            false => series.range(Point::total),
        };
        let past = series.span();
        let reached = process.trend.and_then(|trend| trend.reached);
        let reached = reached.filter(|_| process.level().is_some());
        let last = series.points.last().map_or(0.0, Point::counted);
        let limit = reached.map(|reached| last + reached.limit.left_bytes() as f64);
        let forecast = reached.map(|reached| reached.after.as_secs_f64());
        let forecast = forecast.filter(|after| *after <= (past.1 - past.0) * FORECAST);
        let from = match alone {
            true => floor(
                least - (most - least) * 0.3,
                size_step((most - least) / 6.0),
            ),
            false => 0.0,
        };
        let near = from + (highest - from) * if alone { NEAR_ALONE } else { NEAR };
        let limit = limit.filter(|limit| forecast.is_some() || *limit <= near);
        let above = highest.max(limit.unwrap_or(0.0));
        let above = above + (above - from) * 0.04;
        let height = if process.level().is_some() || process.alone {
            HIGH
        } else {
            LOW
        };
        Self {
            process,
            points: series.thinned(COLUMNS),
            x: Axis {
                from: past.0,
                to: past.1 + forecast.map_or(0.0, |after| after * 1.05),
                first: LEFT,
                last: RIGHT,
            },
            y: Axis {
                from,
                to: above.max(from + 1_024.0),
                first: top + height,
                last: top + 6.0,
            },
            alone,
            limit,
            mark,
        }
    }

    fn place(&self, at_s: f64, value: f64) -> (f64, f64) {
        (round(self.x.place(at_s)), round(self.y.place(value)))
    }

    fn grid(&self) -> Group {
        let mut group = Group::new();
        for mark in sizes(self.y.from, self.y.to) {
            let y = round(self.y.place(mark).round() + 0.5);
            group = group
                .add(line((LEFT, y), (RIGHT, y), GRID))
                .add(text(LEFT - 9.0, y + 4.0, 11.5, SOFT, &size(mark)).set("text-anchor", "end"));
        }
        let ground = self.y.first;
        for mark in times(self.x.from, self.x.to, 9.0) {
            let x = round(self.x.place(mark));
            let label = clock(mark, self.x.to - self.x.from);
            group = group
                .add(line((x, ground), (x, ground + 5.0), SOFT))
                .add(text(x, ground + 18.0, 11.5, SOFT, &label).set("text-anchor", "middle"));
        }
        group
    }

    /// The kinds upon each other; of what counts alone, one.
    fn areas(&self) -> Group {
        let mut group = Group::new();
        for (kind, (name, colour)) in KIND.into_iter().enumerate() {
            let until =
                |count: usize| move |point: &Point| -> f64 { point.bytes.iter().take(count).sum() };
            let there = self.points.iter().any(|point| point.bytes[kind] > 0.0);
            if !there || (self.alone && kind > 1) {
                continue;
            }
            let (below, above) = (until(kind), until(kind + 1));
            let tops = self.points.iter().map(|point| (point.at_s, above(point)));
            let grounds = self.points.iter().rev();
            let grounds = grounds.map(|point| (point.at_s, below(point)));
            let area = Path::new()
                .set("d", self.shape(tops.chain(grounds)).close())
                .set("fill", colour)
                .add(Title::new(name));
            group = group.add(area);
        }
        group
    }

    /// Places joined by straight lines.
    fn shape(&self, points: impl Iterator<Item = (f64, f64)>) -> Data {
        let mut data = Data::new();
        for (at, (at_s, value)) in points.enumerate() {
            let place = self.place(at_s, value);
            data = match at {
                0 => data.move_to(place),
                _ => data.line_to(place),
            };
        }
        data
    }

    /// Heap and arenas, which are known at the two ends only.
    fn heap(&self) -> Group {
        let Some((start, end)) = heap(self.process).filter(|_| !self.alone) else {
            return Group::new();
        };
        let (from, to) = self.process.series.span();
        let mut group = Group::new();
        for (at_s, value) in [(from, start), (to, end)] {
            let (x, y) = self.place(at_s, value);
            let dot = Circle::new().set("cx", x).set("cy", y).set("r", 3.5);
            let dot = dot.set("fill", HEAP).set("stroke", "#ffffff");
            group = group.add(dot.add(Title::new("heap and arenas")));
        }
        group
    }

    /// The line with its interval, and its way to the limit.
    fn fitted(&self, trend: &MemoryTrend) -> Group {
        // A line through what is no line says nothing.
        if !matches!(trend.form, GrowthForm::Steady | GrowthForm::Flat) {
            return Group::new();
        }
        let from = trend.from.as_secs_f64();
        let until = from + trend.span.as_secs_f64();
        let middle = f64::midpoint(from, until);
        let start = trend.start_bytes as f64;
        let at_middle = start + trend.slope * (middle - from);
        let value = |slope: f64, at_s: f64| at_middle + slope * (at_s - middle);
        let future = self.x.to.max(until);
        let band = [
            (from, value(trend.low, from)),
            (middle, at_middle),
            (future, value(trend.high, future)),
            (future, value(trend.low, future)),
            (middle, at_middle),
            (from, value(trend.high, from)),
        ];
        let colour = match trend.level {
            Some(_) => self.mark.colour(),
            None => INK,
        };
        let band = Path::new()
            .set("d", self.shape(band.into_iter()).close())
            .set("fill", colour)
            .set("fill-opacity", 0.18)
            .add(Title::new("95 % interval of the pace"));
        let ends = [(from, start), (until, value(trend.slope, until))];
        let stroke = |data: Data| {
            Path::new()
                .set("d", data)
                .set("fill", "none")
                .set("stroke", colour)
                .set(
                    "stroke-width",
                    if trend.level.is_some() { 2.0 } else { 1.2 },
                )
        };
        let mut group = Group::new().set("class", "fitted").add(band);
        group = group.add(stroke(self.shape(ends.into_iter())).add(Title::new("fitted line")));
        let (_, now) = self.process.series.span();
        if self.x.to > now {
            let ends = [
                (until, value(trend.slope, until)),
                (future, value(trend.slope, future)),
            ];
            let dashes = stroke(self.shape(ends.into_iter())).set("stroke-dasharray", "6 4");
            let x = round(self.x.place(now));
            let words = text(
                x + 6.0,
                self.y.first - 8.0,
                11.0,
                SOFT,
                "if it goes on like this",
            );
            let end =
                line((x, self.y.first), (x, self.y.last), SOFT).set("stroke-dasharray", "2 3");
            group = group.add(dashes).add(end).add(words);
        }
        group
    }

    /// What the axis leaves out.
    fn note(&self) -> Group {
        let words = "this axis does not begin at 0, and shows anonymous memory alone";
        match self.alone {
            true => Group::new().add(text(LEFT + 8.0, self.y.last + 34.0, 11.0, SOFT, words)),
            false => Group::new(),
        }
    }

    fn limit_line(&self) -> Group {
        let reached = self.process.trend.and_then(|trend| trend.reached);
        let (Some(limit), Some(reached)) = (self.limit, reached) else {
            return Group::new();
        };
        let y = round(self.y.place(limit));
        let words = format!(
            "limit: {} {}, reached in {}",
            limit_name(reached.limit.kind),
            bytes(reached.limit.limit_bytes),
            duration(std::time::Duration::from_secs(reached.after.as_secs()))
        );
        Group::new()
            .set("class", "limit")
            .add(
                line((LEFT, y), (RIGHT, y), BAD)
                    .set("stroke-width", 1.5)
                    .set("stroke-dasharray", "8 4"),
            )
            .add(text(LEFT + 8.0, y + 15.0, 12.0, BAD, &words).set("font-weight", 600))
    }

    /// The kinds beside the plot: what is there at the end, and what it grew by.
    fn legend(&self, top: f64) -> Group {
        let mut rows: Vec<(&str, &str, f64, f64)> = Vec::new();
        let ends = (self.points.first(), self.points.last());
        if let (Some(first), Some(last)) = ends {
            for (kind, (name, colour)) in KIND.into_iter().enumerate().rev() {
                let there = self.points.iter().any(|point| point.bytes[kind] > 0.0);
                if there {
                    rows.push((name, colour, first.bytes[kind], last.bytes[kind]));
                }
            }
        }
        if let Some((start, end)) = heap(self.process) {
            rows.push(("in heaps", HEAP, start, end));
        }
        let x = RIGHT + 18.0;
        let mut group = Group::new().set("class", "legend");
        for (at, (name, colour, first, last)) in rows.into_iter().enumerate() {
            let y = top + 16.0 + at as f64 * 19.0;
            let swatch = Circle::new()
                .set("cx", x + 5.0)
                .set("cy", round(y - 4.0))
                .set("r", 5)
                .set("fill", colour);
            let grown = match (last - first) as i64 {
                0 => "as before".to_owned(),
                grown => signed_bytes(grown),
            };
            let end = |x: f64, words: &str, colour: &str| {
                text(x, y, 12.0, colour, words).set("text-anchor", "end")
            };
            group = group
                .add(swatch)
                .add(text(x + 17.0, y, 12.0, INK, name))
                .add(end(WIDTH - 112.0, &bytes(last as u64), INK))
                .add(end(WIDTH - 30.0, &grown, SOFT));
        }
        group
    }
}

const fn limit_name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Cgroup => "cgroup",
        LimitKind::AddressSpace => "RLIMIT_AS",
        LimitKind::Data => "RLIMIT_DATA",
        LimitKind::Host => "the host",
    }
}

fn floor(value: f64, step: f64) -> f64 {
    (value / step).floor().max(0.0) * step
}

/// The heap and malloc's arenas at the start and the end, in bytes; `None` where there are none, or mappings
/// were not read.
fn heap(process: &Process<'_>) -> Option<(f64, f64)> {
    let mappings = process.memory.mappings.iter();
    let heaps: Vec<_> = mappings
        .filter(|mapping| matches!(mapping.kind, MappingKind::Heap | MappingKind::Arena))
        .collect();
    let sum = |of: fn(&remora_model::Mapping) -> u64| -> f64 {
        heaps.iter().map(|mapping| of(mapping) as f64).sum()
    };
    let ends = (
        sum(|mapping| mapping.start_bytes),
        sum(|mapping| mapping.end_bytes),
    );
    (ends.0 + ends.1 > 0.0).then_some(ends)
}
