//! The ways of taking a wait's stack and of seeing an event loop's iterations, each forced: what a
//! kernel without the best hook gives.

use remora_tests::gate::{privileged, skip};
use remora_tests::modes::wait_mode;
use remora_tests::remora::Remora;
use remora_tests::specimen::Specimen;
use remora_tests::tolerance::{COUNT, OFF_CPU, WAIT_FLOOR, assert_near, assert_share};
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

/// Iterations of both kinds of loops by one hook, against their own count.
fn check_iterations(how: &str, hook: &str) {
    for mode in ["epoll-loop", "poll-loop"] {
        let specimen = Specimen::start(mode);
        let (_run, report) = Remora::record(&[specimen.pid()], 3)
            .args(&["--loop", how])
            .capture();
        let signal = &report.signals["event_loops"];
        // A kernel may lack the hook, and says so.
        if signal["state"] == "degraded" {
            return skip(&format!("{hook}: {}", signal["why"]));
        }
        assert_eq!(
            (&signal["state"], &signal["hook"]),
            (&"on".into(), &hook.into())
        );
        let event_loop = report.event_loop(specimen.tid("main"));
        let own = specimen.lengths("iteration", report.window()).len();
        assert!(own > 50, "{own} iterations are too few");
        let share = event_loop.iterations as f64 / own as f64;
        assert_share(&format!("iterations of {mode} by {how}"), share, 1.0, COUNT);
        assert_eq!(event_loop.timeouts, Some(0), "{mode} by {how}");
    }
}

#[test]
fn iterations_by_trampolines() {
    let Some(_turn) = privileged() else { return };
    check_iterations("fexit", "fexit");
}

#[test]
fn iterations_by_probes() {
    let Some(_turn) = privileged() else { return };
    check_iterations("kretprobe", "kretprobe");
}

#[test]
fn iterations_by_the_tracepoints_of_system_calls() {
    let Some(_turn) = privileged() else { return };
    check_iterations("sys-enter", "tp_btf/sys_enter");
}
