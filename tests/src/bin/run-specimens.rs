//! Runs the sick programs and their healthy twins, some at a time, and shows what remora says of each:
//! `specimens [--list] [--table FILE] [--jobs N] [--long SECONDS] [--late SECONDS] [NAME…]`.

use remora_tests::cases::table::{Ran, Sum, markdown};
use remora_tests::cases::{self, Case, Outcome, Watching};
use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::scope;
use std::time::Duration;

/// Programs at a time, unless told: most of them wait.
const AT_ONCE: usize = 3;

/// The programs end by themselves after five minutes.
const LONGEST_S: u64 = 240;

const USAGE: &str =
    "usage: specimens [--list] [--table FILE] [--jobs N] [--long SECONDS] [--late SECONDS] [NAME…]";

/// What was asked for.
struct Options {
    list: bool,
    table: Option<String>,
    jobs: usize,
    watching: Watching,
    names: Vec<String>,
}

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut chosen = cases::all();
    let names = &options.names;
    chosen.retain(|case| {
        names.is_empty() || names.iter().any(|name| case.name.contains(name.as_str()))
    });
    if chosen.is_empty() {
        eprintln!("specimens: none is called so: --list shows them");
        return ExitCode::from(2);
    }
    if options.list {
        chosen
            .iter()
            .for_each(|case| println!("{:<36} {}", case.name, case.about));
        return ExitCode::SUCCESS;
    }
    run(&chosen, &options)
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        list: false,
        table: None,
        jobs: AT_ONCE,
        watching: Watching {
            soon: true,
            ..Watching::default()
        },
        names: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => options.list = true,
            "--table" => options.table = Some(arguments.next()?),
            "--jobs" => {
                let jobs = arguments.next()?.parse().ok()?;
                options.jobs = (1..=16).contains(&jobs).then_some(jobs)?;
            }
            "--long" => options.watching.long = Some(seconds(arguments.next()?)?),
            "--late" => options.watching.late = Some(seconds(arguments.next()?)?),
            flag if flag.starts_with('-') => return None,
            _ => options.names.push(argument),
        }
    }
    Some(options)
}

fn seconds(text: String) -> Option<Duration> {
    let seconds = text.parse().ok()?;
    (1..=LONGEST_S)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

fn run(chosen: &[Case], options: &Options) -> ExitCode {
    let left: Mutex<VecDeque<(usize, Case)>> =
        Mutex::new(chosen.iter().copied().enumerate().collect());
    let done: Mutex<Vec<(usize, Ran)>> = Mutex::default();
    scope(|threads| {
        for _ in 0..options.jobs {
            threads.spawn(|| {
                while let Some((at, case)) = { left.lock().expect("no panic").pop_front() } {
                    let outcome = cases::run_watching(&case, options.watching);
                    say(&case, &outcome);
                    done.lock().expect("no panic").push((at, (case, outcome)));
                }
            });
        }
    });
    let mut ran = done.into_inner().expect("no panic");
    ran.sort_by_key(|(at, _)| *at);
    let ran: Vec<Ran> = ran.into_iter().map(|(_, ran)| ran).collect();
    let sum = Sum::of(&ran);
    println!("\n{}", sum.words());
    if let Some(file) = &options.table
        && let Err(error) = std::fs::write(file, markdown(&ran, &command()))
    {
        eprintln!("specimens: {file}: {error}");
        return ExitCode::FAILURE;
    }
    if sum.is_right() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// As it was typed.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask specimens {}", arguments.join(" "))
}

fn say(case: &Case, outcome: &Result<Outcome, String>) {
    match outcome {
        Ok(outcome) => {
            let mark = if outcome.right { "ok   " } else { "WRONG" };
            println!(
                "{mark} {:<36} {:<18} {:>5.1} s  {}",
                case.name,
                outcome.verdict,
                outcome.ended.as_secs_f64(),
                outcome.words
            );
        }
        Err(why) => {
            let why = why.lines().next().unwrap_or_default();
            println!("skip  {:<36} {why}", case.name);
        }
    }
}
