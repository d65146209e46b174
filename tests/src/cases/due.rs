//! Until when a sick program has to be found: its threshold and two seconds.
//!
//! The time counts from the program's ready line, which it prints as it becomes sick, to the end of the look. A look
//! sees at its end for how long things have been so; so it cannot end before the threshold, and none is shorter than
//! itself: what has to be found is found by a look that ends within two seconds of the later of both.

use super::{Case, Expect};
use std::time::Duration;

/// After the threshold.
const GRACE: Duration = Duration::from_secs(2);

/// From the start of the command to the beginning of the look, about.
const START_UP: Duration = Duration::from_secs(1);

/// Of `triage`, where nothing else is asked for.
const LOOK: Duration = Duration::from_secs(3);

/// How long a case's look is.
pub fn look(case: &Case) -> Duration {
    option(case, "--duration").unwrap_or(LOOK)
}

/// For how long a case has to be sick before it counts: what remora's documentation gives for the kind, or the case
/// for its run.
pub fn threshold(case: &Case) -> Duration {
    let Expect::Sick { kind, .. } = case.expect else {
        return Duration::ZERO;
    };
    let set =
        |name: &str, default_s: u64| pair(case, name).unwrap_or(Duration::from_secs(default_s));
    match kind {
        "deadlock" => set("deadlock", 1),
        "loop_blocked" => set("loop-blocked", 1),
        "stopped" => set("stopped", 1),
        "not_consuming" => set("not-consuming", 5),
        "peer_not_consuming" => set("peer-not-consuming", 5),
        "blocked_syscall" => set("blocked-syscall", 5),
        "feed_gap" => set("feed-gap", 5),
        "close_wait" => set("close-wait", 10),
        "lock_stuck" | "pool_exhausted" => set("lock-stuck", 10),
        "no_answer" => set("no-answer", 30),
        // Near the limit it counts at once.
        "fd_leak" if option(case, "--duration").is_some() => set("fd-leak", 20),
        "thread_leak" if option(case, "--duration").is_some() => set("thread-leak", 20),
        // A process warms up for so long, then it has to grow for so long.
        "memory_leak" => 2 * set("memory-leak", 30),
        // Shares of the look.
        _ => Duration::ZERO,
    }
}

/// When the look has to be over, from the ready line on.
pub fn due(case: &Case) -> Duration {
    threshold(case).max(look(case)) + GRACE
}

/// How long to wait before the command is started, for the look to end in time.
pub fn wait(case: &Case) -> Duration {
    let asked = Duration::from_secs(case.after_s.into());
    asked.min(due(case).saturating_sub(look(case) + START_UP))
}

/// The value of an option.
fn option(case: &Case, name: &str) -> Option<Duration> {
    let at = case.arguments.iter().position(|it| *it == name)?;
    seconds(case.arguments.get(at + 1)?)
}

/// The value of a threshold.
fn pair(case: &Case, name: &str) -> Option<Duration> {
    let mut pairs = case.arguments.iter().filter_map(|it| it.split_once('='));
    seconds(pairs.find(|(key, _)| *key == name)?.1)
}

fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s').unwrap_or(text);
    number.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_within_two_seconds_of_threshold_or_itself() {
        for case in super::super::all() {
            let least = wait(&case) + START_UP + look(&case);
            let latest = due(&case).max(look(&case) + START_UP);
            assert!(least <= latest, "{}: {least:?}, {latest:?}", case.name);
            if let Expect::Sick { .. } = case.expect {
                assert!(least + GRACE >= threshold(&case), "{}", case.name);
            }
        }
    }

    #[test]
    fn arguments_of_a_case_are_read() {
        let arguments = &["--duration", "12s", "--threshold", "memory-leak=10s"];
        let case = Case {
            arguments,
            expect: Expect::Sick {
                kind: "memory_leak",
                thread: "",
                says: &[],
            },
            ..super::super::all()[0]
        };
        assert_eq!(
            (look(&case), threshold(&case)),
            (Duration::from_secs(12), Duration::from_secs(20))
        );
    }
}
