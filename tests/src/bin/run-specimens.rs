//! Runs the sick programs and their healthy twins, some at a time, and shows what remora says of each:
//! `specimens [--list] [--table FILE] [--jobs N] [--long SECONDS] [--late SECONDS] [NAME…]`.

use remora_tests::cases::table::{Ran, Sum, markdown};
use remora_tests::cases::{self, Case, Expect, Outcome, Watching};
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
    let numbered = chosen.iter().copied().enumerate();
    let (hungry, at_rest): (Vec<_>, Vec<_>) = numbered.partition(|(_, case)| case.wants_cpu());
    let (healthy, sick): (Vec<_>, Vec<_>) = at_rest
        .into_iter()
        .partition(|(_, case)| matches!(case.expect, Expect::Healthy));
    // To watch one that rests costs little; a look at a sick one has to be over in time.
    let mut ran = run_all(sick, options.jobs, options.watching);
    ran.extend(run_all(healthy, 2 * options.jobs, options.watching));
    // What burns a CPU, or lacks one, would be judged by what runs beside it.
    ran.extend(run_all(hungry, 1, options.watching));
    ran.sort_by_key(|(at, _)| *at);
    let ran: Vec<Ran> = ran.into_iter().map(|(_, ran)| ran).collect();
    let sum = Sum::of(&ran);
    println!();
    ran.iter().for_each(say_again);
    println!("{}", sum.words());
    if let Some(file) = &options.table
        && let Err(error) = std::fs::write(file, markdown(&ran, &command()))
    {
        eprintln!("specimens: {file}: {error}");
        return ExitCode::FAILURE;
    }
    // Where nothing may be missing, every case runs.
    let complete = std::env::var("CI").is_ok_and(|value| value == "true");
    if sum.is_right() && !(complete && sum.skipped() > 0) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_all(cases: Vec<(usize, Case)>, jobs: usize, watching: Watching) -> Vec<(usize, Ran)> {
    let left = Mutex::new(VecDeque::from(cases));
    let done: Mutex<Vec<(usize, Ran)>> = Mutex::default();
    scope(|threads| {
        for _ in 0..jobs {
            threads.spawn(|| {
                while let Some((at, case)) = { left.lock().expect("no panic").pop_front() } {
                    let outcome = cases::run_watching(&case, watching);
                    say(&case, &outcome);
                    done.lock().expect("no panic").push((at, (case, outcome)));
                }
            });
        }
    });
    done.into_inner().expect("no panic")
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
        Err(why) => println!("skip  {:<36} {}", case.name, first_line(why)),
    }
}

/// What is not right, once more at the end, where it is seen.
fn say_again((case, outcome): &Ran) {
    match outcome {
        Ok(outcome) if outcome.right => {}
        Ok(outcome) => println!(
            "WRONG {:<36} {:<18} {}",
            case.name,
            outcome.verdict,
            first_line(&outcome.words)
        ),
        Err(why) => println!("skip  {:<36} {}", case.name, first_line(why)),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
