//! The rows of [`super::Jitter`] as tables.

use super::{Jitter, spinner::SHORTEST};
use crate::bench::{report::Report, table::Section};

/// How long gaps are and how often, then what the kernel counted on that CPU.
pub fn sections(report: &Report) -> [Section; 2] {
    [gaps(&report.jitter), sources(&report.jitter)]
}

fn gaps(rows: &[Jitter]) -> Section {
    let cells = rows.iter().map(|row| {
        let figures = &row.gaps;
        let ratio = row
            .lost_ratio
            .map(|ratio| format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.q1, ratio.q3));
        name(row)
            .into_iter()
            .chain([
                format!("{:.0}", figures.per_s),
                format!("{:.1}", figures.median_us),
                format!("{:.1}", figures.p99_us),
                format!("{:.0}", figures.longest_us),
                format!("{:.0}", figures.lost_us_per_s),
                ratio.unwrap_or_default(),
            ])
            .collect()
    });
    Section {
        title: "Gaps in the time of a thread under SCHED_FIFO that reads the clock in a loop on a CPU of its own",
        head: &[
            "what runs",
            "watches",
            "phase",
            "gaps/s",
            "median µs",
            "p99 µs",
            "longest µs",
            "lost µs/s",
            "lost, against nothing (quartiles)",
        ],
        rows: cells.collect(),
    }
}

fn sources(rows: &[Jitter]) -> Section {
    let cells = rows.iter().map(|row| {
        let rates = row
            .sources
            .all()
            .map(|count| format!("{:.1}", count as f64 / row.seconds));
        name(row).into_iter().chain(rates).collect()
    });
    Section {
        title: "What the kernel counted on that CPU, a second",
        head: &[
            "what runs",
            "watches",
            "phase",
            "timer",
            "reschedule",
            "function call",
            "TLB",
            "irq work",
            "device",
            "RCU",
            "preempted",
        ],
        rows: cells.collect(),
    }
}

fn name(row: &Jitter) -> [String; 3] {
    let watches = match (row.phase, row.watches_spinner) {
        ("", _) => "",
        (_, true) => "the spinner",
        (_, false) => "another",
    };
    [row.what, watches, row.phase].map(str::to_owned)
}

/// How the tables came about.
pub fn method(report: &Report) -> String {
    let window_s = report.method.window_s;
    let (machine, rounds) = (&report.machine, report.method.pairs);
    format!(
        "Linux {} on {} CPUs ({}; load average before the run {}). One run of `cargo xtask bench --jitter`: {rounds} \
         rounds, each tool in turn, a window of {window_s} s with nothing before and after it. A gap is {} µs or more \
         between two readings of the clock. `another`: a process that may not run on that CPU. start: from the command \
         to 0.3 s behind its sign of recording; steady: {window_s} s from there; end: from the request to end to 0.3 s \
         behind its end.",
        machine.kernel,
        machine.cpus,
        machine.cpu,
        machine.load_before,
        SHORTEST.as_micros(),
    )
}
