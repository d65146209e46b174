//! What the tests of all modules share.

use std::{fmt::Display, io::Write as _};

/// Says that a test, or a part of one, is skipped: `cargo xtask test` counts these lines, and fails where
/// one is not in `tests/skips.toml` and nothing may be missing.
///
/// To be called in the test's own thread: its name is the test's.
pub fn skip(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test");
    let why = why.to_string();
    let why: Vec<&str> = why.split_whitespace().collect();
    let line = format!("skipped: {test}: {}\n", why.join(" "));
    // `eprintln!` would be captured by the test harness, which shows nothing of a test that passes. One
    // write, so that lines of tests that run at once do not mix.
    let _nobody_reads = std::io::stderr().write_all(line.as_bytes());
}
