//! Runs cases for a test: several at a time, one sentence for each that went wrong.

use super::{Case, all, run};
use crate::gate::skip;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::thread::scope;

/// Runs the cases of these names, one after the other: they burn CPUs, or want them.
///
/// # Panics
/// With what is wrong with each.
pub fn check(names: &[&str]) {
    let all = all();
    let named = names.iter().map(|name| {
        let mut cases = all.iter();
        let case = cases.find(|case| case.name == *name);
        *case.unwrap_or_else(|| panic!("there is no case {name}"))
    });
    check_all(named.collect(), 1);
}

/// Runs cases, so many at a time; a case that cannot run here is skipped.
///
/// # Panics
/// With what is wrong with each.
pub fn check_all(cases: Vec<Case>, at_once: usize) {
    assert!(!cases.is_empty(), "no case");
    let left = Mutex::new(VecDeque::from(cases));
    let ran = Mutex::new(Vec::new());
    scope(|threads| {
        for _ in 0..at_once {
            threads.spawn(|| {
                while let Some(case) = { left.lock().expect("no panic").pop_front() } {
                    let outcome = run(&case);
                    ran.lock().expect("no panic").push((case.name, outcome));
                }
            });
        }
    });
    let mut wrong = Vec::new();
    for (name, outcome) in ran.into_inner().expect("no panic") {
        match outcome {
            Err(why) => skip(&format!("{name}: {why}")),
            Ok(outcome) if outcome.right => {}
            Ok(outcome) => wrong.push(format!("{name}: {}: {}", outcome.verdict, outcome.words)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
