//! How a capture ends: in time, by a signal, by a second one, with nobody left to read it.

use remora_tests::gate::privileged;
use remora_tests::remora::{Remora, Running};
use remora_tests::specimen::Specimen;
use remora_tests::tolerance::{AT_ONCE, END_AFTER_TWO_SIGNALS, REPORT_AFTER_A_SIGNAL};
use rustix::process::Signal;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// As shells tell it: 128 and the number of SIGINT.
const INTERRUPTED: i32 = 130;

/// A capture in progress that would last much longer than the test.
fn long_capture(specimen: &Specimen) -> Running {
    let mut running = Remora::record(&[specimen.pid()], 60).start();
    running.until_recording();
    running
}

#[test]
fn a_signal_ends_the_capture_early_with_a_report() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let running = long_capture(&specimen);
        std::thread::sleep(Duration::from_millis(1200));
        let asked = Instant::now();
        running.signal(signal);
        let run = running.finish();
        run.assert_code(0);
        assert!(
            asked.elapsed() < AT_ONCE,
            "{signal:?}: {:?}",
            asked.elapsed()
        );
        let report = run.report();
        assert_eq!(report.capture.end, "interrupted", "{signal:?}");
        let length = report.window().length();
        assert!(
            length > Duration::from_secs(1) && length < Duration::from_secs(1) + AT_ONCE,
            "{signal:?}: {length:?}"
        );
        assert!(run.folded("cpu").sum(|line| line.has("burn_hot")) > 0);
        assert!(run.file("cpu.svg").contains("burn_hot"));
        assert!(!run.stdout.is_empty(), "{signal:?}: no summary");
    }
}

#[test]
fn a_second_ctrl_c_quits() {
    let Some(_turn) = privileged() else { return };
    // 500 threads: the report takes longer than the pause between two signals.
    let specimen = Specimen::start("many-threads");
    let running = long_capture(&specimen);
    let asked = Instant::now();
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(3));
    running.signal(Signal::INT);
    let run = running.finish();
    run.assert_code(INTERRUPTED);
    assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    assert!(run.stderr.contains("not written"), "{}", run.stderr);
    assert!(!run.out.exists(), "something looks like a report");
}

#[test]
fn json_is_alone_on_standard_output() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let run = Remora::record(&[specimen.pid()], 1).args(&["--json"]).run();
    run.assert_code(0);
    // Anything before or behind the one document is an error.
    let document: serde_json::Value =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {run:#?}"));
    assert_eq!(document["schema"], 1);
    assert_eq!(document["targets"][0]["pid"], specimen.pid());
    assert_eq!(document["capture"]["end"], "elapsed");
    let file: serde_json::Value =
        serde_json::from_str(&run.file("report.json")).expect("it is JSON too");
    assert_eq!(document, file);
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let first_line = ["bash", "-c", "set -o pipefail; \"$@\" | head -n 1", "bash"];
    let nobody = ["bash", "-c", "set -o pipefail; \"$@\" | true", "bash"];
    for (reader, lines) in [(first_line, 1), (nobody, 0)] {
        for arguments in [&[][..], &["--json"]] {
            let run = Remora::record(&[specimen.pid()], 1)
                .args(arguments)
                .under(&reader)
                .run();
            run.assert_code(0);
            assert_eq!(run.stdout.lines().count(), lines, "{run:#?}");
            let complaint = ["panicked", "pipe"]
                .iter()
                .any(|word| run.stderr.contains(word));
            assert!(!complaint, "{}", run.stderr);
            assert_eq!(run.report().targets[0].pid, specimen.pid());
        }
    }
}

#[test]
fn output_that_cannot_be_written_does_not_hide_the_report() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let run = Remora::record(&[specimen.pid()], 1)
        .under(&["sh", "-c", "exec \"$@\" > /dev/full", "sh"])
        .run();
    run.assert_code(1);
    assert_eq!(run.report().targets[0].pid, specimen.pid());
    let folder = run.out.to_str().expect("printable");
    assert!(
        run.stderr.contains("standard output") && run.stderr.contains(folder),
        "it does not say what failed and where the report is: {}",
        run.stderr
    );
}

/// A prefix whose standard output is a pipe that is full, and that nobody reads.
const UNREAD: [&str; 4] = [
    "sh",
    "-c",
    "mkfifo unread && exec 3<>unread && head -c 65536 /dev/zero >&3 && exec \"$@\" >&3",
    "sh",
];

#[test]
fn a_signal_ends_what_waits_for_a_reader_that_does_not_read() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let folder = TempDir::new().expect("a temporary folder");
    // The first comes while it records, the second while it waits for the reader.
    for (name, seconds) in [("early", 60), ("late", 1)] {
        let out = folder.path().join(name);
        let mut running = Remora::with(&["--pid", &specimen.pid().to_string()])
            .args(&["--duration", &seconds.to_string()])
            .out(&out)
            .under(&UNREAD)
            .start();
        running.until_recording();
        if seconds == 1 {
            let start = Instant::now();
            while !out.join("index.html").exists() {
                assert!(start.elapsed() < REPORT_AFTER_A_SIGNAL, "no report");
                std::thread::sleep(Duration::from_millis(20));
            }
            std::thread::sleep(Duration::from_secs(1));
            assert!(!running.has_ended(), "it does not wait for its reader");
        }
        let asked = Instant::now();
        running.signal(Signal::INT);
        let run = running.finish();
        assert!(asked.elapsed() < REPORT_AFTER_A_SIGNAL, "{name}");
        run.assert_code(1);
        assert!(
            run.stderr.contains("nobody reads it; the report is in"),
            "{name}: {}",
            run.stderr
        );
        assert_eq!(run.report().targets[0].pid, specimen.pid(), "{name}");
    }
}

#[test]
fn two_signals_end_what_waits_for_a_reader_that_does_not_read() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let mut running = Remora::record(&[specimen.pid()], 60).under(&UNREAD).start();
    running.until_recording();
    running.signal(Signal::INT);
    // Standard output is being waited for by now.
    std::thread::sleep(Duration::from_secs(2));
    let asked = Instant::now();
    running.signal(Signal::INT);
    running.finish().assert_code(INTERRUPTED);
    assert!(
        asked.elapsed() < END_AFTER_TWO_SIGNALS,
        "{:?}",
        asked.elapsed()
    );
}

#[test]
fn a_signal_ends_what_waits_for_a_fifo_that_nobody_opens() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let fifo = ["sh", "-c", "mkfifo fifo && exec \"$@\"", "sh"];
    let mut running = Remora::with(&["triage", "--json", "--recording", "fifo"])
        .args(&["--pid", &specimen.pid().to_string(), "--duration", "1"])
        .under(&fifo)
        .start();
    running.until_attached();
    // The capture is over by then.
    std::thread::sleep(Duration::from_secs(4));
    assert!(!running.has_ended(), "it does not wait for the fifo");
    let asked = Instant::now();
    running.signal(Signal::INT);
    running.finish().assert_code(1);
    assert!(
        asked.elapsed() < REPORT_AFTER_A_SIGNAL,
        "{:?}",
        asked.elapsed()
    );
}
