//! Whether this run can observe anything, and whose turn it is.

use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// One capture at a time on this machine: others would disturb its figures.
#[derive(Debug)]
pub struct Turn {
    _lock: File,
}

/// The `remora` under test: `REMORA_BIN`, or the release build of this workspace.
pub fn remora_binary() -> PathBuf {
    std::env::var_os("REMORA_BIN").map_or_else(
        || {
            let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
                || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
                PathBuf::from,
            );
            target.join("release/remora")
        },
        PathBuf::from,
    )
}

/// Waits for this test's turn; `None` when the run cannot observe, after it said why.
///
/// With `REMORA_E2E=required`, as `cargo xtask test` sets it, that is a failure, not a skip.
pub fn privileged() -> Option<Turn> {
    match obstacle() {
        None => Some(turn()),
        Some(why) => {
            let required = std::env::var("REMORA_E2E").is_ok_and(|value| value == "required");
            assert!(!required, "REMORA_E2E=required, but {why}");
            skip(&why);
            None
        }
    }
}

/// Says that a test, or a part of one, is skipped: `cargo xtask test` counts these lines, and fails where
/// one is not in `tests/skips.toml` and nothing may be missing.
///
/// To be called in the test's own thread: its name is the test's.
pub fn skip(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test");
    let why: Vec<&str> = why.split_whitespace().collect();
    let line = format!("skipped: {test}: {}\n", why.join(" "));
    // `eprintln!` would be captured by the test runner, which shows nothing of a test that passes. One
    // write, so that lines of tests that run at once do not mix.
    let _nobody_reads = std::io::stderr().write_all(line.as_bytes());
}

fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it needs root; `cargo xtask test` runs it so".into());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("this kernel has no BTF (/sys/kernel/btf/vmlinux)".into());
    }
    let binary = remora_binary();
    if !binary.exists() {
        return Some(format!(
            "{} is not built; `cargo xtask test` does it",
            binary.display()
        ));
    }
    None
}

fn turn() -> Turn {
    let path = crate::compile::folder().join("captures.lock");
    let lock = File::create(&path).expect("the target folder is writable");
    flock(&lock, FlockOperation::LockExclusive).expect("a lock on an own file");
    Turn { _lock: lock }
}
