//! Builds, runs, tests and measures remora.

mod bench;

use clap::Parser;

#[derive(Parser)]
enum Xtask {
    /// Measure what remora costs those it watches, beside other profilers
    Bench(bench::BenchArgs),
}

fn main() -> anyhow::Result<()> {
    match Xtask::parse() {
        Xtask::Bench(args) => bench::run(&args),
    }
}
