//! The rows of [`super::Jitter`] as tables.

use super::{Jitter, gaps::LONG, sources::NAMES, spinner::SHORTEST};
use crate::bench::{report::Report, stats::Spread, table::Section};

/// How long gaps are and how often, then what the kernel counted on that CPU.
pub(crate) fn sections(report: &Report) -> [Section; 2] {
    [gaps(&report.jitter), sources(&report.jitter)]
}

fn gaps(rows: &[Jitter]) -> Section {
    let cells = rows.iter().map(|row| {
        let (longest, ratio) = (&row.longest_us, &row.short_ratio);
        let lost = |lost: &Spread| format!("{:.0} ({:.0}–{:.0})", lost.median, lost.q1, lost.q3);
        name(row)
            .into_iter()
            .chain([
                format!("{:.0}", row.gaps_per_s.median),
                format!("{:.0}", row.median_us),
                format!("{:.0}", row.p99_us),
                format!("{:.0} ({:.0})", longest.median, longest.max),
                lost(&row.short_us_per_s),
                format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.q1, ratio.q3),
                lost(&row.long_us_per_s),
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
            "longest µs (of all)",
            "lost to interrupts µs/s (quartiles)",
            "against nothing (quartiles)",
            "lost to threads µs/s (quartiles)",
        ],
        rows: cells.collect(),
    }
}

fn sources(rows: &[Jitter]) -> Section {
    const HEAD: [&str; 11] = {
        let mut head = [
            "what runs",
            "watches",
            "phase",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
            "",
        ];
        let mut at = 0;
        while at < NAMES.len() {
            head[at + 3] = NAMES[at];
            at += 1;
        }
        head
    };
    let cells = rows.iter().map(|row| {
        let rates = row.counted_per_s.iter();
        let rates = rates.map(|counted| format!("{:.0}", counted.per_s));
        name(row).into_iter().chain(rates).collect()
    });
    Section {
        title: "What the kernel counted on that CPU, a second",
        head: &HEAD,
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
pub(crate) fn method(report: &Report) -> String {
    let window_s = report.method.window_s;
    let (machine, rounds) = (&report.machine, report.method.pairs);
    let place = format!(
        "Linux {} on {} CPUs ({}; load average before the run {}).",
        machine.kernel, machine.cpus, machine.cpu, machine.load_before,
    );
    let windows = format!(
        "One run of `cargo xtask bench --jitter`: {rounds} rounds, each tool in turn, a window of {window_s} s with nothing \
         before and after it. start: from the command to 0.3 s behind its sign of recording; steady: {window_s} s from \
         there; end: from the request to end to 0.3 s behind its end. `another`: a process that may not run on that CPU.",
    );
    let meaning = format!(
        "A gap is {} µs or more between two readings of the clock; one of {} µs or more counts as a thread that ran \
         there. Medians of the windows; median and p99 are of all gaps together.",
        SHORTEST.as_micros(),
        LONG.as_micros(),
    );
    format!("{place} {windows} {meaning}")
}
