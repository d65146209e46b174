//! What has the growth: code, mappings, types of objects, sizes of blocks, each with its pace and its share.

use super::Process;
use super::draw::{GRID, INK, MARGIN, SOFT, WIDTH, line, round, text};
use crate::text::{bytes, clean, count, duration, fit, percent};
use remora_analyze::leak_evidence::{by_code, rate};
use remora_model::Mapping;
use std::cmp::Reverse;
use std::time::Duration;
use svg::node::element::{Group, Rectangle};

/// Rows of each sort.
const ROWS: usize = 5;

/// A process that grew by less has no table, in bytes.
const WORTH_SAYING: u64 = 1 << 20;

/// What has a smaller share of the growth is left out.
const SHARE: f64 = 0.01;

/// Fewer objects are no growth.
const OBJECTS: i64 = 100;

const HEIGHT: f64 = 20.0;

/// Ends of the columns of figures, and where the bar of the share begins.
const GROWTH: f64 = WIDTH - 300.0;
const PACE: f64 = WIDTH - 190.0;
const PERCENT: f64 = WIDTH - 116.0;
const BAR: f64 = WIDTH - 104.0;
const BAR_WIDTH: f64 = 76.0;

/// Characters of code or a name: those of this type are 7 pixels wide.
const NAME: usize = 102;

/// A row.
struct Row {
    name: String,
    growth: String,
    pace: String,
    /// Of the growth, from 0 to 1.
    share: f64,
    /// It is that much or more.
    at_least: bool,
}

/// The table with its top there, and its height.
pub(super) fn draw(process: &Process<'_>, top: f64) -> (Group, f64) {
    let whole = process.memory.grown_bytes();
    let mut group = Group::new().set("class", "table");
    if whole < WORTH_SAYING {
        return (group, 0.0);
    }
    let mut y = top;
    for (title, rows) in sections(process) {
        if rows.is_empty() {
            continue;
        }
        y += HEIGHT;
        group = group.add(head(y, &title));
        for row in &rows {
            y += HEIGHT;
            group = group.add(one(y, row));
        }
        y += 6.0;
    }
    (group, y - top)
}

fn head(y: f64, title: &str) -> Group {
    let end = |x: f64, words: &str| text(x, y, 11.0, SOFT, words).set("text-anchor", "end");
    Group::new()
        .add(text(MARGIN, y, 12.0, INK, title).set("font-weight", 650))
        .add(end(GROWTH, "growth"))
        .add(end(PACE, "pace"))
        .add(end(PERCENT, "share"))
        .add(line((MARGIN, y + 5.5), (WIDTH - MARGIN, y + 5.5), GRID))
}

fn one(y: f64, row: &Row) -> Group {
    let end = |x: f64, words: &str| text(x, y, 12.0, INK, words).set("text-anchor", "end");
    let least = if row.at_least { "≥ " } else { "" };
    let bar = |width: f64, colour: &str| {
        Rectangle::new()
            .set("x", BAR)
            .set("y", round(y - 9.0))
            .set("width", round(width))
            .set("height", 10)
            .set("rx", 2)
            .set("fill", colour)
    };
    Group::new()
        .add(text(MARGIN, y, 11.5, INK, &fit(&row.name, NAME)).set("class", "code"))
        .add(end(GROWTH, &row.growth))
        .add(end(PACE, &row.pace))
        .add(end(PERCENT, &format!("{least}{}", percent(row.share, 1.0))))
        .add(bar(BAR_WIDTH, GRID))
        .add(bar(BAR_WIDTH * row.share.clamp(0.0, 1.0), "#7ba3dc"))
}

fn sections(process: &Process<'_>) -> [(String, Vec<Row>); 4] {
    [
        (
            "code that touched first what stayed, sampled".to_owned(),
            code(process),
        ),
        ("mappings".to_owned(), mappings(process)),
        objects(process),
        sizes(process),
    ]
}

fn per_second(value: f64, time: Duration) -> f64 {
    value / time.as_secs_f64().max(1e-3)
}

/// A row of bytes that came in this time.
fn row(process: &Process<'_>, name: String, grown: u64, time: Duration) -> Row {
    Row {
        name,
        growth: bytes(grown),
        pace: rate(per_second(grown as f64, time)),
        share: grown as f64 / process.memory.grown_bytes().max(1) as f64,
        at_least: false,
    }
}

fn worth(rows: impl Iterator<Item = Row>) -> Vec<Row> {
    rows.filter(|row| row.share >= SHARE).take(ROWS).collect()
}

fn code(process: &Process<'_>) -> Vec<Row> {
    let time = process.capture.duration;
    let code = by_code(process.capture, process.memory).into_iter();
    worth(code.map(|(grown, code)| row(process, code, grown, time)))
}

fn mappings(process: &Process<'_>) -> Vec<Row> {
    let mappings = process.memory.mappings.iter();
    let mut grown: Vec<&Mapping> = mappings.filter(|one| one.growth_bytes() > 0).collect();
    grown.sort_by_key(|one| (Reverse(one.growth_bytes()), one.start));
    let time = process.capture.duration;
    worth(grown.into_iter().map(|one| {
        let kind = one.kind.name().replace('_', " ");
        let name = format!(
            "{} ({kind}), now {}",
            clean(&one.name),
            bytes(one.end_bytes)
        );
        row(process, name, one.growth_bytes(), time)
    }))
}

/// Types of Python objects; what they point to is not in their sizes.
fn objects(process: &Process<'_>) -> (String, Vec<Row>) {
    let objects = process.capture.python_objects.iter().rev();
    let mut objects = objects.filter(|one| one.pid == process.memory.pid && !one.cut);
    let Some(objects) = objects.next() else {
        return (String::new(), Vec::new());
    };
    let types = objects.types.iter().filter(|kind| kind.growth() >= OBJECTS);
    let rows = types.take(ROWS).map(|kind| {
        let grown = kind.growth().unsigned_abs();
        let pace = per_second(grown as f64, objects.apart);
        let size = grown.saturating_mul(kind.size_bytes);
        Row {
            name: format!("{}, now {}", clean(&kind.name), count(kind.end)),
            growth: format!("+{}", count(grown)),
            pace: format!("{}/s", count(pace.round() as u64)),
            share: size as f64 / process.memory.grown_bytes().max(1) as f64,
            at_least: true,
        }
    });
    let title = format!(
        "Python objects by type, {} apart; the share is of their own bytes, without what they hold",
        duration(objects.apart)
    );
    (title, rows.collect())
}

fn sizes(process: &Process<'_>) -> (String, Vec<Row>) {
    let heaps = process.capture.heaps.iter().rev();
    let mut heaps = heaps.filter(|one| one.pid == process.memory.pid && !one.cut);
    let Some(heap) = heaps.next() else {
        return (String::new(), Vec::new());
    };
    let classes = heap.classes.iter().filter(|class| class.growth() > 0);
    let rows = worth(classes.map(|class| {
        let grown = class.growth_bytes().unsigned_abs();
        let least = if class.size_bytes > 4_096 {
            "at least "
        } else {
            ""
        };
        let number = count(class.growth().unsigned_abs());
        let name = format!("{number} more of {least}{} bytes", count(class.size_bytes));
        row(process, name, grown, heap.apart)
    }));
    let title = format!("blocks of malloc by size, {} apart", duration(heap.apart));
    (title, rows)
}
