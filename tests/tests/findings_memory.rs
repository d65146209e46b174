//! Leaks are found and named, and what only looks like one is not.

use remora_tests::cases::{self, Case, Outcome, Program};
use remora_tests::gate::{privileged, skip};
use std::thread;

/// Cases that run at a time: they sleep most of their time.
const AT_ONCE: usize = 6;

fn run(all: &[Case]) -> Vec<(&'static str, Result<Outcome, String>)> {
    let mut outcomes = Vec::new();
    for some in all.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let running: Vec<_> = some
                .iter()
                .map(|case| (case.name, scope.spawn(|| cases::run(case))))
                .collect();
            let ended = running.into_iter();
            outcomes.extend(ended.map(|(name, run)| (name, run.join().expect("no panic"))));
        });
    }
    outcomes
}

#[test]
fn leaks_are_found_and_healthy_growth_is_not() {
    let Some(_turn) = privileged() else { return };
    let mut all = cases::all();
    all.retain(|case| {
        matches!(
            case.program,
            Program::C("sick_memory", _) | Program::Python("sick_memory.py", _)
        )
    });
    let mut wrong = Vec::new();
    for (name, outcome) in run(&all) {
        match outcome {
            Ok(outcome) if outcome.right => {}
            Ok(outcome) => wrong.push(format!("{name}: {}: {}", outcome.verdict, outcome.words)),
            Err(why) => skip(&format!("{name}: {why}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
