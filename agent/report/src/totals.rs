//! Times of the whole capture that more than one part of the report states, and the words for
//! them: the same figure has the same name everywhere.

use super::text::{counted, duration};
use remora_model::{Capture, Idleness, State, Wait};
use std::time::Duration;

/// Time on a CPU, of all threads.
pub(crate) fn on_cpu(capture: &Capture) -> Duration {
    sum(capture.threads.iter().map(|thread| thread.on_cpu))
}

/// Time ready but waiting for a CPU, of all threads.
pub(crate) fn run_queue(capture: &Capture) -> Duration {
    let queues = capture.threads.iter().map(|thread| &thread.run_queue);
    sum(queues.map(|queue| queue.after_wake.saturating_add(queue.preempted)))
}

/// Time in normal idle waits.
pub(crate) fn idle(capture: &Capture) -> Duration {
    waits(capture, |wait| wait.idle != Idleness::Busy)
}

/// Time blocked; in idle waits only when told.
pub(crate) fn blocked(capture: &Capture, with_idle: bool) -> Duration {
    waits(capture, |wait| with_idle || wait.idle == Idleness::Busy)
}

/// What the capture cost the host: `0.9 % of one CPU`.
pub(crate) fn overhead(capture: &Capture) -> String {
    let cost = capture.overhead.bpf_cpu_pct + capture.overhead.agent_cpu_pct;
    let polls = capture.overhead.polls.map(|polls| {
        let time = duration(polls.length);
        format!("; all system calls traced for {time}")
    });
    format!("{cost:.1} % of one CPU{}", polls.unwrap_or_default())
}

/// `14 threads, 23 sockets, 6 locks`.
pub(crate) fn watched(capture: &Capture) -> String {
    let some = |number: usize, what: &str| (number > 0).then(|| counted(number as u64, what));
    let living = capture.threads.iter();
    let living = living
        .filter(|thread| thread.now.state != State::Exited)
        .count();
    let tasks = capture
        .tasks
        .iter()
        .map(|(_, tasks)| tasks.tasks.len())
        .sum();
    let parts = [
        some(living, "thread"),
        some(capture.loops.len(), "loop"),
        some(tasks, "asyncio task"),
        some(
            capture.sockets.iter().filter(|socket| socket.open).count(),
            "socket",
        ),
        some(capture.locks.len(), "lock"),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "no living thread".to_owned(),
        false => parts.join(", "),
    }
}

/// `816 ms blocked, 4.2 s with run queue`.
pub(crate) fn off_cpu_words(capture: &Capture, with_idle: bool) -> String {
    let blocked = blocked(capture, with_idle);
    let whole = blocked.saturating_add(run_queue(capture));
    format!(
        "{} blocked, {} with run queue",
        duration(blocked),
        duration(whole)
    )
}

/// Time of the waits that `counts` picks.
pub(crate) fn waits(capture: &Capture, counts: impl Fn(&Wait) -> bool) -> Duration {
    let waits = capture.waits.iter().filter(|wait| counts(wait));
    sum(waits.map(|wait| wait.total))
}

fn sum(times: impl Iterator<Item = Duration>) -> Duration {
    times.fold(Duration::ZERO, Duration::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::Reason;
    use remora_model::fixture::{Builder, ms};

    #[test]
    fn the_words_say_what_the_figures_contain() {
        let mut builder = Builder::new(1, "target");
        let other = builder.thread(1, 2, "other");
        builder.wait(0, Reason::Disk, &["main"], ms(500));
        builder.wait(other, Reason::Disk, &["main"], ms(316));
        builder.wait(other, Reason::Epoll, &["main"], ms(9_000));
        builder.0.threads[0].run_queue.after_wake = ms(3_000);
        builder.0.threads[other].run_queue.preempted = ms(384);
        let capture = builder.finish();
        let words = |idle| off_cpu_words(&capture, idle);
        assert_eq!(words(false), "816 ms blocked, 4.2 s with run queue");
        assert_eq!(words(true), "9.8 s blocked, 13.2 s with run queue");
        assert_eq!(idle(&capture), ms(9_000));
    }
}
