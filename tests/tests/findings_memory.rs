//! Leaks are found and named, and what only looks like one is not.

use remora_tests::cases::{self, Program};
use remora_tests::gate::{privileged, skip};
use remora_tests::remora::Remora;
use std::thread;
use std::time::Duration;

/// Cases that run at a time: they sleep most of their time.
const AT_ONCE: usize = 6;

/// `record` draws the memory of what leaks, with the verdict, and the finding names the picture.
fn a_record_has_a_plot() {
    let leaky = match cases::start(Program::C("sick_memory", "leak")) {
        Ok(leaky) => leaky,
        Err(why) => return skip(&why),
    };
    thread::sleep(Duration::from_secs(10));
    let run = Remora::record(&[leaky.pid()], 12)
        .args(&["--threshold", "memory-leak=10s"])
        .run();
    let plot = run.file("leak.svg");
    for word in ["LEAK SUSPECTED", "take_block", "[heap]", "that stayed"] {
        assert!(plot.contains(word), "leak.svg has no {word:?}: {plot}");
    }
    for text in [
        &run.file("index.html"),
        &run.file("report.json"),
        &run.stdout,
    ] {
        assert!(text.contains("leak.svg shows"), "no word of it: {text}");
    }
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
    // Beside the cases, which sleep most of their time too; a panic in it is one of the scope.
    thread::scope(|scope| {
        scope.spawn(a_record_has_a_plot);
        cases::check_all(all, AT_ONCE);
    });
}
