//! Builds, runs, tests and measures remora: `cargo xtask`.

mod bench;
mod build;
mod fuzz;
mod healthy;
mod kernels;
mod lint;
mod process;
mod run;
mod setup;
mod specimens;
mod test;
mod tidy;
mod toolchain;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, runs and tests remora.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing of the eBPF tool chain
    Setup {
        /// Say what is there and what is missing, change nothing
        #[arg(long)]
        check: bool,
    },
    /// Build the agent with its kernel side
    Build {
        /// Quicker to build, slower to run
        #[arg(long)]
        debug: bool,
    },
    /// Build the agent and run it as root
    Run {
        /// Quicker to build, slower to run
        #[arg(long)]
        debug: bool,
        /// Arguments of remora
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Run the unit tests, then, as root, the end-to-end tests
    Test {
        /// On Debian's 6.1, 6.12 and newest kernels, in an emulated machine
        #[arg(long)]
        kernels: bool,
        /// Only tests whose name holds one of these; with --kernels, also the name of a kernel
        filters: Vec<String>,
    },
    /// Measure what remora costs those it watches, beside other profilers
    Bench(bench::BenchArgs),
    /// Run programs that are sick in a known way, and see what remora says of each
    Specimens {
        /// Say what there is
        #[arg(long)]
        list: bool,
        /// Write what came out as a table, in Markdown
        #[arg(long, value_name = "FILE")]
        table: Option<String>,
        /// So many at a time
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
        jobs: Option<u32>,
        /// Watch the healthy ones for so many seconds
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=240))]
        long: Option<u32>,
        /// Look at the sick ones only so many seconds after they became so
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=240))]
        late: Option<u32>,
        /// Only those whose name holds one of these
        names: Vec<String>,
    },
    /// Look at healthy programs that nobody here wrote, and fail where remora finds something
    Healthy(healthy::HealthyArgs),
    /// Check format, lints, documentation, tidiness, dependencies and the oldest compiler
    Lint,
    /// Build the fuzz targets and run each for some seconds
    Fuzz {
        /// For each target
        #[arg(long, value_name = "SECONDS", default_value_t = 10)]
        seconds: u32,
        /// Only these targets
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Setup { check } => setup::setup(check),
        Command::Build { debug } => {
            build::build(debug).map(|binary| println!("{}", binary.display()))
        }
        Command::Run { debug, args } => run::run(debug, &args),
        Command::Test {
            kernels: true,
            filters,
        } => kernels::test(&filters),
        Command::Test { filters, .. } => test::test(&filters),
        Command::Bench(args) => bench::run(&args),
        Command::Specimens {
            list,
            table,
            jobs,
            long,
            late,
            names,
        } => {
            let numbers = [("--jobs", jobs), ("--long", long), ("--late", late)];
            specimens::specimens(list, table.as_deref(), &numbers, &names)
        }
        Command::Healthy(args) => healthy::healthy(&args),
        Command::Lint => lint::lint(),
        Command::Fuzz { seconds, names } => fuzz::fuzz(seconds, &names),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
