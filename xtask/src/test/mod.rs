//! All tests: those of the crates, then, as root, the ones that run the agent on real processes.
//!
//! What a run says at its end is all there is to know: what failed and why, what needed a second try
//! and why, what was skipped and why.

mod output;
mod skips;
pub(crate) mod tools;
mod tries;

use crate::build::build;
use crate::process::{cargo, is_root, line, run_and_read, say};
use crate::tidy;
use anyhow::ensure;
use output::{Output, Told};
pub(crate) use skips::must_be_complete;
use std::mem;
use std::path::Path;
use std::process::Command;
use tries::{Tries, try_again};

/// Where the end-to-end tests find the agent.
const BINARY: &str = "REMORA_BIN";
/// Set to `required`, a test that lacks privileges or the agent fails instead of being skipped.
const REQUIRED: (&str, &str) = ("REMORA_E2E", "required");
/// The list of known skips, for messages.
const SKIPS: &str = "tests/skips.toml";

/// Runs the tests whose name holds one of the filters; all without a filter.
///
/// # Errors
/// A test fails, too many need a second try, one is skipped that must not be, or the agent cannot be built.
pub(crate) fn test(filters: &[String]) -> anyhow::Result<()> {
    tidy::tidy()?;
    let known = skips::known()?;
    if is_root() {
        tools::install();
    }
    let mut all = unit(filters)?;
    let mut tries = Tries {
        // What is disturbed by other work is only what measures time: no second try for a unit test.
        failed: mem::take(&mut all.failed),
        ..Tries::default()
    };
    if is_root() {
        let binary = build(false)?;
        say("end-to-end tests, one at a time: they measure time");
        let mut first = end_to_end(&binary, filters, false)?;
        let again = |names: &[String]| {
            say(format!("once more: {}", names.join(" ")));
            Ok::<_, anyhow::Error>(end_to_end(&binary, names, true)?.failed)
        };
        let later = try_again(mem::take(&mut first.failed), again)?;
        all.add(first);
        all.passed += later.recovered.len();
        tries.recovered = later.recovered;
        tries.failed.extend(later.failed);
    } else {
        all.skipped.push(Told {
            test: "end-to-end tests".to_owned(),
            why: "package remora-tests needs root".to_owned(),
        });
    }
    close(&all, &tries, &known, filters)
}

/// Runs the unit tests of all crates.
///
/// # Errors
/// They do not build, or one broke off.
fn unit(filters: &[String]) -> anyhow::Result<Output> {
    say("unit tests");
    let mut command = cargo();
    command.args(["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(["--exclude", "remora-ebpf", "--exclude", "remora-tests"]);
    read(command.arg("--").args(filters))
}

/// Runs end-to-end tests by filters, or by their exact names.
///
/// # Errors
/// They do not build, or one broke off.
fn end_to_end(binary: &Path, filters: &[String], exact: bool) -> anyhow::Result<Output> {
    let mut command = cargo();
    command.args(["test", "--package", "remora-tests", "--locked"]);
    command.args(["--no-fail-fast", "--", "--test-threads=1"]);
    if exact {
        command.arg("--exact");
    }
    command
        .args(filters)
        .env("PATH", tools::path())
        .env(BINARY, binary)
        .env(REQUIRED.0, REQUIRED.1);
    read(&mut command)
}

/// Runs tests, and reads what they say.
///
/// # Errors
/// They cannot be run, or one test program ended without a result: what else failed must not hide that.
fn read(command: &mut Command) -> anyhow::Result<Output> {
    let printed = run_and_read(command)?;
    let output = Output::read(&printed.output, &printed.error);
    ensure!(
        output.broken_off == 0,
        "{}: {} test program(s) ended without a result",
        line(command),
        output.broken_off
    );
    ensure!(
        printed.success || !output.failed.is_empty(),
        "{} failed, and no test says why",
        line(command)
    );
    Ok(output)
}

/// Says what all came to.
///
/// # Errors
/// It is not as it has to be.
fn close(
    all: &Output,
    tries: &Tries,
    known: &[skips::Known],
    filters: &[String],
) -> anyhow::Result<()> {
    list("run only on demand", &all.ignored);
    list("skipped", &all.skipped);
    list("passed at the second try; failed before", &tries.recovered);
    list("failed", &tries.failed);
    let strict = must_be_complete();
    if strict && filters.is_empty() {
        for entry in skips::stale(&all.skipped, known) {
            say(format!("{SKIPS}: nothing was skipped by this: {entry}"));
        }
    }
    let unknown = skips::unknown(&all.skipped, known);
    say(format!(
        "{} passed, {} failed, {} skipped",
        all.passed,
        tries.failed.len(),
        all.skipped.len()
    ));
    ensure!(
        tries.failed.is_empty(),
        "failed: {}",
        names(tries.failed.iter())
    );
    ensure!(
        all.passed > 0,
        "no test has such a name: {}",
        filters.join(" ")
    );
    ensure!(
        !strict || unknown.is_empty(),
        "skipped where nothing may be missing (CI=true) but by {SKIPS}: {}",
        names(unknown.into_iter())
    );
    Ok(())
}

/// Shows a list, if there is anything on it.
fn list(title: &str, told: &[Told]) {
    if !told.is_empty() {
        say(format!("{title}: {}", told.len()));
    }
    for Told { test, why } in told {
        say(format!("  {test}: {why}"));
    }
}

fn names<'a>(told: impl Iterator<Item = &'a Told>) -> String {
    let names: Vec<&str> = told.map(|told| &*told.test).collect();
    names.join(" ")
}
