//! The report as tables, aligned for a terminal or in Markdown for the README.

use std::fmt::{self, Display, Write};

use super::{jitter, report::Report, stats::Spread};

/// How tables are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Columns aligned with spaces.
    Terminal,
    /// Pipes.
    Markdown,
}

/// A titled table.
pub(super) struct Section {
    /// Above it.
    pub title: &'static str,
    /// Of its columns.
    pub head: &'static [&'static str],
    /// Its cells.
    pub rows: Vec<Vec<String>>,
}

/// Writes all tables, then how they came about and what is missing.
pub(super) fn render(report: &Report, style: Style) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for section in sections(report)
        .iter()
        .chain(&jitter::table::sections(report))
        .filter(|section| !section.rows.is_empty())
    {
        match style {
            Style::Terminal => writeln!(out, "{}", section.title)?,
            Style::Markdown => writeln!(out, "**{}**\n", section.title)?,
        }
        write_rows(&mut out, section, style)?;
        writeln!(out)?;
    }
    let method = if report.jitter.is_empty() {
        method(report)
    } else {
        jitter::table::method(report)
    };
    writeln!(out, "{method}")?;
    for missing in &report.missing {
        writeln!(out, "\nNot measured: {}: {}", missing.what, missing.reason)?;
    }
    Ok(out)
}

fn sections(report: &Report) -> [Section; 6] {
    [
        throughput(report),
        answers(report),
        per_switch(report),
        programs(report),
        unwinding(report),
        baselines(report),
    ]
}

fn throughput(report: &Report) -> Section {
    let rows = report.ratios.iter().map(|ratio| {
        vec![
            ratio.workload.to_owned(),
            ratio.profiler.to_owned(),
            format!("{:.3}", ratio.throughput.median),
            ratio
                .aim
                .map(|aim| format!("≥ {aim:.2}"))
                .unwrap_or_default(),
            quartiles(&ratio.throughput, 3),
            extremes(&ratio.throughput, 3),
            format!("{:.3}", ratio.cpu_per_op.median),
            quartiles(&ratio.cpu_per_op, 3),
            ratio
                .own_cpu_pct
                .map(|own| format!("{:.1} %", own.median))
                .unwrap_or_default(),
        ]
    });
    Section {
        title: "With the profiler, as a ratio to the same process without it",
        head: &[
            "workload",
            "profiler",
            "throughput",
            "aim",
            "quartiles",
            "min–max",
            "CPU time/op",
            "quartiles",
            "own CPU",
        ],
        rows: rows.collect(),
    }
}

fn answers(report: &Report) -> Section {
    let rows = report.answers.iter().map(|answer| {
        vec![
            answer.workload.to_owned(),
            format!("{:.2} s", answer.elapsed_s.median),
            format!("≤ {:.0} s", answer.aim_s),
            extremes(&answer.elapsed_s, 2),
            format!("{:.2} s", answer.own_cpu_s.median),
            extremes(&answer.own_cpu_s, 2),
        ]
    });
    Section {
        title: "A verdict of remora triage, from the start of the command to its end",
        head: &[
            "workload",
            "answers in",
            "aim",
            "min–max",
            "own CPU time",
            "min–max",
        ],
        rows: rows.collect(),
    }
}

fn per_switch(report: &Report) -> Section {
    let rows = report.switch_costs.iter().map(|cost| {
        vec![
            cost.profiler.to_owned(),
            cost.switches.to_owned(),
            format!("{:.0}", cost.ns_per_switch.median),
            cost.aim_ns
                .map(|aim| format!("≤ {aim:.0}"))
                .unwrap_or_default(),
            extremes(&cost.ns_per_switch, 0),
        ]
    });
    Section {
        title: "Kernel programs, ns for a context switch",
        head: &["profiler", "switches", "ns/switch", "aim", "min–max"],
        rows: rows.collect(),
    }
}

fn programs(report: &Report) -> Section {
    let rows = report.switch_costs.iter().flat_map(|cost| {
        cost.programs.iter().map(|program| {
            vec![
                cost.profiler.to_owned(),
                program.program.clone(),
                cost.switches.to_owned(),
                program
                    .ns_per_run
                    .map_or("–".to_owned(), |ns| format!("{ns:.0}")),
                format!("{:.3}", program.runs_per_switch),
                program.runs.to_string(),
            ]
        })
    });
    Section {
        title: "Kernel programs, ns for a run",
        head: &[
            "profiler",
            "program",
            "switches",
            "ns/run",
            "runs/switch",
            "runs",
        ],
        rows: rows.collect(),
    }
}

fn unwinding(report: &Report) -> Section {
    let rows = report.unwind_costs.iter().map(|cost| {
        let or_dash =
            |figure: Option<f64>| figure.map_or("–".to_owned(), |ns| format!("{ns:.0}"));
        vec![
            cost.depth.to_string(),
            format!("{:.0}", cost.ns_per_sample.median),
            extremes(&cost.ns_per_sample, 0),
            or_dash(cost.ns_more),
            or_dash(cost.ns_per_frame),
        ]
    });
    Section {
        title: "A sample of a program without frame pointers, ns by the depth of its stack",
        head: &[
            "calls",
            "ns/sample",
            "min–max",
            "more than the first",
            "ns/frame",
        ],
        rows: rows.collect(),
    }
}

fn baselines(report: &Report) -> Section {
    let rows = report.baselines.iter().map(|baseline| {
        vec![
            baseline.workload.to_owned(),
            baseline.operation.to_owned(),
            format!("{:.0}", baseline.ops_per_s.median),
            extremes(&baseline.ops_per_s, 0),
            format!("{:.0}", baseline.cpu_ns_per_op.median),
            extremes(&baseline.cpu_ns_per_op, 0),
        ]
    });
    Section {
        title: "The workloads by themselves",
        head: &[
            "workload",
            "operation",
            "op/s",
            "min–max",
            "CPU ns/op",
            "min–max",
        ],
        rows: rows.collect(),
    }
}

fn method(report: &Report) -> String {
    let (machine, method) = (&report.machine, &report.method);
    let kind = if machine.is_virtual {
        "virtual"
    } else {
        "physical"
    };
    let place = format!(
        "Linux {} on {} CPUs ({}, {kind}; load average before the run {}).",
        machine.kernel, machine.cpus, machine.cpu, machine.load_before,
    );
    let windows = format!(
        "One run of `cargo xtask bench`: windows of {} s with and without each profiler in turn, \
         on the same process ({} with remora, {} with each of the others); a window with a \
         profiler is compared with the mean of the windows before and after it. Medians. `none` \
         compares windows without a profiler in the same way.",
        method.window_s, method.pairs, method.pairs_of_others,
    );
    let meaning = "The measured process runs on the last CPU, its clients on the others, the \
         profilers anywhere. CPU time/op is the process's own CPU time for an operation \
         (schedstat), own CPU the profiler's process in percent of one CPU. The kernel programs \
         are measured apart, on the ping-pong with BPF statistics on: all programs of the \
         profiler, divided by the target's context switches, or, while the target sleeps, by the \
         machine's.";
    format!("{place} {windows} {meaning}")
}

fn quartiles(spread: &Spread, digits: usize) -> String {
    format!("{:.digits$}–{:.digits$}", spread.q1, spread.q3)
}

fn extremes(spread: &Spread, digits: usize) -> String {
    format!("{:.digits$}–{:.digits$}", spread.min, spread.max)
}

fn write_rows(out: &mut String, section: &Section, style: Style) -> fmt::Result {
    match style {
        Style::Markdown => {
            writeln!(out, "| {} |", section.head.join(" | "))?;
            writeln!(out, "|{}", " --- |".repeat(section.head.len()))?;
            for row in &section.rows {
                writeln!(out, "| {} |", row.join(" | "))?;
            }
        }
        Style::Terminal => {
            let widths = widths(section);
            write_aligned(out, section.head, &widths)?;
            for row in &section.rows {
                write_aligned(out, row, &widths)?;
            }
        }
    }
    Ok(())
}

fn widths(section: &Section) -> Vec<usize> {
    let of_column = |(column, head): (usize, &&str)| {
        let cells = section.rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count())
            .chain([head.chars().count()])
            .max()
            .unwrap_or(0)
    };
    section.head.iter().enumerate().map(of_column).collect()
}

fn write_aligned(out: &mut String, cells: &[impl Display], widths: &[usize]) -> fmt::Result {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        write!(line, "  {:width$}", cell.to_string())?;
    }
    writeln!(out, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section() -> Section {
        Section {
            title: "t",
            head: &["a", "bb"],
            rows: vec![
                vec!["≥ 1".to_owned(), "2".to_owned()],
                vec![String::new(), "33".to_owned()],
            ],
        }
    }

    #[test]
    fn columns_align_by_characters() {
        let mut out = String::new();
        write_rows(&mut out, &section(), Style::Terminal).unwrap();
        assert_eq!(out, "  a    bb\n  ≥ 1  2\n       33\n");
    }

    #[test]
    fn markdown_has_a_rule_below_the_head() {
        let mut out = String::new();
        write_rows(&mut out, &section(), Style::Markdown).unwrap();
        assert_eq!(out, "| a | bb |\n| --- | --- |\n| ≥ 1 | 2 |\n|  | 33 |\n");
    }
}
