//! What a user reads of real runs: the verdict and the report's summary of each recording, at 80 columns.

use super::terminal::{self, RenderOptions};
use remora_analyze::{Thresholds, judge};
use remora_model::{Report, recording};

fn report(text: &str) -> Report {
    let capture = recording::read(text).expect("a capture of an earlier run");
    let judgement = judge(&capture, &Thresholds::default());
    Report::new(capture, judgement)
}

fn page(text: &str) -> String {
    let report = report(text);
    let options = RenderOptions {
        width: 80,
        ..RenderOptions::default()
    };
    let verdict = terminal::verdict(&report, options);
    let summary = terminal::summary(&report, None, options);
    format!("{verdict}\n---- record\n{summary}")
}

#[test]
fn a_deadlock() {
    insta::assert_snapshot!(page(include_str!("../../analyze/recordings/deadlock.json")));
}

#[test]
fn a_blocked_loop() {
    insta::assert_snapshot!(page(include_str!(
        "../../analyze/recordings/loop_blocked.json"
    )));
}

#[test]
fn a_healthy_server() {
    insta::assert_snapshot!(page(include_str!("../../analyze/recordings/healthy.json")));
}
