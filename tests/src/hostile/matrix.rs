//! A cell of the matrix: every command, one after the other, then the signals that end one early.
//!
//! `REMORA_HOSTILE_ROUNDS=20` repeats each cell so often: hangs that need luck show up there. Without it each is
//! gone through once, so that all of them fit into the tests of each change.

use super::attempt::{Attempt, Ended, SIGNALLED, document, has_finding, names_a_gap};
use super::kernel::{Before, whereabouts};
use crate::remora::{Run, Running};
use crate::tolerance::{
    END_AFTER_TWO_SIGNALS, GONE_FROM_THE_KERNEL, NOT_HUNG, REPORT_AFTER_A_SIGNAL,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const ROUNDS: &str = "REMORA_HOSTILE_ROUNDS";

/// Between two signals: the first is being served.
const BETWEEN_SIGNALS: Duration = Duration::from_millis(100);

/// What is looked at in a cell, and what has to come of it.
#[derive(Clone, Debug)]
pub struct Cell {
    name: String,
    target: u32,
    prefix: Vec<String>,
    is_python: bool,
    may_refuse: bool,
    has_gap: bool,
    finding: Option<&'static str>,
}

impl Cell {
    /// A target that can be seen whole.
    pub fn of(name: &str, target: u32) -> Self {
        Self {
            name: name.to_owned(),
            target,
            prefix: Vec::new(),
            is_python: false,
            may_refuse: false,
            has_gap: false,
            finding: None,
        }
    }

    /// Its tasks can be listed.
    pub fn python(self) -> Self {
        Self {
            is_python: true,
            ..self
        }
    }

    /// Something of it cannot be seen, and must be named.
    pub fn has_gap(self) -> Self {
        Self {
            has_gap: true,
            ..self
        }
    }

    /// It may be that nothing can be seen at all: one clear line says so.
    pub fn may_refuse(self) -> Self {
        Self {
            may_refuse: true,
            ..self
        }
    }

    /// This is found.
    pub fn finds(self, kind: &'static str) -> Self {
        Self {
            finding: Some(kind),
            ..self
        }
    }

    /// Commands run by this prefix.
    pub fn under(self, prefix: Vec<String>) -> Self {
        Self { prefix, ..self }
    }

    fn attempt<'a>(&'a self, line: &'a str, seconds: u64) -> Attempt<'a> {
        let words = line.split_whitespace().map(str::to_owned);
        let mut arguments: Vec<String> = words.collect();
        if line != "doctor" {
            arguments.extend(["--pid".to_owned(), self.target.to_string()]);
        }
        if seconds > 0 {
            arguments.extend(["--duration".to_owned(), seconds.to_string()]);
        }
        let is_tasks = line.contains("--tasks");
        Attempt {
            name: line,
            arguments,
            prefix: &self.prefix,
            length: Duration::from_secs(seconds),
            answers: match line.split_whitespace().next() {
                Some("triage") if !is_tasks => &[0, 10],
                _ => &[0],
            },
            may_refuse: self.may_refuse || is_tasks && (!self.is_python || self.has_gap),
        }
    }
}

/// What went wrong in a cell, and what still runs because of it.
#[derive(Debug, Default)]
struct Tried {
    faults: Vec<String>,
    stuck: Vec<Running>,
}

impl Tried {
    /// Notes how a command ended; what it said, when it ended well.
    fn note(&mut self, ended: Ended) -> Option<Run> {
        match ended {
            Ended::Well(run) => return Some(run),
            Ended::Badly(fault) => self.faults.push(fault),
            Ended::Stuck(fault, running) => {
                self.faults.push(fault);
                self.stuck.push(running);
            }
        }
        None
    }
}

/// How often each cell is gone through.
fn rounds() -> u32 {
    let asked = std::env::var(ROUNDS).ok();
    asked.map_or(1, |asked| {
        let number = asked.parse();
        number.unwrap_or_else(|_| panic!("{ROUNDS} is a number of rounds, not {asked:?}"))
    })
}

/// Goes through a cell; `host` is what makes it hostile, and is gone when this returns. Gives what went wrong, each in
/// words.
pub fn go_through<H>(host: H, cell: &Cell) -> Vec<String> {
    // Dropped behind the host, for what is stuck there cannot end before.
    let mut tried = Tried::default();
    let host = host;
    let mut faults = Vec::new();
    for round in 1..=rounds() {
        let before = Before::now();
        commands(cell, &mut tried);
        signals(cell, &mut tried);
        if tried.stuck.is_empty() {
            let left = before.left_after(GONE_FROM_THE_KERNEL);
            tried
                .faults
                .extend((!left.is_empty()).then(|| format!("left behind: {}", left.join(", "))));
        }
        let named = |fault: String| format!("{}, round {round}: {fault}", cell.name);
        faults.extend(tried.faults.drain(..).map(named));
        // What hangs once is not made to hang twenty times.
        if !tried.stuck.is_empty() {
            break;
        }
    }
    drop(host);
    faults
}

/// Panics with all that went wrong.
pub fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn commands(cell: &Cell, tried: &mut Tried) {
    let look = tried.note(cell.attempt("triage --json", 1).run());
    if let Some(run) = look {
        if cell.has_gap && !names_a_gap(&run) {
            let words = format!("triage names nothing that it did not see: {}", run.stdout);
            tried.faults.push(words);
        }
        let missing = cell.finding.filter(|kind| !has_finding(&run, kind));
        let words = missing.map(|kind| format!("triage does not find {kind}: {}", run.stdout));
        tried.faults.extend(words);
    }
    let recorded = tried.note(cell.attempt("record --json", 2).run());
    if recorded.is_some_and(|run| cell.has_gap && !names_a_gap(&run)) {
        let words = "record names nothing that it did not see".to_owned();
        tried.faults.push(words);
    }
    tried.note(cell.attempt("doctor", 0).run());
    tried.note(cell.attempt("triage --tasks", 0).run());
}

/// The first SIGTERM ends a long capture with a report, the second ends the process.
fn signals(cell: &Cell, tried: &mut Tried) {
    let once = cell.attempt("record --json", 60);
    let mut twice = cell.attempt("triage --json", 60);
    // The verdict may have been there just before.
    let codes = [Signal::INT, Signal::TERM].map(|signal| SIGNALLED + signal.as_raw());
    let answers = [&[0, 10], &codes[..]].concat();
    twice.answers = &answers;
    let (mut first, mut second) = (once.start(), twice.start());
    tried
        .faults
        .extend(until_both_capture(&mut first, &mut second));
    std::thread::sleep(BETWEEN_SIGNALS);
    end(&mut first);
    end(&mut second);
    std::thread::sleep(BETWEEN_SIGNALS);
    end(&mut second);
    let ended = twice.judge(second, END_AFTER_TWO_SIGNALS);
    tried.note(ended.named("after two signals"));
    let ended = once.judge(first, REPORT_AFTER_A_SIGNAL);
    let report = tried.note(ended.named("after a signal"));
    let document = report
        .filter(|run| run.status.success())
        .and_then(|run| document(&run));
    if let Some(document) = document
        && document["capture"]["end"] != "interrupted"
    {
        let words = format!(
            "after a signal: the capture ended as {}",
            document["capture"]
        );
        tried.faults.push(words);
    }
}

/// Waits until both capture or have ended; says so when the first does neither in time.
fn until_both_capture(first: &mut Running, second: &mut Running) -> Option<String> {
    let limit = Instant::now() + NOT_HUNG;
    let is_recording = |running: &Running| running.says("remora: recording");
    while Instant::now() < limit {
        let first_is_there = is_recording(first) || first.has_ended();
        if first_is_there && (second.is_attached() || second.has_ended()) {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let hangs = !is_recording(first) && !first.has_ended();
    let words = || {
        format!(
            "record: no capture after {NOT_HUNG:?}{}",
            whereabouts(first.pid())
        )
    };
    hangs.then(words)
}

/// Asks it to end, unless it has.
fn end(running: &mut Running) {
    if !running.has_ended() {
        running.signal(Signal::TERM);
    }
}
