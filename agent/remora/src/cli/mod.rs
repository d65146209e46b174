//! The command line: one file a command. What was typed becomes a checked plan; errors become one
//! line and an exit code.

mod cpus;
mod doctor;
mod generate;
mod interrupt;
mod leave;
mod output;
mod record;
mod stream;
mod supervise;
mod tasks;
mod triage;
mod units;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Could not do what was asked, for a reason of its own (a report that no disk takes).
const FAILED: u8 = 1;
/// The command line makes no sense; clap uses the same.
const USAGE: u8 = 2;
/// The target or the kernel cannot be observed.
const CANNOT_OBSERVE: u8 = 3;
/// Ctrl-C ended it, twice: 128 + SIGINT.
const INTERRUPTED: i32 = 130;
/// A triage has a finding.
const FOUND: u8 = 10;
/// Nothing is known to be wrong, and something may be; only when that is asked for.
const UNCLEAR: u8 = 11;

/// Profile running processes and diagnose hangs from outside
///
/// `remora --pid PID` records 30 seconds and writes a report folder: on-CPU and off-CPU flamegraphs,
/// event loops, locks, sockets, memory.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, after_help = record::EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    record: record::Args,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Record and write a report (the default command)
    #[command(after_help = record::EXIT_CODES)]
    Record(record::Args),
    /// Diagnose a process: watch it for 3 s, report what is wrong
    #[command(after_help = triage::EXIT_CODES)]
    Triage(triage::Args),
    /// Check which BPF hooks and privileges this host offers
    Doctor(doctor::Args),
    /// Print a completion script for a shell
    Completions(generate::Completions),
    /// Print a manual page (roff; read it with man -l -)
    Man(generate::Man),
}

/// A command that failed: what to say, and how to exit.
#[derive(Debug)]
struct Failure {
    error: anyhow::Error,
    code: u8,
}

impl Failure {
    fn new(code: u8, error: impl Into<anyhow::Error>) -> Self {
        Self {
            error: error.into(),
            code,
        }
    }
}

/// Help and version, in colours where they are wanted.
fn help(error: &clap::Error) -> String {
    let text = error.render();
    if output::wants_colour() {
        text.ansi().to_string()
    } else {
        text.to_string()
    }
}

/// Help and version as clap prints them; an error as one line.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match output::print(help(error).as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        };
    }
    let text = error.render().to_string();
    let said: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .filter(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    output::complain(&format!("{said}; see `remora --help`"));
    ExitCode::from(USAGE)
}

/// Runs the command that was typed.
pub(crate) fn main() -> ExitCode {
    let Cli { command, record } = match Cli::try_parse() {
        Ok(typed) => typed,
        Err(error) => return usage(&error),
    };
    cpus::step_aside();
    ExitCode::from(supervise::run(|| run(command, record)))
}

/// Runs a command; its exit code.
fn run(command: Option<Command>, record: record::Args) -> u8 {
    let done = match command {
        None => record::run(record).map(|()| 0),
        Some(Command::Record(args)) => record::run(args).map(|()| 0),
        Some(Command::Triage(args)) => triage::run(args),
        Some(Command::Doctor(args)) => doctor::run(args).map(|()| 0),
        Some(Command::Completions(args)) => generate::completions(&args).map(|()| 0),
        Some(Command::Man(args)) => generate::man(&args).map(|()| 0),
    };
    done.unwrap_or_else(|Failure { error, code }| {
        // One line a problem; a broken standard error is nobody's to hear of.
        for line in format!("{error:#}").lines() {
            output::complain(line);
        }
        code
    })
}
