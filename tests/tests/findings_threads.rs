//! Stops, loops, CPUs and system calls: each sick program is found, each that looks like it is not.
//!
//! A few cases of each kind; `cargo xtask specimens` runs all of them.

use remora_tests::cases;
use remora_tests::gate::privileged;

fn check(names: &[&str]) {
    let Some(_turn) = privileged() else { return };
    cases::check(names);
}

#[test]
fn stopped_processes_are_found_with_who_stopped_them() {
    check(&["stopped-tracer", "stopped-freezer-v2"]);
}

#[test]
fn processes_that_run_under_a_tracer_are_well() {
    check(&["traced-running"]);
}

#[test]
fn loops_that_were_wedged_before_the_look_are_found() {
    check(&["loop-of-a-thread", "loop-takes-mutex-c"]);
}

#[test]
fn loops_that_never_run_dry_or_were_left_behind_by_a_fork_are_well() {
    check(&["loop-saturated", "loop-process-pool"]);
}

#[test]
fn system_calls_that_hang_are_found_with_their_file() {
    check(&["file-lock"]);
}

#[test]
fn a_thread_without_a_cpu_and_one_that_spins_are_told_from_one_that_works() {
    check(&["starved-by-limit", "spin-epoll", "cpu-computes"]);
}

#[test]
fn late_iterations_are_found() {
    check(&["cycle-sleeps"]);
}

#[test]
fn a_declared_heartbeat_is_missed() {
    check(&["heartbeat-threads"]);
}
