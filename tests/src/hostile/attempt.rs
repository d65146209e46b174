//! One command in a cell: whether it ended in time, and spoke.

use super::kernel::whereabouts;
use crate::remora::{Remora, Run, Running};
use serde_json::Value;
use std::time::{Duration, Instant};

const CANNOT_OBSERVE: i32 = 3;

/// The exit code of a process that a signal ended, as shells tell it, is this and the number of the signal.
pub(super) const SIGNALLED: i32 = 128;

/// What a command has to do.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    /// For messages.
    pub name: &'a str,
    /// As typed.
    pub arguments: Vec<String>,
    /// What runs it.
    pub prefix: &'a [String],
    /// How long it may take.
    pub patience: Duration,
    /// Exit codes of an answer.
    pub answers: &'a [i32],
    /// It may also say in one line that it cannot observe.
    pub may_refuse: bool,
}

/// What the waiting process says of an agent that cannot end.
const LEFT_BEHIND: &str = "is left behind: it ends when what it waits for answers";

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// In time, with an answer or a refusal.
    Well(Run),
    /// Not as it should, in words.
    Badly(String),
    /// Not at all: killed, to be waited for when the cell is over.
    Stuck(String, Running),
}

impl Ended {
    /// What went wrong is said of this moment.
    pub(super) fn named(self, when: &str) -> Self {
        match self {
            Self::Well(run) => Self::Well(run),
            Self::Badly(fault) => Self::Badly(format!("{when}: {fault}")),
            Self::Stuck(fault, running) => Self::Stuck(format!("{when}: {fault}"), running),
        }
    }
}

impl Attempt<'_> {
    /// Starts it.
    pub(super) fn start(&self) -> Running {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let prefix: Vec<&str> = self.prefix.iter().map(String::as_str).collect();
        let remora = Remora::with(&arguments);
        if self.name.starts_with("record") {
            remora.out_in_folder().under(&prefix).start()
        } else {
            remora.under(&prefix).start()
        }
    }

    /// Waits for its end, for so long since `start`.
    pub(super) fn judge(&self, mut running: Running, start: Instant, patience: Duration) -> Ended {
        if !running.ends_before(start + patience) {
            let places = whereabouts(running.agent());
            running.kill();
            let words = format!("{}: not over after {patience:.1?}{places}", self.name);
            return Ended::Stuck(words, running);
        }
        let run = running.finish();
        match self.fault(&run) {
            None => Ended::Well(run),
            Some(fault) => Ended::Badly(format!("{}: {fault}", self.name)),
        }
    }

    fn fault(&self, run: &Run) -> Option<String> {
        // That a process had to be left behind is said beside the answer.
        let counts = |line: &&str| !line.is_empty() && !line.ends_with(LEFT_BEHIND);
        let lines = run.stderr.lines().filter(counts);
        let said = || format!("--- said\n{}\n{}", run.stderr.trim(), tail(&run.stdout));
        if run.stderr.contains("panicked") {
            return Some(format!("it panicked {}", said()));
        }
        let code = run.status.code();
        if self.may_refuse && code == Some(CANNOT_OBSERVE) {
            return (lines.count() != 1).then(|| format!("not one clear line: {}", said()));
        }
        if code.is_none_or(|code| !self.answers.contains(&code)) {
            return Some(format!("ended with {} {}", run.status, said()));
        }
        let is_json = self.arguments.iter().any(|word| word == "--json");
        // After two signals there is no answer, only an end.
        let has_answer = code.is_some_and(|code| code < SIGNALLED);
        let broken = is_json && has_answer && document(run).is_none();
        broken.then(|| format!("no JSON document {}", said()))
    }
}

fn tail(text: &str) -> &str {
    let from = text.len().saturating_sub(600);
    text.get(from..).unwrap_or(text)
}

/// The JSON document of a run.
pub(super) fn document(run: &Run) -> Option<Value> {
    serde_json::from_str(&run.stdout).ok()
}

/// Whether a document names something that was not seen, or a run says that it saw nothing.
pub(super) fn names_a_gap(run: &Run) -> bool {
    if run.status.code() == Some(CANNOT_OBSERVE) {
        return true;
    }
    let document = document(run).unwrap_or_default();
    let lost = document["loss"].as_object();
    let counts = lost.is_some_and(|lost| lost.values().any(|count| count.as_f64() > Some(0.0)));
    counts || document["verdict"] == "unclear"
}

/// Whether a document has a finding of this kind.
pub(super) fn has_finding(run: &Run, kind: &str) -> bool {
    let document = document(run).unwrap_or_default();
    let findings = document["findings"].as_array();
    findings.is_some_and(|all| all.iter().any(|finding| finding["kind"] == kind))
}
