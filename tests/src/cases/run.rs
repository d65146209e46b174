//! Runs a case: starts its program, waits until it is sick, and asks remora for its verdict.

use super::{Case, Expect, Program, due};
use crate::compile::{build_package, build_with};
use crate::python;
use crate::remora::{Remora, Run};
use crate::specimen::{Specimen, Start};
use serde_json::Value;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether everything that must be said was said, and nothing else.
    pub right: bool,
    /// The verdict.
    pub verdict: String,
    /// What is wrong with it, or the summary of the finding.
    pub words: String,
    /// For how long remora looked.
    pub watched: Duration,
    /// From the ready line to the end of the look.
    pub ended: Duration,
    /// From the start of the command to its end.
    pub answered: Duration,
    /// Kinds of all findings.
    pub kinds: Vec<String>,
}

/// When, and for how long, cases are looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watching {
    /// So that sick ones are seen as soon as they have to be ([`due`]), not when their case says.
    pub soon: bool,
    /// Sick ones this long after they are.
    pub late: Option<Duration>,
    /// Healthy ones for so long.
    pub long: Option<Duration>,
}

/// Runs a case as it says.
///
/// # Errors
/// Why this machine cannot run its program.
pub fn run(case: &Case) -> Result<Outcome, String> {
    run_watching(case, Watching::default())
}

/// Runs a case, looked at in another way than it says.
///
/// What goes wrong once its program runs (remora hangs, crashes, prints what nobody can read; the program
/// ends) is a wrong outcome, not a case that cannot run.
///
/// # Errors
/// Why this machine cannot run its program.
pub fn run_watching(case: &Case, watching: Watching) -> Result<Outcome, String> {
    let run = AssertUnwindSafe(|| start_and_look(case, watching));
    catch_unwind(run).unwrap_or_else(|panic| Ok(Outcome::failed("failed", message(&*panic))))
}

fn start_and_look(case: &Case, watching: Watching) -> Result<Outcome, String> {
    let specimen = start(case.program)?;
    let ready = SystemTime::now();
    sleep(wait(case, watching));
    let pid = specimen.ready().pid.to_string();
    let mut command = Remora::with(&["triage", "--json", "--pid", &pid]);
    let long = watching
        .long
        .filter(|_| matches!(case.expect, Expect::Healthy));
    command = match long {
        Some(long) => command
            .args(&without_duration(case.arguments))
            .args(&["--duration", &format!("{}s", long.as_secs())])
            .lasting(long),
        None => command.args(case.arguments).lasting(due::look(case)),
    };
    let asked = Instant::now();
    let run = command.run();
    let answered = asked.elapsed();
    let said = match read(&run.stdout) {
        Ok(said) => said,
        Err(error) => {
            let Run {
                command, status, ..
            } = &run;
            let words = format!("{command}: {status}: {error}: {}{}", run.stdout, run.stderr);
            return Ok(Outcome::failed("unreadable", words));
        }
    };
    let wrong = judge(case, &specimen, &said);
    let wrong = wrong.and_then(|words| match (case.expect, run.status.code()) {
        (Expect::Healthy | Expect::Unseen | Expect::Unclear { .. }, Some(0))
        | (Expect::Sick { .. }, Some(10)) => Ok(words),
        (_, code) => Err(format!("exit code {code:?}")),
    });
    Ok(Outcome::of(&said, wrong, ready, answered))
}

/// The document that remora printed; it must be whole.
fn read(text: &str) -> Result<Value, String> {
    let said: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let whole = said["verdict"].is_string() && said["findings"].is_array();
    whole.then_some(said).ok_or_else(|| {
        let what = "the document has no verdict, or no list of findings";
        what.to_owned()
    })
}

/// The words of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").to_owned()
}

impl Outcome {
    /// Of a document, and whether it says what it must.
    fn of(
        said: &Value,
        wrong: Result<String, String>,
        ready: SystemTime,
        answered: Duration,
    ) -> Self {
        let seconds = |name: &str| said["capture"][name].as_f64().unwrap_or(0.0);
        let watched = Duration::from_secs_f64(seconds("duration_s"));
        let ready = ready.duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = seconds("started_unix_s") + watched.as_secs_f64() - ready.as_secs_f64();
        let findings = said["findings"].as_array().into_iter().flatten();
        let kinds = findings.filter_map(|it| it["kind"].as_str().map(str::to_owned));
        Self {
            right: wrong.is_ok(),
            verdict: said["verdict"].as_str().unwrap_or("none").to_owned(),
            words: wrong.unwrap_or_else(|words| words),
            watched,
            ended: Duration::try_from_secs_f64(end).unwrap_or_default(),
            answered,
            kinds: kinds.collect(),
        }
    }

    /// There is no verdict.
    fn failed(verdict: &str, words: String) -> Self {
        Self {
            right: false,
            verdict: verdict.to_owned(),
            words,
            watched: Duration::ZERO,
            ended: Duration::ZERO,
            answered: Duration::ZERO,
            kinds: Vec::new(),
        }
    }
}

fn wait(case: &Case, watching: Watching) -> Duration {
    match case.expect {
        Expect::Sick { .. } if watching.late.is_some() => watching.late.unwrap_or_default(),
        Expect::Sick { .. } if watching.soon => due::wait(case),
        _ => Duration::from_secs(case.after_s.into()),
    }
}

/// The arguments but for the length of the look.
fn without_duration<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let mut left = Vec::new();
    let mut all = arguments.iter();
    while let Some(argument) = all.next() {
        if *argument == "--duration" {
            all.next();
        } else {
            left.push(*argument);
        }
    }
    left
}

fn judge(case: &Case, specimen: &Specimen, said: &Value) -> Result<String, String> {
    let none = Vec::new();
    let findings = said["findings"].as_array().unwrap_or(&none);
    let notices = said["notices"].as_array().unwrap_or(&none);
    if let Expect::Unclear { kind, says } = case.expect {
        return match (findings.first(), notices.as_slice()) {
            (None, [notice]) if notice["kind"] == kind => all_said(notice, says),
            _ => Err(format!("not one notice: {findings:#?} {notices:#?}")),
        };
    }
    let Expect::Sick { kind, thread, says } = case.expect else {
        return match findings.first().or(notices.first()) {
            None => Ok("nothing found".to_owned()),
            Some(finding) => Err(format!("a false alarm: {finding:#}")),
        };
    };
    let worst = findings.first().ok_or("nothing was found")?;
    // It may be the consequence of another one: what a peer did, say.
    let of_worst = findings.iter().filter(|finding| finding["incident"] == 0);
    let first = of_worst
        .clone()
        .find(|finding| finding["kind"] == kind)
        .ok_or_else(|| format!("the worst finding is another: {worst:#}"))?;
    let tid = (!thread.is_empty()).then(|| u64::from(specimen.tid(thread)));
    if tid.is_some() && first["tid"].as_u64() != tid {
        return Err(format!("not about thread {thread} ({tid:?}): {first:#}"));
    }
    all_said(first, says)
}

/// The summary of a finding that says all of these.
fn all_said(finding: &Value, says: &[&str]) -> Result<String, String> {
    let text = finding.to_string();
    match says.iter().find(|word| !text.contains(**word)) {
        Some(word) => Err(format!("does not say {word:?}: {finding:#}")),
        None => Ok(finding["summary"].as_str().unwrap_or_default().to_owned()),
    }
}

/// Starts a case's program and waits until it is ready.
///
/// # Errors
/// Why this machine cannot run it.
pub fn start(program: Program) -> Result<Specimen, String> {
    match program {
        Program::C(name, mode) => {
            let source = format!("{name}.c");
            let flags = [
                "-O1",
                "-g",
                "-std=gnu17",
                "-Wall",
                "-Wextra",
                "-pthread",
                &source,
            ];
            Start::program(&build_with("gcc", name, &flags)?)
                .argument(mode)
                .spawn()
        }
        Program::Cpp(name, mode) => {
            let source = format!("{name}.cc");
            let flags = [
                "-O1",
                "-g",
                "-std=c++20",
                "-Wall",
                "-Wextra",
                "-pthread",
                &source,
            ];
            Start::program(&build_with("g++", name, &flags)?)
                .argument(mode)
                .spawn()
        }
        Program::Rust(name, mode) => {
            let source = format!("{name}.rs");
            let flags = ["--edition", "2024", "-O", "-g", &source];
            Start::program(&build_with("rustc", name, &flags)?)
                .argument(mode)
                .spawn()
        }
        Program::Package(name, mode) => {
            Start::program(&build_package(name)?).argument(mode).spawn()
        }
        Program::Node(name, mode, argument) => start_node(name, mode, argument),
        Program::Java(name, mode) => start_java(name, mode),
        Program::Python(name, mode) => {
            let interpreters = python::interpreters();
            let newest = interpreters.last().ok_or("there is no CPython here")?;
            start_python(newest, name, mode)
        }
        Program::PythonOf(version, name, mode) => {
            let wanted = format!("python{version}");
            let interpreters = python::interpreters();
            let mut of = interpreters.iter().filter(|it| it.ends_with(&wanted));
            let found = of.next();
            start_python(
                found.ok_or_else(|| format!("there is no CPython {version} here"))?,
                name,
                mode,
            )
        }
        Program::PythonWith(modules, name, mode) => {
            let found = python::interpreters_with(modules);
            let newest = found.last();
            start_python(
                newest.ok_or_else(|| format!("no CPython here has {modules}"))?,
                name,
                mode,
            )
        }
    }
}

fn start_python(interpreter: &Path, name: &str, mode: &str) -> Result<Specimen, String> {
    let script = python::specimen(name);
    let script = script.to_str().ok_or("a path that is not UTF-8")?;
    Start::program(interpreter)
        .argument(script)
        .argument(mode)
        .spawn()
}

/// Where a program is.
fn installed(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = places.find(|program| program.exists());
    found.ok_or_else(|| format!("there is no {name} here"))
}

fn start_java(name: &str, mode: &str) -> Result<Specimen, String> {
    // Its launcher compiles a source if the compiler is there.
    let java = match std::env::var_os("REMORA_JAVA") {
        Some(java) => PathBuf::from(java),
        None => installed("javac").and(installed("java"))?,
    };
    let source = python::specimen(name);
    let source = source.to_str().ok_or("a path that is not UTF-8")?;
    Start::program(&java)
        .argument(source)
        .argument(mode)
        .spawn()
}

fn start_node(name: &str, mode: &str, argument: &str) -> Result<Specimen, String> {
    let node = installed("node")?;
    let script = python::specimen(name);
    let script = script.to_str().ok_or("a path that is not UTF-8")?;
    Start::program(&node)
        .argument(script)
        .argument(mode)
        .argument(argument)
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_read_is_no_document() {
        assert!(read("{\"verdict\":\"healthy\",\"findings\":[]}").is_ok());
        for text in [
            "",
            "thread 'main' panicked",
            "{\"verdict\":\"healthy\"",
            "{}",
            "{\"verdict\":\"healthy\"}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_program_that_breaks_is_wrong_and_not_skipped() {
        // It knows no such mode, and ends with an error before it is ready.
        let case = Case {
            program: Program::C("sick_memory", "no-such-mode"),
            ..super::super::all()[0]
        };
        match run(&case) {
            Ok(outcome) => {
                assert!(!outcome.right && outcome.verdict == "failed", "{outcome:?}");
            }
            Err(why) => crate::gate::skip(&why),
        }
    }
}
