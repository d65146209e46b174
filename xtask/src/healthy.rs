//! Healthy programs that nobody here wrote: remora must have nothing to say of them.

use crate::build::build;
use crate::process::{cargo, is_root, run};
use anyhow::ensure;
use clap::Args;

/// What is looked at, and for how long.
#[derive(Args)]
pub(crate) struct HealthyArgs {
    /// Say what there is
    #[arg(long)]
    list: bool,
    /// Install what is missing, with apt-get, pip and npm
    #[arg(long)]
    install: bool,
    /// Length of each look
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    duration: Option<u32>,
    /// So many programs at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    jobs: Option<u32>,
    /// Do not have them work
    #[arg(long)]
    rest_only: bool,
    /// One look at each: at work where it can work
    #[arg(long)]
    once: bool,
    /// A program runs for so long before it is looked at
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3600))]
    settle: Option<u32>,
    /// Write what came out as a table, in Markdown
    #[arg(long, value_name = "FILE")]
    table: Option<String>,
    /// Keep what remora said of each, as JSON
    #[arg(long, value_name = "DIR")]
    out: Option<String>,
    /// Only these
    names: Vec<String>,
}

/// Runs the programs of these names; all without any.
///
/// # Errors
/// No build, no root, or remora finds something.
pub(crate) fn healthy(args: &HealthyArgs) -> anyhow::Result<()> {
    ensure!(
        args.list || is_root(),
        "remora needs root to look at the programs: run it with sudo -E"
    );
    let mut command = cargo();
    command.args(["run", "--quiet", "--package", "remora-tests"]);
    command.args(["--bin", "run-healthy", "--"]);
    if !args.list {
        command.env("REMORA_BIN", build(false)?);
    }
    let flags = [
        ("--list", args.list),
        ("--install", args.install),
        ("--rest-only", args.rest_only),
        ("--once", args.once),
    ];
    command.args(flags.iter().filter(|(_, set)| *set).map(|(flag, _)| flag));
    let numbers = [
        ("--duration", args.duration),
        ("--jobs", args.jobs),
        ("--settle", args.settle),
    ];
    for (flag, number) in numbers {
        if let Some(number) = number {
            command.args([flag, number.to_string().as_str()]);
        }
    }
    for (flag, text) in [("--table", &args.table), ("--out", &args.out)] {
        if let Some(text) = text {
            command.args([flag, text]);
        }
    }
    run(command.args(&args.names))
}
