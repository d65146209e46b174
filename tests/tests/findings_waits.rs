//! Waits that nobody will end are found, those that only look so are well, also with `--strict`.
//!
//! A few cases of each kind; `cargo xtask specimens` runs all of them.

use remora_tests::cases;
use remora_tests::gate::privileged;

fn check(names: &[&str]) {
    let Some(_turn) = privileged() else { return };
    cases::check(names);
}

#[test]
fn pools_and_locks_of_python_that_nobody_will_give_back_are_found() {
    check(&[
        "waits-nested-jobs-python",
        "waits-lock-taken-before-python",
        "waits-executor-python",
    ]);
}

#[test]
fn pools_of_connections_without_a_free_slot_are_found_with_their_holders() {
    check(&[
        "pool-nested-sqlalchemy",
        "pool-session-sqlalchemy",
        "pool-kept-sqlalchemy",
        "pool-by-hand-python",
        "pool-busy-sqlalchemy",
        "pool-idle-sqlalchemy",
        "pool-by-hand-busy-python",
        "pool-feed-python",
    ]);
}

#[test]
fn a_lock_of_a_process_that_was_killed_is_found() {
    check(&["waits-killed-holder-python"]);
}

#[test]
fn a_handshake_without_an_answer_is_found() {
    check(&["waits-handshake-python"]);
}

#[test]
fn waits_keep_their_meaning_after_a_stop() {
    check(&["waits-stopped-deadlock-c", "waits-stopped-well-c"]);
}

#[test]
fn pools_farms_and_consumers_at_rest_are_well() {
    check(&[
        "waits-nested-jobs-well-python",
        "waits-pool-at-rest-python",
        "waits-one-order-python",
        "waits-limited-python",
        "waits-executor-busy-python",
        "waits-farm-python",
        "waits-mp-pool-at-rest-python",
        "waits-consumers-python",
    ]);
}
