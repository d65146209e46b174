//! Has remora look at healthy programs that nobody here wrote, some at a time; what it finds is a false alarm:
//! `healthy [--list] [--install] [--duration TIME] [--jobs N] [--rest-only] [--once] [--settle SECONDS] [--table FILE] [--out DIR] [NAME…]`.

use remora_tests::healthy::{self, Look, Outcome, Program, Started};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Programs at a time, unless told: all of them rest most of the time.
const AT_ONCE: usize = 6;
/// A wait that is unclear is told after 30 s: a program that runs for less has none.
const SETTLE: Duration = Duration::from_secs(35);
/// Those that start at once disturb each other.
const APART: Duration = Duration::from_secs(1);
/// Between the beginning of the work and the look.
const WARM: Duration = Duration::from_secs(2);

const USAGE: &str = "usage: healthy [--list] [--install] [--duration SECONDS] [--jobs N] [--rest-only] [--once] \
                     [--settle SECONDS] [--table FILE] [--out DIR] [NAME…]";

/// What was asked for.
struct Options {
    list: bool,
    install: bool,
    duration: Duration,
    jobs: usize,
    rest_only: bool,
    /// One look: at work where it can work.
    once: bool,
    settle: Duration,
    table: Option<String>,
    out: Option<PathBuf>,
    names: Vec<String>,
}

type Ran = (Program, Result<Outcome, String>);

fn main() -> ExitCode {
    let Some(options) = options(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mut chosen = healthy::all();
    let names = &options.names;
    chosen.retain(|program| names.is_empty() || names.contains(&program.name));
    if chosen.is_empty() {
        eprintln!("healthy: none is called so: --list shows them");
        return ExitCode::from(2);
    }
    if options.list {
        for program in &chosen {
            println!("{:<28} {}", program.name, program.packages.join(", "));
        }
        return ExitCode::SUCCESS;
    }
    if options.install {
        let failed = healthy::install(&chosen);
        failed.iter().for_each(|why| eprintln!("healthy: {why}"));
    }
    run(chosen, &options)
}

fn options(mut arguments: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        list: false,
        install: false,
        duration: Duration::from_secs(3),
        jobs: AT_ONCE,
        rest_only: false,
        once: false,
        settle: SETTLE,
        table: None,
        out: None,
        names: Vec::new(),
    };
    let seconds = |text: String| text.parse().ok().map(Duration::from_secs);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => options.list = true,
            "--install" => options.install = true,
            "--rest-only" => options.rest_only = true,
            "--once" => options.once = true,
            "--duration" => options.duration = seconds(arguments.next()?)?,
            "--settle" => options.settle = seconds(arguments.next()?)?,
            "--jobs" => options.jobs = arguments.next()?.parse().ok().filter(|jobs| *jobs > 0)?,
            "--table" => options.table = Some(arguments.next()?),
            "--out" => options.out = Some(arguments.next()?.into()),
            flag if flag.starts_with('-') => return None,
            _ => options.names.push(argument),
        }
    }
    Some(options)
}

fn run(chosen: Vec<Program>, options: &Options) -> ExitCode {
    if let Some(Err(error)) = options.out.as_ref().map(std::fs::create_dir_all) {
        eprintln!("healthy: --out: {error}");
        return ExitCode::FAILURE;
    }
    let begun = Instant::now();
    let left: Mutex<VecDeque<_>> = Mutex::new(chosen.into_iter().enumerate().collect());
    let done: Mutex<Vec<(usize, Ran)>> = Mutex::default();
    scope(|threads| {
        for worker in 0..options.jobs {
            let (left, done) = (&left, &done);
            threads.spawn(move || {
                sleep(APART * u32::try_from(worker).unwrap_or(u32::MAX));
                while let Some((at, program)) = { left.lock().expect("no panic").pop_front() } {
                    let outcome = judge(&program, options);
                    say(&program, &outcome);
                    done.lock()
                        .expect("no panic")
                        .push((at, (program, outcome)));
                }
            });
        }
    });
    let mut ran = done.into_inner().expect("no panic");
    ran.sort_by_key(|(at, _)| *at);
    let ran: Vec<Ran> = ran.into_iter().map(|(_, ran)| ran).collect();
    sum(&ran, options, begun.elapsed())
}

/// Starts a program, looks at it at rest and at work, and ends it.
fn judge(program: &Program, options: &Options) -> Result<Outcome, String> {
    if let Some(why) = healthy::missing(program) {
        return Err(why);
    }
    let mut started = Started::new(program)?;
    let keep = |phase: &str| {
        let out = options.out.as_ref();
        out.map(|folder| folder.join(format!("{}-{phase}.json", program.name)))
    };
    let look = |started: &mut Started, phase| {
        let look = healthy::look(started.pid(), options.duration, keep(phase).as_deref());
        // What it does after its end is nothing that can be judged.
        started.ended().map_or(look, Err)
    };
    sleep(options.settle.saturating_sub(started.since().elapsed()));
    let works = program.can_work() && !options.rest_only;
    let rest = (!works || !options.once).then(|| look(&mut started, "rest"));
    let work = works.then(|| {
        let _work = started.work(program)?;
        sleep(WARM);
        look(&mut started, "work")
    });
    Ok(Outcome {
        version: started.version.clone(),
        rest,
        work,
    })
}

fn say(program: &Program, outcome: &Result<Outcome, String>) {
    let name = &program.name;
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(why) => return println!("skip  {name:<28} {why}"),
    };
    for (phase, look) in outcome.looks() {
        match look {
            Ok(look) if look.is_right() => {
                println!(
                    "ok    {name:<28} {phase} {:<10} {} threads",
                    look.verdict, look.threads
                );
            }
            Ok(look) => {
                println!("WRONG {name:<28} {phase} {}", look.verdict);
                look.said.iter().for_each(|line| println!("      {line}"));
            }
            Err(why) => println!("WRONG {name:<28} {phase} not seen: {why}"),
        }
    }
}

fn sum(ran: &[Ran], options: &Options, took: Duration) -> ExitCode {
    let judged = ran.iter().filter_map(|(_, outcome)| outcome.as_ref().ok());
    let judged: Vec<&Outcome> = judged.collect();
    let silent = judged.iter().filter(|outcome| outcome.is_right()).count();
    let looks = || judged.iter().flat_map(|outcome| outcome.looks());
    let seen = || looks().filter_map(|(_, look)| look.as_ref().ok());
    let watched: Duration = seen().map(|look: &Look| look.watched).sum();
    println!();
    for (program, outcome) in ran {
        if !outcome.as_ref().is_ok_and(Outcome::is_right) {
            say(program, outcome);
        }
    }
    println!(
        "{} programs, {silent} silent, {} not, {} skipped; {} looks, {:.0} s watched, in {:.0} s",
        judged.len(),
        judged.len() - silent,
        ran.len() - judged.len(),
        looks().count(),
        watched.as_secs_f64(),
        took.as_secs_f64()
    );
    if let Some(file) = &options.table {
        let text = healthy::markdown(ran, options.duration, &command());
        if let Err(error) = std::fs::write(file, text) {
            eprintln!("healthy: {file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    // Where nothing may be missing, every program runs.
    let complete = std::env::var("CI").is_ok_and(|value| value == "true");
    match silent == judged.len() && !(complete && judged.len() < ran.len()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// As it was typed.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask healthy {}", arguments.join(" "))
}
