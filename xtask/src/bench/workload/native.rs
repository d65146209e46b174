//! The workloads in C, compiled as a distribution would: optimised, without frame pointers.

use anyhow::{Context, Result, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{Counter, Running, place};
use crate::bench::child::Process;

/// The sources, beside this module's.
pub(super) const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bench/workloads");

/// The programs that the tests have too.
const SPECIMENS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/specimens");

/// Compiles and starts the workload `name`, whose only argument is its counter file.
pub(super) fn start(name: &str, folder: &Path) -> Result<Running> {
    let count = folder.join(format!("{name}.count"));
    let counter = Counter::file(&count)?;
    let subject = Process::start(place::measured(compile(name, folder)?)?.arg(&count))?;
    Ok(Running::new(subject, Vec::new(), counter))
}

/// Compiles `name`.c; returns the program.
pub(super) fn compile(name: &str, folder: &Path) -> Result<PathBuf> {
    let program = folder.join(name);
    let folders = [SOURCES, SPECIMENS].map(|folder| Path::new(folder).join(format!("{name}.c")));
    let source = folders.iter().find(|source| source.exists());
    let source = source.with_context(|| format!("there is no {name}.c"))?;
    let compiler = Command::new("gcc")
        .args(["-O2", "-g", "-pthread", "-o"])
        .arg(&program)
        .arg(source)
        .output()
        .context("cannot start gcc (Debian package gcc)")?;
    let complaint = String::from_utf8_lossy(&compiler.stderr);
    ensure!(
        compiler.status.success(),
        "gcc could not compile {name}.c: {}",
        complaint.trim()
    );
    Ok(program)
}
