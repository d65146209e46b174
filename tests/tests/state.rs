//! What each thread does now, and waits that the capture sees only a part of.

use remora_tests::gate::privileged;
use remora_tests::remora::Remora;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{BY_SIGNAL, SLACK, WHOLE, assert_near};
use rustix::process::Signal;
use std::time::{Duration, Instant};

#[test]
fn a_thread_that_never_wakes_counts_with_its_stack() {
    let Some(_turn) = privileged() else { return };
    let started = Instant::now();
    let specimen = Specimen::start("never");
    std::thread::sleep(Duration::from_millis(700));
    let (run, report) = Remora::record(&[specimen.pid()], 2)
        .args(&["--idle"])
        .capture();
    let (tid, window) = (specimen.tid("main"), report.window());
    let thread = report.thread(tid);
    assert_near(
        "pipe read",
        thread.blocked_for("pipe read"),
        window.length(),
        WHOLE,
    );
    assert!(
        thread.blocked_otherwise("pipe read") < SLACK,
        "{:#?}",
        thread.blocked
    );

    assert_eq!(thread.now.state, "blocked");
    assert_eq!(thread.now.reason.as_deref(), Some("pipe read"));
    assert_eq!(thread.now.syscall.as_deref(), Some("read"));
    assert!(!thread.now.stack.is_empty(), "{:#?}", thread.now);
    let since = Duration::from_secs_f64(thread.now.since_s);
    assert!(
        since > Duration::from_millis(2600) && since < started.elapsed(),
        "{since:?}"
    );

    let offcpu = run.folded("offcpu");
    let chain = [
        "main",
        "run_waits",
        "outer_read_never",
        "wait_in_read_never",
    ];
    let with_stack = offcpu.sum(|line| line.is_of(tid) && line.has_chain(&chain));
    assert_near(
        "its stack",
        Duration::from_nanos(with_stack),
        window.length(),
        WHOLE,
    );
}

#[test]
fn a_wait_counts_with_the_part_inside_the_capture() {
    let Some(_turn) = privileged() else { return };
    // Waits of 0.95 s: of those that touch a capture of 2 s, one begins before and one lasts beyond.
    let specimen = Start::mode("nanosleep").period_us(950_000).start();
    let (run, report) = Remora::record(&[specimen.pid()], 2)
        .args(&["--idle"])
        .capture();
    let (tid, window) = (specimen.tid("main"), report.window());
    let truth = specimen.log.spent("wait_in_nanosleep", Some(tid), window);
    let thread = report.thread(tid);
    assert_near("sleep", thread.blocked_for("sleep"), truth.off_cpu(), WHOLE);
    assert!(
        thread.blocked_for("sleep") <= window.length() + SLACK,
        "{:#?}",
        thread.blocked
    );
    let stacks = run.folded("offcpu");
    let drawn = stacks.sum(|line| line.is_of(tid) && line.has("wait_in_nanosleep"));
    assert_near(
        "its stacks",
        Duration::from_nanos(drawn),
        truth.off_cpu(),
        WHOLE,
    );
}

#[test]
fn running_and_runnable_are_told_apart_from_blocked() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("pinned");
    let (_run, report) = Remora::record(&[specimen.pid()], 2).capture();
    let state = |name: &str| report.thread(specimen.tid(name)).now.state.as_str();
    let burners = [state("pinned-a"), state("pinned-b")];
    // One CPU for both: one has it, unless something else does at this moment.
    assert!(
        burners
            .iter()
            .all(|state| ["running", "runnable"].contains(state)),
        "{burners:?}"
    );
    assert!(burners.contains(&"runnable"), "{burners:?}");
    assert_eq!(state("main"), "blocked");
    assert_eq!(
        report.thread(specimen.tid("keeper")).now.reason.as_deref(),
        Some("signal wait")
    );
}

#[test]
fn a_stop_in_the_middle_is_timed() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let mut running = Remora::record(&[specimen.pid()], 3)
        .args(&["--idle"])
        .start();
    running.until_recording();
    specimen.signal(Signal::STOP);
    let stopped = Instant::now();
    std::thread::sleep(Duration::from_millis(900));
    specimen.signal(Signal::CONT);
    let stopped = stopped.elapsed();
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    assert_near(
        "stopped",
        report.thread(specimen.pid()).blocked_for("stopped"),
        stopped,
        BY_SIGNAL,
    );
}

#[test]
fn a_thread_stopped_before_the_capture_says_so() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    specimen.signal(Signal::STOP);
    std::thread::sleep(Duration::from_millis(100));
    let (_run, report) = Remora::record(&[specimen.pid()], 2).capture();
    let thread = report.thread(specimen.pid());
    assert_eq!(thread.now.state, "blocked");
    assert_eq!(thread.now.reason.as_deref(), Some("stopped"));
    assert_near(
        "stopped",
        thread.blocked_for("stopped"),
        report.window().length(),
        WHOLE,
    );
}

#[test]
fn the_states_of_each_thread_add_up_to_its_life() {
    let Some(_turn) = privileged() else { return };
    let modes = ["burn", "pinned", "futex-lock", "short-sleep", "never"];
    let specimens = modes.map(Specimen::start);
    let pids = specimens.each_ref().map(Specimen::pid);
    let (_run, report) = Remora::record(&pids, 3).capture();
    for thread in &report.threads {
        let observed = Duration::from_nanos(thread.observed_ns);
        assert_near("life", observed, report.window().length(), WHOLE);
        let what = format!("all states of {} {thread:#?}", thread.comm);
        assert_near(&what, thread.accounted(), observed, WHOLE);
    }
    assert_eq!(report.targets.len(), modes.len());
}
