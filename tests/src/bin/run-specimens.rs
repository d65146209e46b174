//! Runs the sick programs and their healthy twins, one after the other, and shows what remora says of each:
//! `specimens [--list] [--table FILE] [--jobs N] [NAME…]`.

use remora_tests::cases::{self, Case, Expect, Outcome};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::scope;

/// Programs at a time, unless told: most of them wait.
const AT_ONCE: usize = 3;

/// A case, and what became of it.
type Ran = (Case, Result<Outcome, String>);

const USAGE: &str = "usage: specimens [--list] [--table FILE] [--jobs N] [NAME…]";

fn main() -> ExitCode {
    let mut names = Vec::new();
    let (mut list, mut table, mut jobs) = (false, None, AT_ONCE);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => list = true,
            "--table" => match arguments.next() {
                Some(file) => table = Some(file),
                None => return usage(),
            },
            "--jobs" => match arguments.next().and_then(|jobs| jobs.parse().ok()) {
                Some(number @ 1..=16) => jobs = number,
                _ => return usage(),
            },
            flag if flag.starts_with('-') => return usage(),
            _ => names.push(argument),
        }
    }
    let mut chosen = cases::all();
    chosen.retain(|case| {
        names.is_empty() || names.iter().any(|name| case.name.contains(name.as_str()))
    });
    if chosen.is_empty() {
        eprintln!("specimens: none is called so: --list shows them");
        return ExitCode::from(2);
    }
    if list {
        chosen
            .iter()
            .for_each(|case| println!("{:<36} {}", case.name, case.about));
        return ExitCode::SUCCESS;
    }
    run(&chosen, table.as_deref(), jobs)
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn run(chosen: &[Case], table: Option<&str>, jobs: usize) -> ExitCode {
    let left: Mutex<VecDeque<(usize, Case)>> =
        Mutex::new(chosen.iter().copied().enumerate().collect());
    let done: Mutex<Vec<(usize, Ran)>> = Mutex::default();
    scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| {
                while let Some((at, case)) = { left.lock().expect("no panic").pop_front() } {
                    let outcome = cases::run(&case);
                    say(&case, &outcome);
                    done.lock().expect("no panic").push((at, (case, outcome)));
                }
            });
        }
    });
    let mut ran = done.into_inner().expect("no panic");
    ran.sort_by_key(|(at, _)| *at);
    let ran: Vec<Ran> = ran.into_iter().map(|(_, ran)| ran).collect();
    let sum = sum(&ran);
    println!("\n{sum}");
    if let Some(file) = table
        && let Err(error) = std::fs::write(file, markdown(&ran, &sum))
    {
        eprintln!("specimens: {file}: {error}");
        return ExitCode::FAILURE;
    }
    let right = |(_, outcome): &Ran| match outcome {
        Ok(outcome) => outcome.right,
        Err(_) => true,
    };
    if ran.iter().all(right) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn say(case: &Case, outcome: &Result<Outcome, String>) {
    match outcome {
        Ok(outcome) => {
            let mark = if outcome.right { "ok   " } else { "WRONG" };
            println!(
                "{mark} {:<36} {:<18} {}",
                case.name, outcome.verdict, outcome.words
            );
        }
        Err(why) => {
            let why = why.lines().next().unwrap_or_default();
            println!("skip  {:<36} {why}", case.name);
        }
    }
}

/// `12 of 12 sick ones found; no false alarm on 11 healthy ones; 0 could not run here`.
fn sum(ran: &[Ran]) -> String {
    let (mut sick, mut found, mut healthy, mut false_alarms, mut skipped) = (0, 0, 0, 0, 0);
    for (case, outcome) in ran {
        match (case.expect, outcome) {
            (_, Err(_)) => skipped += 1,
            (Expect::Healthy, Ok(outcome)) => {
                healthy += 1;
                false_alarms += u32::from(!outcome.right);
            }
            (Expect::Sick { .. }, Ok(outcome)) => {
                sick += 1;
                found += u32::from(outcome.right);
            }
        }
    }
    format!(
        "{found} of {sick} sick ones found; {false_alarms} false alarms on {healthy} healthy ones; {skipped} \
         could not run here"
    )
}

fn markdown(ran: &[Ran], sum: &str) -> String {
    let mut text = format!(
        "# Specimens\n\nWhat remora says of programs that are sick in a known way, and of healthy ones that look like them. Made by\n\
         `cargo xtask specimens --table docs/specimens.md`.\n\n{sum}.\n\n| specimen | what it does | must be | is | |\n| --- | --- | --- | --- | --- |\n"
    );
    for (case, outcome) in ran {
        let must = match case.expect {
            Expect::Healthy => "healthy",
            Expect::Sick { kind, .. } => kind,
        };
        let (is, mark) = match outcome {
            Ok(outcome) if outcome.right => (outcome.verdict.as_str(), "right"),
            Ok(outcome) => (outcome.verdict.as_str(), "**wrong**"),
            Err(_) => ("", "could not run"),
        };
        let _never_fails = writeln!(
            text,
            "| `{}` | {} | `{must}` | `{is}` | {mark} |",
            case.name, case.about
        );
    }
    text
}
