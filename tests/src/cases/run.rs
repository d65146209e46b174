//! Runs a case: starts its program, waits until it is sick, and asks remora for its verdict.

use super::{Case, Expect, Program};
use crate::compile::build_with;
use crate::python;
use crate::remora::Remora;
use crate::specimen::{Specimen, Start};
use serde_json::Value;
use std::thread::sleep;
use std::time::Duration;

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Whether everything that must be said was said, and nothing else.
    pub right: bool,
    /// The verdict.
    pub verdict: String,
    /// What is wrong with it, or the summary of the finding.
    pub words: String,
}

/// Runs a case.
///
/// # Errors
/// Why this machine cannot run its program.
pub fn run(case: &Case) -> Result<Outcome, String> {
    let specimen = start(case.program)?;
    sleep(Duration::from_secs(case.after_s.into()));
    let pid = specimen.ready().pid.to_string();
    let run = Remora::with(&["triage", "--json", "--pid", &pid])
        .args(case.arguments)
        .run();
    let code = run.status.code();
    let said: Value = serde_json::from_str(&run.stdout)
        .map_err(|error| format!("{}: {error}: {}{}", run.command, run.stdout, run.stderr))?;
    let wrong = judge(case, &specimen, &said).and_then(|words| match (case.expect, code) {
        (Expect::Healthy, Some(0)) | (Expect::Sick { .. }, Some(10)) => Ok(words),
        _ => Err(format!("exit code {code:?}")),
    });
    let verdict = said["verdict"].as_str().unwrap_or("none").to_owned();
    Ok(match wrong {
        Ok(words) => Outcome {
            right: true,
            verdict,
            words,
        },
        Err(words) => Outcome {
            right: false,
            verdict,
            words,
        },
    })
}

fn judge(case: &Case, specimen: &Specimen, said: &Value) -> Result<String, String> {
    let none = Vec::new();
    let findings = said["findings"].as_array().unwrap_or(&none);
    let Expect::Sick { kind, thread, says } = case.expect else {
        return match findings.first() {
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
    let text = first.to_string();
    for word in says {
        if !text.contains(word) {
            return Err(format!("does not say {word:?}: {first:#}"));
        }
    }
    Ok(first["summary"].as_str().unwrap_or_default().to_owned())
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
        Program::Python(name, mode) => {
            let interpreters = python::interpreters();
            let newest = interpreters.last().ok_or("there is no CPython here")?;
            let script = python::specimen(name);
            let script = script.to_str().ok_or("a path that is not UTF-8")?;
            Start::program(newest)
                .argument(script)
                .argument(mode)
                .spawn()
        }
    }
}
