//! All tests: those of the crates, then, as root, the ones that run the agent on real processes.

use crate::build::build;
use crate::process::{cargo, is_root, line, run, run_and_read, say};
use crate::setup;
use crate::{tidy, toolchain};
use anyhow::ensure;
use std::path::Path;

/// Where the end-to-end tests find the agent.
const BINARY: &str = "REMORA_BIN";
/// Set to `required`, a test that lacks privileges or the agent fails instead of being skipped.
const REQUIRED: (&str, &str) = ("REMORA_E2E", "required");

/// Programs that end-to-end tests run, and the Debian package of each.
const TOOLS: [(&str, &str); 10] = [
    ("chromium", "chromium"),
    ("g++", "g++"),
    ("gcc", "gcc"),
    ("gdb", "gdb"),
    ("nginx", "nginx-light"),
    ("pgbench", "postgresql"),
    ("python3", "python3"),
    ("redis-benchmark", "redis-tools"),
    ("redis-server", "redis-server"),
    ("wrk", "wrk"),
];

/// Runs the tests whose name holds one of the filters; all without a filter.
///
/// # Errors
/// A test fails, or the agent cannot be built.
pub fn test(filters: &[String]) -> anyhow::Result<()> {
    tidy::tidy()?;
    say("unit tests");
    let mut command = cargo();
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "remora-ebpf",
        "--exclude",
        "remora-tests",
    ]);
    run(command.arg("--").args(filters))?;
    if !is_root() {
        say("skipped the end-to-end tests (package remora-tests): they need root");
        return Ok(());
    }
    let binary = build(false)?;
    install_tools();
    say("end-to-end tests, one at a time: they measure time");
    let failed = end_to_end(&binary, filters, false)?;
    if failed.is_empty() {
        return Ok(());
    }
    // What a machine with other work did to one is not there a second time; a defect is.
    say(format!("once more, what failed: {}", failed.join(" ")));
    let again = end_to_end(&binary, &failed, true)?;
    for name in failed.iter().filter(|name| !again.contains(name)) {
        say(format!("{name} failed, and passed the second time"));
    }
    ensure!(again.is_empty(), "failed twice: {}", again.join(" "));
    Ok(())
}

/// Runs end-to-end tests by filters, or by their exact names; gives the names of those that failed.
///
/// # Errors
/// They do not build, or ended without saying which failed.
fn end_to_end(binary: &Path, filters: &[String], exact: bool) -> anyhow::Result<Vec<String>> {
    let mut command = cargo();
    command.args(["test", "--package", "remora-tests", "--no-fail-fast"]);
    command.args(["--", "--test-threads=1"]);
    if exact {
        command.arg("--exact");
    }
    command
        .args(filters)
        .env(BINARY, binary)
        .env(REQUIRED.0, REQUIRED.1);
    let (passed, output) = run_and_read(&mut command)?;
    let failed = failures(&output);
    ensure!(
        passed || !failed.is_empty(),
        "{} failed, and no test says why",
        line(&command)
    );
    Ok(failed)
}

/// The names in the lists that the test harness ends with: `failures:`, then one a line, indented.
fn failures(output: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut listed = false;
    for line in output.lines() {
        match line.strip_prefix("    ") {
            Some(name) if listed && !name.contains(' ') => names.push(name.to_owned()),
            _ => listed = line == "failures:",
        }
    }
    names
}

/// Installs the programs that are missing, as far as possible: a test says what it lacks.
fn install_tools() {
    let mut missing = TOOLS.to_vec();
    missing.retain(|(program, _)| toolchain::find(program).is_none());
    if missing.is_empty() {
        return;
    }
    let packages: Vec<_> = missing
        .iter()
        .map(|(_, package)| (*package).to_owned())
        .collect();
    say(format!(
        "installing what the end-to-end tests run: {}",
        packages.join(" ")
    ));
    if let Err(error) = setup::install_packages(&packages) {
        say(format!(
            "{error:#}; tests that need one of these are skipped"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_failed_are_those_of_the_list_at_the_end() {
        let output = "test a ... ok\ntest b ... FAILED\n\nfailures:\n\n---- b stdout ----\n    at line 3\n\n\
                      failures:\n    b\n    module::c\n\ntest result: FAILED. 1 passed\n";
        assert_eq!(failures(output), ["b", "module::c"]);
        assert!(failures("test a ... ok\n\ntest result: ok. 1 passed\n").is_empty());
    }
}
