//! The stall-injection harness: runs sick programs and lets remora judge each.

use crate::build::build;
use crate::process::{cargo, is_root, run};
use crate::test::tools;
use anyhow::ensure;

/// Runs the specimens whose name holds one of these; all without any.
///
/// # Errors
/// No build, no root, or remora's verdict on one is wrong.
pub(crate) fn specimens(
    list: bool,
    table: Option<&str>,
    numbers: &[(&str, Option<u32>)],
    names: &[String],
) -> anyhow::Result<()> {
    ensure!(
        list || is_root(),
        "remora needs root to look at the specimens: run it with sudo -E"
    );
    let mut command = cargo();
    command.args([
        "run",
        "--quiet",
        "--package",
        "remora-tests",
        "--bin",
        "run-specimens",
        "--",
    ]);
    if list {
        command.arg("--list");
    } else {
        tools::install();
        command.env("PATH", tools::path());
        command.env("REMORA_BIN", build(false)?);
    }
    if let Some(file) = table {
        command.args(["--table", file]);
    }
    for (flag, number) in numbers {
        if let Some(number) = number {
            command.args([flag, number.to_string().as_str()]);
        }
    }
    run(command.args(names))
}
