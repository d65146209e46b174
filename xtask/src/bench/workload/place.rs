//! Which CPU each process of a workload runs on.
//!
//! Left to the scheduler, a server and its client sit now on one CPU and now on two, and the cost
//! of an operation doubles and halves with it: far more than any profiler's share. So the measured
//! process has the last CPU to itself and its load has the others; profilers run where they like.

use anyhow::{Context, Result};
use rustix::thread::{CpuSet, sched_getaffinity};
use std::{ffi::OsStr, process::Command};

/// `program` as a command that runs on the CPU of measured processes.
pub(super) fn measured(program: impl AsRef<OsStr>) -> Result<Command> {
    let (last, _) = cpus()?;
    Ok(on(&[last], program))
}

/// `program` as a command that runs on the other CPUs, if there are any.
pub(super) fn load(program: impl AsRef<OsStr>) -> Result<Command> {
    let (last, others) = cpus()?;
    Ok(if others.is_empty() {
        on(&[last], program)
    } else {
        on(&others, program)
    })
}

/// The last of the CPUs that the harness may use, and the others.
fn cpus() -> Result<(usize, Vec<usize>)> {
    let allowed = sched_getaffinity(None).context("cannot tell the CPUs")?;
    let mut allowed: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|&cpu| allowed.is_set(cpu))
        .collect();
    let last = allowed.pop().context("no CPU is allowed")?;
    Ok((last, allowed))
}

/// `taskset` becomes the program, under the same process id.
pub(crate) fn on(cpus: &[usize], program: impl AsRef<OsStr>) -> Command {
    let list: Vec<String> = cpus.iter().map(usize::to_string).collect();
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(list.join(",")).arg(program);
    command
}
