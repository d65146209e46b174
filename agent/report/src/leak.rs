//! `leak.svg`: the memory of each process over the capture, and what is to be said of it.
//!
//! A panel a process, those that may leak first: what is resident by kind, the line that was fitted to what
//! counts (anonymous memory, swapped out or not) with its interval, the limit where it is near, and a table of
//! the code, mappings, types and sizes that have the growth. A healthy process has its panel too: that memory
//! did *not* grow is an answer.
//!
//! Written as elements and text nodes by the `svg` crate, which escapes both; names from the target are in text
//! nodes only.

mod axis;
mod caption;
mod draw;
mod plot;
mod series;
mod table;
#[cfg(test)]
mod tests;

use super::label;
use super::text::{count, fit, seconds};
use draw::{INK, Mark, SOFT, WIDTH, text};
use remora_model::{
    Capture, Fact, FindingKind, Judgement, LeakLevel, Memory, MemoryTrend, Report, Topic,
};
use series::Series;
use std::cmp::Reverse;
use svg::Document;
use svg::node::element::{Element, Group, Rectangle, Style};

/// Its name in the report folder.
pub const NAME: &str = "leak.svg";

/// Processes that have a panel.
const PANELS: usize = 8;

/// Characters of a line of text that fit.
const COLUMNS: usize = 150;

/// Above the first panel, and under the last.
const HEAD: f64 = 66.0;
const FOOT: f64 = 16.0;

/// Between panels.
const GAP: f64 = 22.0;

const STYLE: &str = "text { font-family: system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'DejaVu Sans', \
    sans-serif; font-variant-numeric: tabular-nums } \
    .code { font-family: ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace }";

/// What is known of one process.
struct Process<'a> {
    capture: &'a Capture,
    judgement: Option<&'a Judgement>,
    memory: &'a Memory,
    trend: Option<&'a MemoryTrend>,
    series: Series,
    /// There is no other.
    alone: bool,
}

impl Process<'_> {
    fn level(&self) -> Option<LeakLevel> {
        self.trend.and_then(|trend| trend.level)
    }
}

/// The picture; `None` where no process was read twice.
pub fn draw(report: &Report) -> Option<Vec<u8>> {
    let processes = processes(report);
    if processes.is_empty() {
        return None;
    }
    let mut y = HEAD;
    let mut panels = Group::new();
    for process in processes.iter().take(PANELS) {
        let (panel, height) = panel(process);
        let place = format!("translate(0 {})", draw::round(y));
        panels = panels.add(panel.set("transform", place));
        y += height + GAP;
    }
    let more = processes.len().saturating_sub(PANELS);
    if more > 0 {
        let words = format!(
            "and {} more, which grew by less: report.json has them all",
            count(more as u64)
        );
        panels = panels.add(text(draw::MARGIN, y, 12.5, SOFT, &words));
        y += GAP;
    }
    let height = draw::round(y - GAP + FOOT);
    let document = Document::new()
        .set("version", "1.1")
        .set("width", WIDTH)
        .set("height", height)
        .set("viewBox", (0.0, 0.0, WIDTH, height))
        .add(Style::new(STYLE))
        .add(background(height))
        .add(head(&report.capture))
        .add(panels);
    let mut out = b"<?xml version=\"1.0\" standalone=\"no\"?>\n".to_vec();
    svg::write(&mut out, &document).ok()?;
    out.push(b'\n');
    Some(out)
}

/// Names the picture in the findings that it shows.
pub fn refer(report: &mut Report) {
    let drawn: Vec<u32> = processes(report)
        .iter()
        .take(PANELS)
        .map(|process| process.memory.pid)
        .collect();
    let incidents = report
        .judgement
        .iter_mut()
        .flat_map(|judgement| &mut judgement.incidents);
    let findings =
        incidents.flat_map(|one| std::iter::once(&mut one.cause).chain(&mut one.consequences));
    for finding in findings {
        if finding.kind == FindingKind::MemoryLeak && drawn.contains(&finding.pid) {
            finding.evidence.push(Fact {
                what: Topic::Plot,
                value: format!("{NAME} shows it by time, with all that has the growth"),
            });
        }
    }
}

/// Those that were read twice and more: leaks first, then by growth.
fn processes(report: &Report) -> Vec<Process<'_>> {
    let capture = &report.capture;
    let trends = report
        .judgement
        .iter()
        .flat_map(|judgement| &judgement.memory_trends);
    let trends: Vec<&MemoryTrend> = trends.collect();
    let mut found: Vec<Process<'_>> = capture
        .timeline
        .processes
        .iter()
        .filter_map(|readings| {
            let pid = readings.pid;
            Some(Process {
                capture,
                judgement: report.judgement.as_ref(),
                memory: capture.memory.iter().find(|memory| memory.pid == pid)?,
                trend: trends.iter().find(|trend| trend.pid == pid).copied(),
                series: Series::of(&capture.timeline.spans, readings)?,
                alone: capture.timeline.processes.len() == 1,
            })
        })
        .collect();
    found.sort_by_key(|process| {
        (
            Reverse(process.level()),
            Reverse(process.memory.growth_bytes()),
            process.memory.pid,
        )
    });
    found
}

fn background(height: f64) -> Rectangle {
    Rectangle::new()
        .set("width", WIDTH)
        .set("height", height)
        .set("fill", "#fbfbfa")
}

fn head(capture: &Capture) -> Group {
    let title = format!(
        "{}: memory over {}",
        label::targets(capture),
        seconds(capture.duration)
    );
    let about = "resident by kind, read once a second; the line is fitted to what counts for a leak (anonymous, in \
                 memory or swapped out), its 95 % interval shaded";
    Group::new()
        .add(text(draw::MARGIN, 30.0, 18.0, INK, &fit(&title, 110)).set("font-weight", 650))
        .add(text(draw::MARGIN, 50.0, 12.5, SOFT, about))
}

/// A process, and how high its panel is.
fn panel(process: &Process<'_>) -> (Group, f64) {
    let said = caption::of(process);
    let owner = process
        .capture
        .processes
        .iter()
        .find(|one| one.pid == process.memory.pid);
    let name = owner.map_or("process", |owner| owner.comm.as_str());
    let name = format!("{name} ({})", process.memory.pid);
    let name = fit(&name, 48);
    let mut group = Group::new()
        .set("class", "process")
        .add(text(draw::MARGIN, 26.0, 15.0, INK, &name).set("font-weight", 650));
    // A letter of this size is about so wide: the verdict stands behind the name.
    let behind = draw::MARGIN + 12.0 + unicode_width::UnicodeWidthStr::width(&*name) as f64 * 9.2;
    group = group.add(badge(behind, said.word, said.mark));
    let mut y = 47.0;
    for line in &said.lines {
        group = group.add(text(draw::MARGIN, y, 12.5, INK, &fit(line, COLUMNS)));
        y += 18.0;
    }
    let (chart, height) = plot::draw(process, y + 2.0, said.mark);
    group = group.add(chart);
    y += height + 8.0;
    let (table, height) = table::draw(process, y);
    group = group.add(table);
    let height = y + height + 8.0;
    let card: Element = Rectangle::new()
        .set("x", 12)
        .set("width", WIDTH - 24.0)
        .set("height", draw::round(height))
        .set("rx", 8)
        .set("fill", "#ffffff")
        .set("stroke", "#e1e4e7")
        .into();
    group.get_children_mut().insert(0, Box::new(card));
    (group, height)
}

/// The verdict in a word, on its colour.
fn badge(x: f64, word: &str, mark: Mark) -> Group {
    let width = word.chars().count() as f64 * 8.3 + 18.0;
    let word = text(x + width / 2.0, 24.9, 11.0, "#ffffff", word)
        .set("text-anchor", "middle")
        .set("font-weight", 700)
        .set("letter-spacing", "0.04em");
    Group::new()
        .set("class", "verdict")
        .add(
            Rectangle::new()
                .set("x", draw::round(x))
                .set("y", 11)
                .set("width", draw::round(width))
                .set("height", 20)
                .set("rx", 4)
                .set("fill", mark.colour()),
        )
        .add(word)
}
