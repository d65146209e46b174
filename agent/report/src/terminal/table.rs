//! The table of threads. Aligned by hand: the columns are few and fixed, cells are cut to their
//! column, and a table crate would bring its own terminal detection.

use super::{Page, QUIET};
use crate::label;
use crate::shares::{Shares, longest_first};
use crate::text::{clean, duration, fit, share};
use anstyle::Style;
use remora_model::{Capture, Now, State, Thread};
use std::borrow::Cow;
use std::cmp::Reverse;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// Threads that get a line.
const THREADS: usize = 20;

/// Widths of the columns ON CPU, RUN-Q, BLOCKED, IDLE.
const FIGURES: [usize; 4] = [6, 6, 7, 7];

/// Width of the column MIGR/S: moves from one CPU to another, a second.
const MIGRATIONS: usize = 6;

/// Moves a second from which on the column is shown, for all threads.
const MANY_MIGRATIONS: f64 = 1.0;

/// Widest thread name: the kernel keeps 15 bytes, more are escapes.
const THREAD: usize = 15;

/// Widest cell of the column NOW: `epoll 12 ms`, `futex ~13 min 32 s`.
const NOW: usize = 18;

/// Width of the heading of that column.
const BLOCKED_IN: usize = 10;

/// Blanks between columns.
const GAP: usize = 2;

/// One line of the table, cell by cell.
struct Row {
    thread: String,
    id: String,
    figures: [String; 4],
    migrations: String,
    blocked_in: String,
    now: String,
}

pub(super) fn threads(page: &mut Page, capture: &Capture, shares: &[Shares]) {
    if capture.threads.is_empty() {
        return;
    }
    let mut order: Vec<_> = capture.threads.iter().zip(shares).collect();
    order.sort_by_key(|(thread, shares)| {
        let busy = shares.on_cpu.saturating_add(shares.run_queue);
        (Reverse(busy), Reverse(shares.blocked_total()), thread.tid)
    });
    page.heading("Threads, busiest first (share of watched time)");
    let several = capture.processes.len() > 1;
    let mut rows = vec![Row {
        thread: "THREAD".to_owned(),
        id: if several { "PID/TID" } else { "TID" }.to_owned(),
        figures: ["ON CPU", "RUN-Q", "BLOCKED", "IDLE"].map(str::to_owned),
        migrations: "MIGR/S".to_owned(),
        blocked_in: "BLOCKED IN".to_owned(),
        now: "NOW".to_owned(),
    }];
    let shown = order.iter().take(THREADS);
    rows.extend(shown.map(|(thread, shares)| row(thread, shares, several)));
    if let Some(rest) = order.get(THREADS..).filter(|rest| !rest.is_empty()) {
        let sum = Shares::sum(rest.iter().map(|(_, shares)| *shares));
        rows.push(rest_row(rest.len(), &sum));
    }
    let moved = |(thread, _): &(&Thread, _)| {
        thread
            .migrations_per_s()
            .is_some_and(|rate| rate >= MANY_MIGRATIONS)
    };
    let columns = Columns::of(page.options.width, &rows, order.iter().any(moved));
    for (index, row) in rows.iter().enumerate() {
        let style = if index == 0 { QUIET } else { Style::new() };
        page.line(style, &columns.line(row));
    }
    if shares.iter().any(|shares| shares.inferred) {
        page.line(
            QUIET,
            "  ~ partly inferred: a worker that waits for work at one place",
        );
    }
}

fn row(thread: &Thread, shares: &Shares, several: bool) -> Row {
    let own = several && thread.tid != thread.pid;
    Row {
        thread: clean(&thread.comm).into_owned(),
        id: if thread.summed > 0 {
            format!("{} ended", thread.summed)
        } else if own {
            format!("{}/{}", thread.pid, thread.tid)
        } else {
            thread.tid.to_string()
        },
        figures: figures(shares),
        migrations: thread
            .migrations_per_s()
            .map_or_else(String::new, |rate| format!("{rate:.1}")),
        blocked_in: reasons(shares),
        now: now(&thread.now, NOW),
    }
}

fn rest_row(threads: usize, sum: &Shares) -> Row {
    Row {
        thread: format!("and {threads} more"),
        id: String::new(),
        figures: figures(sum),
        migrations: String::new(),
        blocked_in: reasons(sum),
        now: String::new(),
    }
}

fn figures(shares: &Shares) -> [String; 4] {
    let inferred = if shares.inferred { "~" } else { "" };
    [
        tight_share(shares.on_cpu, shares),
        tight_share(shares.run_queue, shares),
        tight_share(shares.blocked_total(), shares),
        format!("{inferred}{}", tight_share(shares.idle_total(), shares)),
    ]
}

/// `12.3%`: no blank, for the table has little room.
fn tight_share(time: Duration, shares: &Shares) -> String {
    share(time, shares.observed).replace(' ', "")
}

/// The reasons that hold it up, most first: `futex 12.0 %, disk 0.3 %`.
fn reasons(shares: &Shares) -> String {
    let top = longest_first(&shares.blocked).into_iter().take(3);
    let words: Vec<_> = top
        .map(|(reason, time)| format!("{} {}", reason.label(), tight_share(time, shares)))
        .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}

/// What a thread does and since when, in at most `width` columns, the time whole: `futex 31.2 s`;
/// `~` when the beginning is inferred.
pub(super) fn now(now: &Now, width: usize) -> String {
    let what = match (now.state, now.reason) {
        (State::Unknown, _) => return "unknown".to_owned(),
        (State::Exited, _) => return "exited".to_owned(),
        (State::Running, _) => return "on CPU".to_owned(),
        (State::Runnable, _) => Cow::Borrowed(label::RUN_QUEUE),
        (State::Blocked, Some(reason)) => label::reason(reason, now.syscall),
        (State::Blocked, None) => Cow::Borrowed("blocked"),
    };
    let about = if now.since_inferred { "~" } else { "" };
    let since = format!("{about}{}", duration(now.since));
    let what = fit(&what, width.saturating_sub(since.width() + 1));
    format!("{what} {since}")
}

/// Widths of the columns that are not the same in every table.
struct Columns {
    thread: usize,
    id: usize,
    /// 0: left out.
    migrations: usize,
    blocked_in: usize,
    now: usize,
}

impl Columns {
    /// Each is as wide as its widest cell; BLOCKED IN, the one that may be long, at most what the
    /// others leave of the width.
    fn of(width: usize, rows: &[Row], moved: bool) -> Self {
        let widest = |cell: fn(&Row) -> &str| {
            let widths = rows.iter().map(|row| cell(row).width());
            widths.max().unwrap_or_default()
        };
        let thread = widest(|row| &row.thread).min(THREAD);
        let id = widest(|row| &row.id);
        let now = widest(|row| &row.now);
        let columns = [thread, id, now].into_iter().chain(FIGURES);
        // A gap after each of them, which is also one before BLOCKED IN, and two blanks in front.
        let taken: usize = 2 + columns.map(|column| column + GAP).sum::<usize>();
        // Without room for its heading it is left out: no figure behind it may be cut.
        let room = width.saturating_sub(taken);
        // It comes after BLOCKED IN, which says more.
        let has_room = moved && room >= BLOCKED_IN + MIGRATIONS + GAP;
        let migrations = if has_room { MIGRATIONS } else { 0 };
        let room = if has_room {
            room - MIGRATIONS - GAP
        } else {
            room
        };
        let room = if room < BLOCKED_IN { 0 } else { room };
        Self {
            thread,
            id,
            migrations,
            blocked_in: widest(|row| &row.blocked_in).min(room),
            now,
        }
    }

    fn line(&self, row: &Row) -> String {
        let mut cells = vec![left(&row.thread, self.thread), right(&row.id, self.id)];
        cells.extend(
            row.figures
                .iter()
                .zip(FIGURES)
                .map(|(text, width)| right(text, width)),
        );
        if self.migrations > 0 {
            cells.push(right(&row.migrations, self.migrations));
        }
        if self.blocked_in > 0 {
            cells.push(left(
                &whole(&row.blocked_in, self.blocked_in),
                self.blocked_in,
            ));
        }
        cells.push(left(&row.now, self.now));
        format!("  {}", cells.join(&" ".repeat(GAP)))
    }
}

/// As many of the reasons as fit, none of them cut.
fn whole(reasons: &str, width: usize) -> String {
    let mut shown = reasons;
    while shown.width() > width {
        match shown.rsplit_once(", ") {
            Some((first, _)) => shown = first,
            None => return fit(shown, width).into_owned(),
        }
    }
    shown.to_owned()
}

fn left(text: &str, width: usize) -> String {
    let cell = fit(text, width);
    let blanks = width.saturating_sub(cell.width());
    format!("{cell}{}", " ".repeat(blanks))
}

fn right(text: &str, width: usize) -> String {
    let cell = fit(text, width);
    let blanks = width.saturating_sub(cell.width());
    format!("{}{cell}", " ".repeat(blanks))
}

#[cfg(test)]
mod tests {
    use crate::terminal::{RenderOptions, summary};
    use remora_model::Reason;
    use remora_model::fixture::{Builder, ms};

    #[test]
    fn moves_between_cpus_are_shown_where_there_are_any_and_room() {
        let mut builder = Builder::new(22_418, "redis-server");
        builder.wait(0, Reason::Disk, &["main"], ms(2_310));
        let seen_at = |width, capture: &remora_model::Capture| {
            let options = RenderOptions {
                width,
                ..RenderOptions::default()
            };
            let page = summary(&capture.clone().into(), None, options);
            page.contains("MIGR/S") && page.contains("  12.5  disk")
        };
        builder.0.threads[0].migrations = Some(3);
        assert!(
            !seen_at(100, &builder.0),
            "three in thirty seconds are not many"
        );
        builder.0.threads[0].migrations = Some(375);
        assert!(seen_at(100, &builder.0));
        assert!(!seen_at(72, &builder.0));
        builder.0.threads[0].migrations = None;
        assert!(!seen_at(100, &builder.0));
    }

    #[test]
    fn reasons_take_the_room_that_other_columns_do_not_need() {
        let mut builder = Builder::new(22_418, "redis-server");
        builder.wait(0, Reason::Disk, &["main"], ms(2_310));
        builder.wait(0, Reason::PageFault, &["main"], ms(600));
        let capture = builder.finish();
        let page = summary(&capture.clone().into(), None, RenderOptions::default());
        assert!(
            page.contains("  disk 7.7%, page fault 2.0%  unknown\n"),
            "{page}"
        );
        let narrow = RenderOptions {
            width: 80,
            ..RenderOptions::default()
        };
        let page = summary(&capture.into(), None, narrow);
        let row = page.lines().find(|line| line.contains("  disk 7.7%"));
        let row = row.expect("a row of the table");
        assert!(row.ends_with("unknown") && !row.contains('…'), "{page}");
        assert!(!row.contains("page fault"), "{page}");
    }
}
