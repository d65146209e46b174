//! The ways of taking a wait's stack, each forced: what a kernel without the best hook gives.

use remora_tests::gate::{privileged, skip};
use remora_tests::modes::wait_mode;
use remora_tests::remora::Remora;
use remora_tests::specimen::Specimen;
use remora_tests::tolerance::{OFF_CPU, WAIT_FLOOR, assert_near};
use std::time::Duration;

const MODES: [&str; 4] = ["pipe-read", "futex-lock", "nanosleep", "receive-unix"];

fn check(hook: &str) {
    let specimens = MODES.map(Specimen::start);
    let pids = specimens.each_ref().map(Specimen::pid);
    let run = Remora::record(&pids, 3)
        .args(&["--idle", "--stack-hook", hook])
        .run();
    // A kernel may lack the other hooks, and says so; at switch-out every kernel can.
    if hook != "switch" && run.status.code() == Some(3) {
        run.assert_refused(3, &["refused the stack hook asked for", hook]);
        return skip(run.stderr.trim());
    }
    run.assert_code(0);
    let (report, offcpu) = (run.report(), run.folded("offcpu"));
    for (mode, specimen) in MODES.map(wait_mode).into_iter().zip(&specimens) {
        let tid = specimen.tid("main");
        let thread = report.thread(tid);
        let truth = specimen.off_cpu(mode.function, "main", report.window());
        let blocked = thread.blocked_for(mode.reason) + thread.queued();
        assert_near(mode.mode, blocked, truth, OFF_CPU);
        let drawn = offcpu
            .sum(|line| line.is_of(tid) && line.reason() == mode.reason && line.has(mode.function));
        assert!(
            Duration::from_nanos(drawn) >= thread.blocked_for(mode.reason).mul_f64(WAIT_FLOOR),
            "{hook}: {}: {}",
            mode.mode,
            offcpu.top(|line| line.is_of(tid))
        );
    }
    let stacks = report.signals["wait_stacks"].to_string();
    assert!(!stacks.is_empty() && stacks != "null", "{}", report.signals);
    // Taken at switch-out, stacks are a sample: the report says that it is less precise.
    assert!(hook != "switch" || stacks.contains("degraded"), "{stacks}");
}

#[test]
fn stacks_at_the_exit_of_the_scheduler() {
    let Some(_turn) = privileged() else { return };
    check("exit");
}

#[test]
fn stacks_when_the_switch_is_finished() {
    let Some(_turn) = privileged() else { return };
    check("finish");
}

#[test]
fn stacks_at_switch_out() {
    let Some(_turn) = privileged() else { return };
    check("switch");
}
