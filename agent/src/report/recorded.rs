//! What a user reads of real runs: the verdict and the report's summary of each recording, at 80 columns.

use super::terminal::{self, Look};
use crate::analyze::{Thresholds, judge};
use crate::model::{Report, recording};

fn report(text: &str) -> Report {
    let capture = recording::read(text).expect("a capture of an earlier run");
    let judgement = judge(&capture, &Thresholds::default());
    Report::new(capture, judgement)
}

fn page(text: &str) -> String {
    let report = report(text);
    let look = Look {
        width: 80,
        ..Look::default()
    };
    let verdict = terminal::verdict(&report, look);
    let summary = terminal::summary(&report, None, look);
    format!("{verdict}\n---- record\n{summary}")
}

#[test]
fn a_deadlock() {
    insta::assert_snapshot!(page(include_str!("../../recordings/deadlock.json")));
}

#[test]
fn a_blocked_loop() {
    insta::assert_snapshot!(page(include_str!("../../recordings/loop_blocked.json")));
}

#[test]
fn a_healthy_server() {
    insta::assert_snapshot!(page(include_str!("../../recordings/healthy.json")));
}
