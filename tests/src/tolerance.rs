//! Every tolerance of the end-to-end tests, each with its reason.
//!
//! A share is compared with the specimen's own clock or with the scheduler's account of the same
//! window, so machine noise falls on both sides; what is left is stated here.

use std::time::Duration;

/// Of the time that a thread was blocked by its own account, at least this must carry the right
/// reason and function. Its account includes entry and exit of the system call and the clocks.
pub const WAIT_FLOOR: f64 = 0.90;

/// A reason must not be given more than this share of the specimen's own account: more would be
/// invented time. The account misses the few microseconds between two entries.
pub const WAIT_CEILING: f64 = 1.05;

/// Of a thread's blocked time at most this may go to reasons that its mode does not have: a page
/// fault or a lock inside libc can happen, a wrong classification gives far more.
pub const WRONG_REASON: f64 = 0.03;

/// On-CPU time against `schedstat`: the scheduler updates a running thread's figure at its tick
/// (at most 10 ms late), the window's edges add as much.
pub const ON_CPU: f64 = 0.05;

/// Run-queue time against `schedstat`: as above, and a preemption's beginning is seen a little
/// later by one of the two.
pub const RUN_QUEUE: f64 = 0.10;

/// Share of samples: at 99 Hz a capture of 3 s has 300 samples; three standard deviations of a
/// share of 0.7 are 0.08.
pub const SAMPLE_SHARE: f64 = 0.09;

/// Numbers of waits or wake-ups: those at the edges of the window, and the few that a signal or an
/// interrupt ends instead.
pub const COUNT: f64 = 0.05;

/// Below this a difference of two times is the resolution of the window's edges.
pub const SLACK: Duration = Duration::from_millis(30);

/// At least this share of a burner's samples must carry its function: a sample may hit the entry of
/// a function, before its frame is made.
pub const SAMPLES_NAMED: f64 = 0.95;

/// Panics unless `found` is within `tolerance` (a share of `expected`) or [`SLACK`].
pub fn assert_near(what: &str, found: Duration, expected: Duration, tolerance: f64) {
    let off = found.abs_diff(expected);
    assert!(
        off <= SLACK || off.as_secs_f64() <= tolerance * expected.as_secs_f64(),
        "{what}: found {found:?}, expected {expected:?} within {} %",
        tolerance * 100.0
    );
}

/// Panics unless two shares (0 to 1) differ by at most `tolerance`.
pub fn assert_share(what: &str, found: f64, expected: f64, tolerance: f64) {
    assert!(
        (found - expected).abs() <= tolerance,
        "{what}: share {found:.3}, expected {expected:.3} within {tolerance}"
    );
}
