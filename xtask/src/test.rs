//! All tests: those of the crates, then, as root, the ones that run the agent on real processes.

use crate::build::build;
use crate::process::{cargo, is_root, run, say};
use crate::setup;
use crate::{tidy, toolchain};

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
    let mut command = cargo();
    command
        .args([
            "test",
            "--package",
            "remora-tests",
            "--",
            "--test-threads=1",
        ])
        .args(filters);
    run(command.env(BINARY, binary).env(REQUIRED.0, REQUIRED.1))
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
