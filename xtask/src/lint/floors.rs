//! Which crate of the agent may be built with which: the direction of the data. Cargo refuses a circle; that an arrow
//! is one that was meant, this refuses.

use std::collections::BTreeSet;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::process::{cargo, line, say};
use crate::tidy::PURE;

/// Each crate of the agent, and those of the workspace that it may know, the lowest first. `remora-` stands before
/// each name.
const FLOORS: [(&str, &[&str]); 7] = [
    ("model", &["common"]),
    ("analyze", &["common", "model"]),
    ("report", &["common", "model", "analyze"]),
    ("kernel", &["common", "model"]),
    // The kernel's symbols name frames: there is one reader of them.
    ("process", &["common", "model", "kernel"]),
    ("probe", &["common", "model", "kernel", "process"]),
    (
        "capture",
        &["common", "model", "kernel", "process", "probe"],
    ),
];

/// Crates that reach the machine: a pure crate is built without them, at any depth.
const MACHINE: [&str; 6] = ["aya", "aya-obj", "mio", "rustix", "tempfile", "tokio"];

/// The loader of the kernel side, and the only crate that knows it.
const LOADER: (&str, &str) = ("aya", "probe");

/// Checks what the agent's crates are built with.
///
/// # Errors
/// Names each arrow that is not meant.
pub(super) fn check() -> anyhow::Result<()> {
    say("floors: which crate knows which");
    let mut command = MetadataCommand::new();
    command.no_deps().other_options(["--locked".to_owned()]);
    let metadata = command.exec().context("cannot read the workspace")?;
    let mut faults = Vec::new();
    for (name, may_know) in FLOORS {
        let package = package(&metadata, name)?;
        let known: Vec<&str> = direct(package).collect();
        faults.extend(arrows(name, may_know, &known));
        if PURE.contains(&name) {
            faults.extend(machine(name, &reached(name)?));
        }
    }
    if !faults.is_empty() {
        bail!("floors:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// The arrows of a crate that are not meant.
fn arrows(name: &str, may_know: &[&str], known: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for known in known {
        let own = known.strip_prefix("remora-");
        let upward = own.is_some_and(|own| !may_know.contains(&own));
        if upward || *known == LOADER.0 && name != LOADER.1 {
            faults.push(format!("`{name}` must not know `{known}`"));
        }
    }
    faults
}

/// What reaches the machine among all that a pure crate is built with.
fn machine(name: &str, reached: &BTreeSet<String>) -> Vec<String> {
    let wrong = MACHINE.iter().filter(|wrong| reached.contains(**wrong));
    wrong
        .map(|wrong| format!("`{name}` is pure, and is built with `{wrong}`"))
        .collect()
}

/// A crate of the agent.
fn package<'a>(metadata: &'a Metadata, name: &str) -> anyhow::Result<&'a Package> {
    let full = format!("remora-{name}");
    let mut all = metadata.packages.iter();
    let package = all.find(|package| *package.name == full);
    package.with_context(|| format!("there is no crate {full}"))
}

/// The names of what a crate is built with, but for its tests and its build script.
fn direct(package: &Package) -> impl Iterator<Item = &str> {
    let all = package.dependencies.iter();
    let normal = all.filter(|dependency| dependency.kind == DependencyKind::Normal);
    normal.map(|dependency| dependency.name.as_str())
}

/// The names of all that a crate is built with when it is built alone, at any depth. `cargo metadata` does not tell:
/// there the crates of a workspace have the features that any of them asks for.
fn reached(name: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut command = cargo();
    command.args(["tree", "--locked", "--edges", "normal", "--prefix", "none"]);
    command.args(["--package", &format!("remora-{name}")]);
    let output = command.output().context("cannot run cargo tree")?;
    ensure!(output.status.success(), "{} failed", line(&command));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_that_is_not_meant_is_told() {
        let (name, may_know) = FLOORS[1];
        assert!(arrows(name, may_know, &["remora-model", "serde"]).is_empty());
        assert_eq!(
            arrows(name, may_know, &["remora-report", "aya"]),
            [
                "`analyze` must not know `remora-report`",
                "`analyze` must not know `aya`"
            ]
        );
        assert!(arrows("probe", &[], &["aya"]).is_empty());
    }

    #[test]
    fn a_pure_crate_that_gains_the_machine_is_told() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        assert!(machine("model", &names(&["serde", "libc"])).is_empty());
        assert_eq!(
            machine("model", &names(&["serde", "tokio"])),
            ["`model` is pure, and is built with `tokio`"]
        );
        assert!(reached("probe").unwrap().contains("aya"));
    }
}
