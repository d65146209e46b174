//! Runs the sick programs and their healthy twins, one after the other, and shows what remora says of each:
//! `specimens [--list] [--table FILE] [NAME…]`.

use remora_tests::cases::{self, Case, Expect, Outcome};
use std::fmt::Write as _;
use std::process::ExitCode;

const USAGE: &str = "usage: specimens [--list] [--table FILE] [NAME…]";

fn main() -> ExitCode {
    let mut names = Vec::new();
    let (mut list, mut table) = (false, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => list = true,
            "--table" => match arguments.next() {
                Some(file) => table = Some(file),
                None => return usage(),
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
    run(&chosen, table.as_deref())
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

fn run(chosen: &[Case], table: Option<&str>) -> ExitCode {
    let mut ran: Vec<(Case, Result<Outcome, String>)> = Vec::new();
    for case in chosen {
        let outcome = cases::run(case);
        match &outcome {
            Ok(outcome) => {
                let mark = if outcome.right { "ok   " } else { "WRONG" };
                println!(
                    "{mark} {:<36} {:<18} {}",
                    case.name, outcome.verdict, outcome.words
                );
            }
            Err(why) => println!(
                "skip  {:<36} {}",
                case.name,
                why.lines().next().unwrap_or_default()
            ),
        }
        ran.push((*case, outcome));
    }
    let sum = sum(&ran);
    println!("\n{sum}");
    if let Some(file) = table
        && let Err(error) = std::fs::write(file, markdown(&ran, &sum))
    {
        eprintln!("specimens: {file}: {error}");
        return ExitCode::FAILURE;
    }
    let right = |(_, outcome): &(Case, Result<Outcome, String>)| match outcome {
        Ok(outcome) => outcome.right,
        Err(_) => true,
    };
    if ran.iter().all(right) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// `12 of 12 sick ones found; no false alarm on 11 healthy ones; 0 could not run here`.
fn sum(ran: &[(Case, Result<Outcome, String>)]) -> String {
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

fn markdown(ran: &[(Case, Result<Outcome, String>)], sum: &str) -> String {
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
