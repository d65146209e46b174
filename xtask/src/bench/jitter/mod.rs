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
pub mod table;

use anyhow::{Context, Result, bail};
use gaps::Figures;
use serde::Serialize;
use sources::Sources;
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

/// One row of the table.
#[derive(Debug, Serialize)]
pub struct Jitter {
    /// What ran, or `nothing`.
    pub what: &'static str,
    /// Whether it watched the spinner itself.
    pub watches_spinner: bool,
    /// Which part of its run.
    pub phase: &'static str,
    /// Of all its windows together.
    pub gaps: Figures,
    /// Time in gaps against the windows with nothing before and after.
    pub lost_ratio: Option<Spread>,
    /// Seconds in all.
    pub seconds: f64,
    /// What was counted on that CPU.
    pub sources: Sources,
}

/// Measures all, and puts the rows into the report.
///
/// # Errors
/// The spinner cannot be had. A tool that fails is left out, and said.
pub fn measure(
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
                Ok(phases) => series.push(before, &phases, &after),
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
    phases: [Span; 3],
    lost_ratios: [Vec<f64>; 3],
    failure: Option<anyhow::Error>,
}

impl Series {
    fn new(subject: Subject) -> Self {
        Self {
            subject,
            phases: Default::default(),
            lost_ratios: Default::default(),
            failure: None,
        }
    }

    fn push(&mut self, before: &Span, phases: &[Span; 3], after: &Span) {
        let (before, after) = (before.gaps.lost_us_per_s(), after.gaps.lost_us_per_s());
        for (at, phase) in phases.iter().enumerate() {
            let ratio = against_neighbours(before, phase.gaps.lost_us_per_s(), after);
            self.lost_ratios[at].push(ratio);
            self.phases[at].add(phase);
        }
    }

    fn rows(&self) -> impl Iterator<Item = Jitter> {
        let phases = PHASES.iter().zip(&self.phases).zip(&self.lost_ratios);
        phases.filter_map(|((phase, span), ratios)| {
            Some(Jitter {
                what: self.subject.name(),
                watches_spinner: self.subject.watched == Watched::Spinner,
                phase,
                gaps: span.gaps.figures()?,
                lost_ratio: Spread::of(ratios),
                seconds: span.gaps.seconds(),
                sources: span.sources,
            })
        })
    }
}

/// The windows with nothing, then each tool's phases.
fn rows(quiet: &[Span], series: &[Series]) -> Result<Vec<Jitter>> {
    let mut together = Span::default();
    quiet.iter().for_each(|span| together.add(span));
    let Some(figures) = together.gaps.figures() else {
        bail!("no window with nothing");
    };
    let lost: Vec<f64> = quiet.iter().map(|span| span.gaps.lost_us_per_s()).collect();
    let around = lost.windows(3);
    let ratios: Vec<f64> = around
        .map(|three| against_neighbours(three[0], three[1], three[2]))
        .collect();
    let nothing = Jitter {
        what: "nothing",
        watches_spinner: false,
        phase: "",
        gaps: figures,
        lost_ratio: Spread::of(&ratios),
        seconds: together.gaps.seconds(),
        sources: together.sources,
    };
    let tools = series.iter().flat_map(Series::rows);
    Ok([nothing].into_iter().chain(tools).collect())
}
