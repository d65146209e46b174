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
    check(&[
        "loop-saturated",
        "loop-process-pool",
        "loop-saturated-asyncio-3.8",
        "loop-saturated-asyncio-3.13",
        "loop-saturated-uvloop",
        "loop-saturated-libevent",
        "loop-saturated-node",
    ]);
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
fn who_gives_way_is_starved_only_where_somebody_waits_for_it() {
    check(&["starved-idle-lock", "cpu-idle-policy"]);
}

#[test]
fn a_loop_of_node_in_exec_sync_is_blocked() {
    check(&["loop-sync-child-node", "loop-async-child-node"]);
}

#[test]
fn connections_behind_a_blocked_loop_of_node_are_its_effect() {
    check(&[
        "loop-waits-unaccepted-node",
        "loop-computes-unaccepted-node",
    ]);
}

#[test]
fn late_iterations_are_found() {
    check(&[
        "cycle-sleeps",
        "cycle-computes-asyncio-3.8",
        "cycle-computes-asyncio-3.13",
        "cycle-computes-libevent",
    ]);
}

#[test]
fn a_declared_heartbeat_is_missed() {
    check(&["heartbeat-threads"]);
}
