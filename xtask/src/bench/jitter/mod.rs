//! `cargo xtask bench --jitter`: what a tool takes from a thread that nobody may disturb.
//!
//! The thread reads the clock in a loop on a CPU of its own, under SCHED_FIFO and without throttling, and notes each gap
//! ([`spinner`]). Windows with a tool stand between windows with nothing, in several rounds, so that the machine's own
//! noise shows; the start of a tool, its steady state and its end are told apart, for code is patched and events are
//! opened at the first and last.

mod gaps;
mod sources;
mod spinner;
mod subject;
pub(super) mod table;

use anyhow::{Context, Result};
use gaps::Gaps;
use serde::Serialize;
use spinner::{Cpus, Moment, Span, Spinner, Unthrottled};
use std::{path::Path, time::Duration};
use subject::{Moments, Subject, Watched};

use super::{
    child::Process,
    clock::Clock,
    pairs::Plan,
    report::{Missing, Report},
    stats::{Spread, against_neighbours},
    workload,
};

/// The parts of a tool's run.
const PHASES: [&str; 3] = ["start", "steady", "end"];

/// One row of the table: the windows of one kind, each a number, and their gaps together.
#[derive(Debug, Serialize)]
pub(super) struct Jitter {
    /// What ran, or `nothing`.
    pub what: &'static str,
    /// Whether it watched the spinner itself.
    pub watches_spinner: bool,
    /// Which part of its run.
    pub phase: &'static str,
    /// Seconds in all.
    pub seconds: f64,
    /// Gaps a second.
    pub gaps_per_s: Spread,
    /// Half of all gaps are no longer, in microseconds.
    pub median_us: f64,
    /// All but one in a hundred are no longer.
    pub p99_us: f64,
    /// The longest of a window.
    pub longest_us: Spread,
    /// Time in gaps of less than 100 µs, which are interrupts, in microseconds a second.
    pub short_us_per_s: Spread,
    /// That against the windows with nothing before and after.
    pub short_ratio: Spread,
    /// Time in longer gaps, in which other threads ran.
    pub long_us_per_s: Spread,
    /// What was counted on that CPU, a second: the median of the windows.
    pub counted_per_s: Vec<Counted>,
}

/// Something that the kernel counts on a CPU.
#[derive(Debug, Serialize)]
pub(super) struct Counted {
    /// Its name.
    pub what: &'static str,
    /// How often.
    pub per_s: f64,
}

/// Measures all, and puts the rows into the report.
///
/// # Errors
/// The spinner cannot be had. A tool that fails is left out, and said.
pub(super) fn measure(
    remora: &Path,
    plan: Plan,
    folder: &Path,
    clock: &Clock,
    report: &mut Report,
) -> Result<()> {
    let cpus = Cpus::divide()?;
    let throttling = Unthrottled::set();
    if let Err(error) = &throttling {
        let what = "a spinner without real-time throttling";
        report.missing.push(Missing::new(what, error));
    }
    let program = workload::compile("steady", folder)?;
    let target = Process::start(cpus.beside(&program).arg(folder.join("steady.count")))?;
    let mut bench = Bench {
        remora,
        window: plan.window,
        target: target.pid(),
        spinner: Spinner::start(&cpus, folder, clock)?,
        cpus,
        folder,
        clock,
    };
    let mut series: Vec<Series> = Subject::all().map(Series::new).collect();
    let mut quiet = vec![bench.nothing()?];
    for round in 1..=plan.pairs {
        eprintln!("bench: jitter, round {round} of {}", plan.pairs);
        for series in series.iter_mut().filter(|series| series.failure.is_none()) {
            let phases = bench.with(series.subject);
            let after = bench.nothing()?;
            let before = quiet.last().context("no window with nothing")?;
            match phases {
                Ok(phases) => series.push(before, phases, &after),
                Err(error) if clock.interrupted() => return Err(error),
                Err(error) => series.failure = Some(error),
            }
            quiet.push(after);
        }
    }
    report.jitter = rows(&quiet, &series)?;
    for series in &series {
        if let Some(error) = &series.failure {
            report
                .missing
                .push(Missing::new(series.subject.name(), error));
        }
    }
    Ok(())
}

/// What all windows share.
struct Bench<'a> {
    remora: &'a Path,
    window: Duration,
    target: u32,
    spinner: Spinner,
    cpus: Cpus,
    folder: &'a Path,
    clock: &'a Clock,
}

impl Bench<'_> {
    fn nothing(&mut self) -> Result<Span> {
        let from = self.spinner.now()?;
        self.clock.sleep(self.window)?;
        let to = self.spinner.now()?;
        self.spinner.between(&from, &to)
    }

    /// Its start, its steady state, its end.
    fn with(&mut self, subject: Subject) -> Result<[Span; 3]> {
        let Moments([started, recording, asked, gone]) = subject.run(
            self.remora,
            (self.target, self.window),
            (&mut self.spinner, &self.cpus),
            self.folder,
            self.clock,
        )?;
        let span = |from: &Moment, to: &Moment| self.spinner.between(from, to);
        Ok([
            span(&started, &recording)?,
            span(&recording, &asked)?,
            span(&asked, &gone)?,
        ])
    }
}

/// The windows of one tool.
struct Series {
    subject: Subject,
    /// Of each phase its windows, with the loss by interrupts against nothing.
    phases: [Vec<(Span, f64)>; 3],
    failure: Option<anyhow::Error>,
}

impl Series {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            phases: Default::default(),
            failure: None,
        }
    }

    fn push(&mut self, before: &Span, phases: [Span; 3], after: &Span) {
        let (before, after) = (before.gaps.short_us_per_s(), after.gaps.short_us_per_s());
        for (windows, phase) in self.phases.iter_mut().zip(phases) {
            let ratio = against_neighbours(before, phase.gaps.short_us_per_s(), after);
            windows.push((phase, ratio));
        }
    }

    fn rows(&self) -> impl Iterator<Item = Jitter> {
        let phases = PHASES.iter().zip(&self.phases);
        phases.filter_map(|(phase, windows)| {
            let watches_spinner = self.subject.watched == Watched::Spinner;
            row(self.subject.name(), watches_spinner, phase, windows)
        })
    }
}

/// The windows with nothing, then each tool's phases.
fn rows(quiet: &[Span], series: &[Series]) -> Result<Vec<Jitter>> {
    let around = quiet.windows(3).map(|three| {
        let [before, on, after] = [0, 1, 2].map(|at| three[at].gaps.short_us_per_s());
        (three[1].clone(), against_neighbours(before, on, after))
    });
    let around: Vec<(Span, f64)> = around.collect();
    let nothing = row("nothing", false, "", &around).context("too few windows with nothing")?;
    let tools = series.iter().flat_map(Series::rows);
    Ok([nothing].into_iter().chain(tools).collect())
}

/// `None` without a window.
fn row(
    what: &'static str,
    watches_spinner: bool,
    phase: &'static str,
    windows: &[(Span, f64)],
) -> Option<Jitter> {
    let spread = |figure: &dyn Fn(&Span) -> f64| {
        let figures: Vec<f64> = windows.iter().map(|(span, _)| figure(span)).collect();
        Spread::of(&figures)
    };
    let together = Gaps::together(windows.iter().map(|(span, _)| &span.gaps));
    let ratios: Vec<f64> = windows.iter().map(|(_, ratio)| *ratio).collect();
    let counted = sources::NAMES.iter().enumerate().filter_map(|(at, what)| {
        let rate = spread(&|span| span.sources.all()[at] as f64 / span.gaps.seconds())?;
        Some(Counted {
            what,
            per_s: rate.median,
        })
    });
    Some(Jitter {
        what,
        watches_spinner,
        phase,
        seconds: together.seconds(),
        gaps_per_s: spread(&|span| span.gaps.per_s())?,
        median_us: together.quantile_us(0.5),
        p99_us: together.quantile_us(0.99),
        longest_us: spread(&|span| span.gaps.quantile_us(1.0))?,
        short_us_per_s: spread(&|span| span.gaps.short_us_per_s())?,
        short_ratio: Spread::of(&ratios)?,
        long_us_per_s: spread(&|span| span.gaps.long_us_per_s())?,
        counted_per_s: counted.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gaps::Gap;
    use sources::Sources;

    /// A second with so many gaps of 10 µs.
    fn span(gaps: u64) -> Span {
        let all: Vec<Gap> = (0..gaps)
            .map(|end_ns| Gap {
                end_ns,
                length_ns: 10_000,
            })
            .collect();
        Span {
            gaps: Gaps::within(&all, 0, 1_000_000_000),
            sources: Sources {
                timer: gaps,
                ..Sources::default()
            },
        }
    }

    #[test]
    fn each_phase_is_a_row_against_the_windows_around_it() {
        let mut series = Series::new(Subject::all().next().unwrap());
        series.push(&span(100), [span(300), span(150), span(200)], &span(200));
        series.push(&span(100), [span(600), span(150), span(200)], &span(100));
        let quiet = [100, 200, 100].map(span);
        let rows = rows(&quiet, &[series]).unwrap();
        assert_eq!(rows.len(), 4);
        assert_eq!((rows[0].what, rows[0].short_ratio.median), ("nothing", 2.0));
        let start = &rows[1];
        assert_eq!((start.phase, start.seconds), ("start", 2.0));
        assert_eq!((start.short_ratio.min, start.short_ratio.max), (2.0, 6.0));
        assert_eq!(start.gaps_per_s.median, 450.0);
        assert_eq!(start.short_us_per_s.median, 4500.0);
        assert_eq!((start.median_us, start.longest_us.max), (10.0, 10.0));
        assert_eq!(start.counted_per_s[0].per_s, 450.0);
    }

    #[test]
    fn a_tool_that_never_ran_has_no_row() {
        let series = Series::new(Subject::all().next().unwrap());
        assert_eq!(series.rows().count(), 0);
    }
}
