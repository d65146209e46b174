//! Builds, runs, tests and measures remora.
fn main() {}
