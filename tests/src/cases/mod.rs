//! Programs that are sick in a known way, each with healthy ones that look like it: the harness by which a
//! user watches each finding fire, and by which the tests count what is found and what is cried in vain.
//!
//! A program takes its mode as first argument, gets itself into its state, and prints a line `ready {"pid":…,
//! "tids":{NAME:TID,…}}` ([`crate::specimen::Ready`]); then it stays so until it is killed. One file an area.

mod check;
pub mod due;
mod idioms;
mod java;
mod locks;
mod loops;
mod memory;
mod parking;
mod pools;
mod run;
mod sockets;
pub mod table;
mod threads;
mod waits;

pub use check::{check, check_all};
pub use run::{Outcome, Watching, run, run_watching, start};

/// What runs a case.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    /// A mode of a C program: name of its source without `.c`.
    C(&'static str, &'static str),
    /// The same in C++: source without `.cc`.
    Cpp(&'static str, &'static str),
    /// The same in Rust: source without `.rs`.
    Rust(&'static str, &'static str),
    /// A mode of a Rust program with dependencies: name of its package's folder.
    Package(&'static str, &'static str),
    /// A mode of a Python program: name of its source.
    Python(&'static str, &'static str),
    /// A mode of a Java program: its source, which the launcher compiles.
    Java(&'static str, &'static str),
    /// The same on one version of CPython: `3.8`, its source, mode.
    PythonOf(&'static str, &'static str, &'static str),
    /// The same on one that has these modules.
    PythonWith(&'static str, &'static str, &'static str),
    /// A mode of a program of node: name of its source, mode, and one more argument.
    Node(&'static str, &'static str, &'static str),
}

/// What must be said of it.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// A finding.
    Sick {
        /// Its kind.
        kind: &'static str,
        /// The thread that it is about, by its name in the ready line; empty: about none.
        thread: &'static str,
        /// Must stand in its summary or evidence: the function to blame, the descriptor.
        says: &'static [&'static str],
    },
    /// Nothing but a notice.
    Unclear {
        /// Its kind.
        kind: &'static str,
        /// Must stand in its summary or evidence.
        says: &'static [&'static str],
    },
    /// Nothing.
    Healthy,
    /// Nothing in a look of this length, though it is not well.
    Unseen,
}

/// A program and what must be said of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// `deadlock-mutexes-c`.
    pub name: &'static str,
    /// What it does, in a line.
    pub about: &'static str,
    /// What runs.
    pub program: Program,
    /// What must be said.
    pub expect: Expect,
    /// For how long it has to be so before it counts: the threshold, in seconds.
    pub after_s: u32,
    /// More arguments for remora: thresholds, a longer look.
    pub arguments: &'static [&'static str],
}

impl Case {
    /// Whether its program uses, or lacks, all of a CPU.
    pub fn wants_cpu(&self) -> bool {
        [
            "spin-",
            "cpu-",
            "starved-",
            "cycle-",
            "contention-",
            "loop-saturated",
            "loop-computes",
            "loop-turning",
            "gil-",
        ]
        .iter()
        .any(|area| self.name.starts_with(area))
    }
}

/// Those of sockets.
pub fn sockets() -> Vec<Case> {
    sockets::CASES.to_vec()
}

/// Every case.
pub fn all() -> Vec<Case> {
    [
        locks::CASES,
        idioms::CASES,
        java::CASES,
        sockets::CASES,
        threads::CASES,
        loops::CASES,
        waits::CASES,
        pools::CASES,
        parking::CASES,
        memory::CASES,
    ]
    .concat()
}
