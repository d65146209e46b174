//! Queues, peers, feeds and descriptors: each sick program is found, each healthy twin is not.

use remora_tests::cases::{self, Case, Expect};
use remora_tests::gate::{privileged, skip};
use std::sync::Mutex;
use std::thread::scope;

/// Cases at a time: they mostly wait.
const AT_ONCE: usize = 5;

/// Runs the cases whose names begin so; says what is wrong with each.
fn all(wanted: impl Fn(&Case) -> bool) {
    let names = [
        "unread-", "untaken-", "silent-", "leak-", "left-", "healthy-",
    ];
    let cases = cases::sockets().into_iter();
    let cases: Vec<Case> = cases.filter(|case| wanted(case)).collect();
    assert!(
        cases
            .iter()
            .all(|case| names.iter().any(|name| case.name.starts_with(name)))
    );
    let (left, wrong) = (Mutex::new(cases), Mutex::new(Vec::new()));
    scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some(case) = { left.lock().expect("no panic").pop() } {
                    match cases::run(&case) {
                        Ok(outcome) if outcome.right => {}
                        Ok(outcome) => {
                            let words = format!("{}: {}", case.name, outcome.words);
                            wrong.lock().expect("no panic").push(words);
                        }
                        Err(why) => skip(&format!("{}: {why}", case.name)),
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_sick_are_found_with_kind_thread_and_stack() {
    let Some(_turn) = privileged() else { return };
    all(|case| matches!(case.expect, Expect::Sick { .. }));
}

#[test]
fn the_healthy_that_look_alike_are_left_alone() {
    let Some(_turn) = privileged() else { return };
    all(|case| matches!(case.expect, Expect::Healthy));
}
