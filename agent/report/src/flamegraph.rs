//! The pictures: flamegraphs as SVG, drawn by inferno, searchable and zoomable in any browser.

mod labels;

use super::folded::Folded;
use super::text::{bytes, clean, count, duration, fit, seconds, share, signed_bytes};
use super::{ReportError, label, palette, totals};
use inferno::flamegraph::color::BackgroundColor;
use inferno::flamegraph::{self, Options, TextTruncateDirection};
use remora_model::{Capture, HeapWatch, Idleness, LockKind, Memory, Site, WatchEnd};
use std::time::Duration;

/// Narrower frames are left out, in percent of the whole: under a pixel on a wide screen, and a
/// bound on the size of the file.
const MIN_WIDTH_PCT: f64 = 0.03;

/// Width of a picture before a browser makes it fill its window, in pixels.
const WIDTH: usize = 1200;

/// Characters of a subtitle that fit in that width.
const SUBTITLE: usize = 160;

/// Most losses that a subtitle names.
const LOSSES_NAMED: usize = 1;

/// What to draw.
struct Picture<'a> {
    folded: &'a Folded,
    title: String,
    subtitle: String,
    /// Unit of the values and how many of it one is.
    unit: (&'static str, f64),
    /// The sentence that stands there when there is nothing to draw.
    empty: String,
}

/// `cpu.svg`: where the target's CPU time went; widths are samples.
pub fn on_cpu(capture: &Capture, folded: &Folded) -> Result<Vec<u8>, ReportError> {
    let length = seconds(capture.duration);
    let used = format!("{} on CPU", duration(totals::on_cpu(capture)));
    let samples = count(folded.total());
    draw(&Picture {
        folded,
        title: format!(
            "{} on CPU: {length} at {} Hz",
            label::targets(capture),
            capture.freq_hz
        ),
        subtitle: format!("{used} in {samples} samples · {}", losses(capture)),
        unit: ("samples", 1.0),
        empty: format!("no CPU samples: {used} in {length}"),
    })
}

/// `offcpu.svg`: what the target's threads waited for; widths are time, the first frame is the
/// reason.
pub fn off_cpu(capture: &Capture, folded: &Folded, idle: bool) -> Result<Vec<u8>, ReportError> {
    let length = seconds(capture.duration);
    let apart = totals::idle(capture);
    let idle_words = match (apart.is_zero(), idle) {
        (true, _) => "no idle waits".to_owned(),
        (false, true) => format!("{} idle included", duration(apart)),
        (false, false) => format!("{} idle excluded (--idle)", duration(apart)),
    };
    let drawn = Duration::from_nanos(folded.total());
    let lost = totals::waits(capture, |wait| {
        wait.site == Site::Lost && (idle || wait.idle == Idleness::Busy)
    });
    let empty = if apart.is_zero() || idle {
        format!("nothing to draw: no thread of the target waited in {length}")
    } else {
        format!(
            "nothing to draw but idle waits, {} in all: --idle draws them",
            duration(apart)
        )
    };
    draw(&Picture {
        folded,
        title: format!("{} off CPU, and why: {length}", label::targets(capture)),
        subtitle: format!(
            "{} · {idle_words} · {} without stack · {}",
            totals::off_cpu_words(capture, idle),
            share(lost, drawn),
            losses(capture),
        ),
        // Whole milliseconds say nothing of a capture that waited less than a second.
        unit: if drawn < Duration::from_secs(1) {
            ("µs", 1e-3)
        } else {
            ("ms", 1e-6)
        },
        empty,
    })
}

/// `epoll.svg`: what the late iterations of event loops did; widths are time.
pub fn late(capture: &Capture, folded: &Folded) -> Result<Vec<u8>, ReportError> {
    let late: u64 = capture.loops.iter().map(|event_loop| event_loop.late).sum();
    let iterations: u64 = capture
        .loops
        .iter()
        .map(|event_loop| event_loop.iterations)
        .sum();
    let threshold = capture.loops.first().map(|event_loop| event_loop.late_from);
    let threshold = threshold.map_or_else(String::new, |from| {
        format!(" of {} and more", duration(from))
    });
    let upper = if capture.loops.iter().all(|event_loop| event_loop.exact) {
        ""
    } else {
        " (at the most: only waits that blocked ended one)"
    };
    draw(&Picture {
        folded,
        title: format!("{}: what late iterations did", label::targets(capture)),
        subtitle: format!(
            "{} of {} iterations late{threshold}{upper} · {}",
            count(late),
            count(iterations),
            losses(capture)
        ),
        unit: ("ms", 1e-6),
        empty: match late {
            0 => "nothing to draw: no iteration of an event loop was late".to_owned(),
            _ => {
                "nothing to draw: no sample and no long wait fell into a late iteration".to_owned()
            }
        },
    })
}

/// `futex.svg`: what threads waited for in locks, and what their holders did; widths are time.
pub fn locks(capture: &Capture, folded: &Folded) -> Result<Vec<u8>, ReportError> {
    let lost = capture
        .locks
        .iter()
        .filter(|lock| lock.kind != LockKind::Event)
        .map(|lock| lock.total)
        .sum();
    let short = format!("waits under {} have no stack", duration(capture.min_block));
    draw(&Picture {
        folded,
        title: format!(
            "{}: waits for locks, and their holders",
            label::targets(capture)
        ),
        subtitle: format!(
            "{} lost in waits for {} locks · {short} · {}",
            duration(lost),
            count(capture.locks.len() as u64),
            losses(capture)
        ),
        unit: ("ms", 1e-6),
        empty: format!(
            "nothing to draw: no long wait for a lock in {}",
            seconds(capture.duration)
        ),
    })
}

/// `heap.svg`: who allocated what is outstanding of a watched allocator; widths are bytes.
pub fn heap(capture: &Capture, watch: &HeapWatch, folded: &Folded) -> Result<Vec<u8>, ReportError> {
    let length = seconds(watch.watched);
    let samples: u64 = watch.sites.iter().map(|site| site.samples).sum();
    let how = match watch.sample_bytes {
        0 | 1 => "every allocation seen".to_owned(),
        interval => format!(
            "estimated from {} samples, one byte in {}",
            count(samples),
            count(interval)
        ),
    };
    let early = match &watch.end {
        WatchEnd::Budget { .. } => "; detached itself over its budget".to_owned(),
        WatchEnd::Unmeasured => "; detached itself: its cost could not be read".to_owned(),
        WatchEnd::NotAttached(why) => format!("; not watched: {why}"),
        WatchEnd::Capture | WatchEnd::Time => String::new(),
    };
    draw(&Picture {
        folded,
        title: format!(
            "{} heap: {} allocated in {length} and not freed",
            label::targets(capture),
            bytes(folded.total())
        ),
        subtitle: format!("{how}{early} · {}", losses(capture)),
        unit: if folded.total() < 64 << 20 {
            ("KiB", 1.0 / 1024.0)
        } else {
            ("MiB", 1.0 / f64::from(1 << 20))
        },
        empty: format!("nothing sampled is outstanding of {length}{early}"),
    })
}

/// `memory.svg`: which code touched the memory that the target has grown by; widths are bytes.
pub fn memory(capture: &Capture, folded: &Folded) -> Result<Vec<u8>, ReportError> {
    let length = seconds(capture.duration);
    let net = capture.memory.iter().map(Memory::growth_bytes);
    let net = net.fold(0, i64::saturating_add);
    let sum = |of: fn(&Memory) -> u64| capture.memory.iter().map(of).fold(0, u64::saturating_add);
    let grown = folded.total();
    let (samples, faults) = (sum(|one| one.samples), sum(|one| one.faults.unwrap_or(0)));
    let returned = bytes(sum(|one| one.returned_bytes));
    let released = bytes(sum(|one| one.released_bytes.unwrap_or(0)));
    let stacks = match samples {
        0 => "no page fault sampled".to_owned(),
        _ => format!(
            "stacks from {} of {} page faults",
            count(samples),
            count(faults)
        ),
    };
    draw(&Picture {
        folded,
        title: format!(
            "{} memory growth: {} in {length}",
            label::targets(capture),
            bytes(grown)
        ),
        subtitle: format!(
            "{stacks}; {returned} touched and given back (not drawn); {released} of older memory \
             released, net {} · {}",
            signed_bytes(net),
            losses(capture),
        ),
        unit: if grown < 64 << 20 {
            ("KiB", 1.0 / 1024.0)
        } else {
            ("MiB", 1.0 / f64::from(1 << 20))
        },
        empty: format!(
            "no mapping of the target grew in {length}: net {}",
            signed_bytes(net)
        ),
    })
}

fn draw(picture: &Picture<'_>) -> Result<Vec<u8>, ReportError> {
    if picture.folded.total() == 0 {
        return Ok(empty_svg(picture).into_bytes());
    }
    let mut colours = palette::colours(picture.folded);
    let mut options = Options::default();
    options.title.clone_from(&picture.title);
    let subtitle = format!("{} · {}", picture.subtitle, palette::LEGEND);
    options.subtitle = Some(fit(&subtitle, SUBTITLE).into_owned());
    options.bgcolors = Some(BackgroundColor::Grey);
    picture.unit.0.clone_into(&mut options.count_name);
    options.factor = picture.unit.1;
    options.min_width = MIN_WIDTH_PCT;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.palette_map = Some(&mut colours);
    // Our lines are in the order of frames, inferno checks for that of bytes; its only mode that
    // takes them as they are reads them from the last to the first.
    options.flame_chart = true;
    let text = picture.folded.text();
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, text.lines().rev(), &mut svg).map_err(|source| {
        ReportError::Draw {
            title: picture.title.clone(),
            source,
        }
    })?;
    // Inferno writes text from text.
    let svg = String::from_utf8_lossy(&svg);
    Ok(labels::put(&svg, &labels::labels(picture.folded)).into_bytes())
}

/// A picture of nothing, which says so: not a flamegraph, but a valid file under its name.
fn empty_svg(picture: &Picture<'_>) -> String {
    let middle = WIDTH / 2;
    let line = |y: u32, size: u32, text: &str| {
        let text = escape_xml(text);
        format!("<text x=\"{middle}\" y=\"{y}\" font-size=\"{size}\">{text}</text>\n")
    };
    format!(
        "<?xml version=\"1.0\" standalone=\"no\"?>\n\
         <svg version=\"1.1\" width=\"{WIDTH}\" height=\"110\" viewBox=\"0 0 {WIDTH} 110\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#f8f8f8\"/>\n\
         <g font-family=\"monospace\" text-anchor=\"middle\">\n{}{}{}</g>\n</svg>\n",
        line(24, 17, &picture.title),
        line(48, 12, &picture.subtitle),
        line(84, 14, &picture.empty),
    )
}

fn escape_xml(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// What was lost, in a few words.
fn losses(capture: &Capture) -> String {
    let named: Vec<_> = capture.losses.non_zero().collect();
    if named.is_empty() {
        return "nothing lost".to_owned();
    }
    let first = named.iter().take(LOSSES_NAMED);
    let words: Vec<_> = first
        .map(|(loss, lost)| format!("{} {}", loss.key(), count(*lost)))
        .collect();
    let more = match named.len().saturating_sub(LOSSES_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("lost: {}{more}", words.join(", "))
}

#[cfg(test)]
mod tests;
