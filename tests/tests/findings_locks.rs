//! Deadlocks and contention: each sick program is found, each that looks like it is not.
//!
//! A few cases of each kind; `cargo xtask specimens` runs all of them.

use remora_tests::cases;
use remora_tests::gate::privileged;

fn check(names: &[&str]) {
    let Some(_turn) = privileged() else { return };
    cases::check(names);
}

#[test]
fn threads_that_wait_for_each_other_are_found() {
    check(&["deadlock-mutexes-c", "deadlock-rwlock-c", "deadlock-join-c"]);
}

#[test]
fn processes_that_wait_for_each_other_are_found() {
    check(&["deadlock-pipes-full-c", "deadlock-unix-sockets-c"]);
}

#[test]
fn threads_and_tasks_of_python_that_wait_for_each_other_are_found() {
    check(&["deadlock-locks-python", "deadlock-locks-asyncio"]);
}

#[test]
fn locks_of_python_are_found_however_they_are_held() {
    check(&[
        "deadlock-acquire-python",
        "deadlock-elsewhere-python",
        "deadlock-manager-python",
        "deadlock-exit-stack-python",
        "deadlock-semaphores-python",
        "in-order-idioms-python",
    ]);
}

#[test]
fn locks_of_java_are_found_and_its_pools_rest() {
    check(&[
        "deadlock-locks-java",
        "deadlock-monitors-java",
        "lock-of-an-exited-java",
        "pools-java",
        "http-java",
    ]);
}

#[test]
fn a_contended_lock_is_found_with_its_holder() {
    check(&["contention-mutex-c"]);
}

#[test]
fn locks_that_name_no_owner_are_told_by_the_code_of_their_holders() {
    check(&[
        "deadlock-statics-rust",
        "deadlock-scoped-rust",
        "deadlock-upgrade-rust",
        "deadlock-rwlock-readers-c",
    ]);
}

#[test]
fn locks_whose_waiters_park_elsewhere_are_told_by_the_code_of_their_holders() {
    check(&[
        "deadlock-arcs-parking",
        "deadlock-rwlock-parking",
        "deadlock-reentrant-parking",
        "deadlock-handed-over-parking",
        "pool-parking",
        "readers-parking",
        "pool-receivers-parking",
    ]);
}

#[test]
fn to_have_had_a_lock_is_not_to_hold_it() {
    check(&[
        "contention-kept-parking",
        "contention-kept-rust",
        "contention-kept-scoped-rust",
        "pool-receivers-rust",
    ]);
}

#[test]
fn locks_that_are_passed_on_and_pools_at_rest_are_well() {
    check(&[
        "passed-on-c",
        "pool-rust",
        "unix-rest-c",
        "in-order-asyncio",
    ]);
}
