//! What a guest said against what must be so there: a pure function of both.

use serde::Deserialize;
use std::collections::BTreeMap;

use super::expect::{Hook, Kernel, Test};
use super::transcript::{Ran, Transcript};

/// The names that the guest gives to what it runs beside the tests.
pub(super) const DOCTOR: &str = "doctor";
/// A capture of one second.
pub(super) const CAPTURE: &str = "capture";

/// How many these are.
pub(super) const BESIDE: usize = 2;

/// Lines of a failed test that are shown.
const LAST_LINES: usize = 40;

/// What became of one check on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It ran, all of it or all but what may be left out, and passed.
    Passed,
    /// It passed when it was tried again.
    PassedLater,
    /// It says that it is skipped, as it must be there.
    Skipped,
    /// Anything else, in words.
    Wrong(String),
}

/// All that is checked on one kernel, by name.
pub(super) type Verdicts = Vec<(String, Verdict)>;

/// Judges a guest: its hooks, its capture, each of the tests, and its kernel's own messages.
pub(super) fn judge(
    kernel: &Kernel,
    hooks: &[Hook],
    tests: &[&Test],
    transcript: &Transcript,
    console: &str,
) -> Verdicts {
    let ran = |name: &str| transcript.ran.get(name);
    let doctor = doctor(kernel, hooks, ran(DOCTOR));
    let mut verdicts = vec![
        ("hooks of `remora doctor`".to_owned(), verdict(doctor)),
        (
            "hooks of a capture".to_owned(),
            verdict(capture(kernel, ran(CAPTURE))),
        ),
    ];
    verdicts.extend(tests.iter().map(|test| {
        let name = test.name.to_owned();
        (name, self::test(kernel, test, ran(test.name)))
    }));
    let complaints = complaints(console);
    verdicts.push(("no complaint of the kernel".to_owned(), verdict(complaints)));
    verdicts
}

/// Whether the kernel found no fault in itself: programs run in its scheduler.
fn complaints(console: &str) -> Result<(), String> {
    const SIGNS: [&str; 5] = ["BUG: ", "WARNING: ", "Oops", "general protection", "panic"];
    // A machine that is busy takes an emulated CPU away for longer than a kernel expects.
    let excused = |line: &&str| !line.contains("soft lockup");
    let signs = |line: &&str| SIGNS.iter().any(|sign| line.contains(sign));
    let lines: Vec<_> = console.lines().filter(signs).filter(excused).collect();
    if lines.is_empty() {
        Ok(())
    } else {
        Err(lines.join("\n"))
    }
}

fn verdict(checked: Result<(), String>) -> Verdict {
    checked.map_or_else(Verdict::Wrong, |()| Verdict::Passed)
}

#[derive(Deserialize)]
struct Doctor {
    can_observe: bool,
    hooks: Vec<Told>,
}

#[derive(Deserialize)]
struct Told {
    hook: String,
    works: bool,
    #[serde(default)]
    why: Option<String>,
}

/// Whether exactly the hooks work that must.
fn doctor(kernel: &Kernel, hooks: &[Hook], ran: Option<&Ran>) -> Result<(), String> {
    let told: Doctor = json(ran)?;
    let mut faults = Vec::new();
    if !told.can_observe {
        faults.push("it says that nothing can be observed".to_owned());
    }
    for hook in hooks {
        let must = !hook.refused_by.contains(&kernel.name);
        match told.hooks.iter().find(|told| is(&told.hook, hook.name)) {
            None => faults.push(format!("{} is not told", hook.name)),
            Some(told) if told.works != must => {
                let why = told.why.as_deref().unwrap_or("it works");
                faults.push(format!("{}: {why}", told.hook));
            }
            Some(_) => {}
        }
    }
    let known = |told: &&Told| !hooks.iter().any(|hook| is(&told.hook, hook.name));
    let unknown = told.hooks.iter().filter(known);
    faults.extend(unknown.map(|told| format!("{} has no line in HOOKS of expect.rs", told.hook)));
    all_or_none(&faults)
}

/// Whether a hook has this name, or one with a compiler's suffix: `finish_task_switch.isra.0`.
fn is(hook: &str, name: &str) -> bool {
    let rest = hook.strip_prefix(name);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[derive(Deserialize)]
struct Report {
    signals: BTreeMap<String, Signal>,
}

#[derive(Deserialize)]
struct Signal {
    hook: String,
    state: String,
}

/// Whether a capture uses the hooks that are best there.
fn capture(kernel: &Kernel, ran: Option<&Ran>) -> Result<(), String> {
    let report: Report = json(ran)?;
    let mut faults = Vec::new();
    for (name, best) in kernel.signals {
        match report.signals.get(*name) {
            None => faults.push(format!("{name}: the report names no hook")),
            Some(Signal { hook, state }) if !is(hook, best) || state != "on" => {
                faults.push(format!(
                    "{name}: {hook} ({state}) is used, and {best} is better"
                ));
            }
            Some(_) => {}
        }
    }
    all_or_none(&faults)
}

/// No fault, or all of them in words.
fn all_or_none(faults: &[String]) -> Result<(), String> {
    if faults.is_empty() {
        Ok(())
    } else {
        Err(faults.join("; "))
    }
}

/// The document that a program printed, after what it said of its progress.
fn json<T: for<'a> Deserialize<'a>>(ran: Option<&Ran>) -> Result<T, String> {
    let ran = ran.ok_or("it was not run")?;
    let text = ran.text();
    let from = text.find("\n{").map_or(0, |at| at + 1);
    let mut documents =
        serde_json::Deserializer::from_str(text.get(from..).unwrap_or_default()).into_iter::<T>();
    match (ran.code, documents.next()) {
        (Some(0), Some(Ok(document))) => Ok(document),
        (Some(0), Some(Err(error))) => Err(format!("{error}: {}", tail(&text))),
        (code, _) => Err(format!("ended with {code:?}: {}", tail(&text))),
    }
}

/// Whether a test did what it must on this kernel.
fn test(kernel: &Kernel, test: &Test, ran: Option<&Ran>) -> Verdict {
    let Some(ran) = ran else {
        return Verdict::Wrong("it was not run".to_owned());
    };
    if !ran.passed() {
        let code = ran.code.map_or("no".to_owned(), |code| code.to_string());
        return Verdict::Wrong(format!("exit code {code}:\n{}", tail(&ran.text())));
    }
    let (kernels, words) = test.skipped;
    let must_skip = kernels.contains(&kernel.name);
    let skips = ran.skips();
    let expected = |why: &&str| {
        let part = test.parts_skipped.is_some_and(|words| why.contains(words));
        part || (must_skip && why.contains(words))
    };
    if let Some(why) = skips.iter().find(|why| !expected(why)) {
        return Verdict::Wrong(format!("skipped: {why}"));
    }
    match (must_skip, skips.iter().any(|why| why.contains(words))) {
        (true, true) => Verdict::Skipped,
        (true, false) => Verdict::Wrong(format!(
            "it runs, and expect.rs says that it is skipped ({words})"
        )),
        (false, _) if ran.attempts > 1 => Verdict::PassedLater,
        (false, _) => Verdict::Passed,
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(LAST_LINES);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
