//! A cell of the matrix: every command, and the signals that end one early.
//!
//! A cell is gone through once, with all commands at the same time, so that the matrix fits into the tests of each
//! change. `REMORA_HOSTILE_ROUNDS=20` goes through each so often: hangs that need luck show up there. Every second
//! round has the commands one after the other.

use super::attempt::{Attempt, Ended, SIGNALLED, document, has_finding, names_a_gap};
use super::kernel::{Before, whereabouts};
use crate::remora::{Run, Running};
use crate::tolerance::{
    END_AFTER_TWO_SIGNALS, GONE_FROM_THE_KERNEL, HEAP_NOT_HUNG, NOT_HUNG, REPORT_AFTER_A_SIGNAL,
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
    slower: u32,
    heap: bool,
    heap_gap: bool,
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
            slower: 1,
            heap: false,
            heap_gap: false,
        }
    }

    /// Its allocator is watched too.
    pub fn heap(self) -> Self {
        Self { heap: true, ..self }
    }

    /// The same, and it cannot be: that must be named.
    pub fn no_heap(self) -> Self {
        Self {
            heap: true,
            heap_gap: true,
            ..self
        }
    }

    /// Everything takes so many times as long, for the CPU is shared with so many.
    pub fn slower(self, times: u32) -> Self {
        Self {
            slower: times,
            ..self
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
        let own = if line.contains("--heap") {
            NOT_HUNG + HEAP_NOT_HUNG
        } else {
            NOT_HUNG
        };
        Attempt {
            name: line,
            arguments,
            prefix: &self.prefix,
            patience: Duration::from_secs(seconds) + self.slower * own,
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

/// How often each cell is gone through: once, unless asked for more.
pub fn rounds() -> u32 {
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
        // What shares a limit would meet it sooner together.
        let together = cell.prefix.is_empty() && round % 2 == 1;
        commands(cell, together, &mut tried);
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

/// All commands, at the same time or one after the other.
fn commands(cell: &Cell, together: bool, tried: &mut Tried) {
    let lines = [
        ("triage --json", 1),
        ("record --json", 2),
        ("doctor", 0),
        ("triage --tasks", 0),
        // Probes of two captures in one function are none of each other's business.
        ("record --json --heap", 2),
    ];
    let wanted = lines
        .into_iter()
        .filter(|(line, _)| cell.heap || !line.ends_with("--heap"));
    let attempts: Vec<Attempt<'_>> = wanted
        .map(|(line, seconds)| cell.attempt(line, seconds))
        .collect();
    let long = together.then(|| [Long::once(cell), Long::twice(cell)]);
    let start = Instant::now();
    let started = together.then(|| attempts.iter().map(Attempt::start).collect::<Vec<_>>());
    let mut started = started.into_iter().flatten();
    for attempt in &attempts {
        let (running, start) = match started.next() {
            Some(running) => (running, start),
            None => (attempt.start(), Instant::now()),
        };
        let ended = attempt.judge(running, start, attempt.patience);
        if let Some(run) = tried.note(ended) {
            let faults = said_too_little(cell, attempt, &run);
            tried.faults.extend(faults);
        }
    }
    match long {
        Some(both) => both.into_iter().for_each(|long| long.end(tried)),
        None => {
            Long::once(cell).end(tried);
            Long::twice(cell).end(tried);
        }
    }
}

/// What a command does not say of the cell.
fn said_too_little(cell: &Cell, attempt: &Attempt, run: &Run) -> Vec<String> {
    let mut missing = Vec::new();
    if !attempt.name.contains("--json") {
        return missing;
    }
    let heap_gap = cell.heap_gap && attempt.name.ends_with("--heap");
    if (cell.has_gap || heap_gap) && !names_a_gap(run) {
        missing.push("names nothing that it did not see".to_owned());
    }
    let absent = cell.finding.filter(|kind| !has_finding(run, kind));
    missing.extend(absent.map(|kind| format!("does not find {kind}")));
    let named = |fault| format!("{} {fault}: {}", attempt.name, run.stdout);
    missing.into_iter().map(named).collect()
}

/// A capture that would last much longer than the cell, to be ended by signals.
struct Long<'a> {
    attempt: Attempt<'a>,
    running: Running,
    signals: u32,
    limit: Instant,
}

impl<'a> Long<'a> {
    /// The first SIGTERM ends it with a report.
    fn once(cell: &'a Cell) -> Self {
        Self::start(cell, cell.attempt("record --json", 600), 1)
    }

    /// The second SIGTERM ends the process.
    fn twice(cell: &'a Cell) -> Self {
        // The verdict may have been there just before.
        const ENDED: &[i32] = &[
            0,
            10,
            SIGNALLED + Signal::INT.as_raw(),
            SIGNALLED + Signal::TERM.as_raw(),
        ];
        let attempt = Attempt {
            answers: ENDED,
            ..cell.attempt("triage --json", 600)
        };
        Self::start(cell, attempt, 2)
    }

    fn start(cell: &Cell, attempt: Attempt<'a>, signals: u32) -> Self {
        Self {
            running: attempt.start(),
            attempt,
            signals,
            limit: Instant::now() + cell.slower * NOT_HUNG,
        }
    }

    fn end(mut self, tried: &mut Tried) {
        tried.faults.extend(self.until_it_captures());
        let mut last = Instant::now();
        for _ in 0..self.signals {
            std::thread::sleep(BETWEEN_SIGNALS);
            last = Instant::now();
            if !self.running.has_ended() {
                self.running.signal(Signal::TERM);
            }
        }
        let (when, patience) = if self.signals == 1 {
            ("after a signal", REPORT_AFTER_A_SIGNAL)
        } else {
            ("after two signals", END_AFTER_TWO_SIGNALS)
        };
        let ended = self.attempt.judge(self.running, last, patience);
        let run = tried.note(ended.named(when));
        let answer = run.filter(|run| run.status.code().is_some_and(|code| code < SIGNALLED));
        let end = answer.and_then(|run| Some(document(&run)?["capture"]["end"].clone()));
        if let Some(end) = end
            && end != "interrupted"
        {
            let words = format!("{when}: {} ended as {end}", self.attempt.name);
            tried.faults.push(words);
        }
    }

    /// Waits until it captures, as far as it shows, or has ended; says so when it does neither in time.
    fn until_it_captures(&mut self) -> Option<String> {
        // Of the two only `record` says when all of its programs count; `triage` has some then.
        let is_silent = self.attempt.name.starts_with("triage");
        let begins = |running: &Running| {
            running.says("remora: recording") || is_silent && running.is_attached()
        };
        while !begins(&self.running) && !self.running.has_ended() {
            if Instant::now() > self.limit {
                let places = whereabouts(self.running.agent());
                return Some(format!("{}: it does not begin{places}", self.attempt.name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        None
    }
}
