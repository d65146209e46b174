//! Event loops.

use super::nanos;
use remora_model::Capture;
use serde::Serialize;

/// A thread's event loop.
#[derive(Serialize)]
pub(super) struct Loop<'a> {
    pid: u32,
    tid: u32,
    comm: &'a str,
    /// `epoll` or `poll`.
    kind: &'static str,
    epoll_fd: Option<u32>,
    /// `exact`, or `blocked`: iterations are upper bounds.
    mode: &'static str,
    waits: u64,
    timeouts: Option<u64>,
    events: Option<u64>,
    blocked_ns: u64,
    iterations: u64,
    busy_ns: u64,
    late: u64,
    late_ns: u64,
    late_queued_ns: u64,
    threshold_s: f64,
    mean_s: Option<f64>,
    p50_s: Option<f64>,
    p95_s: Option<f64>,
    p99_s: Option<f64>,
    max_s: Option<f64>,
    /// How long the iteration lasts that had not ended.
    busy_now_s: Option<f64>,
}

/// All of them.
pub(super) fn loops(capture: &Capture) -> Vec<Loop<'_>> {
    let loops = capture.loops.iter().filter_map(|event_loop| {
        let thread = capture.threads.get(event_loop.thread)?;
        let quantiles = event_loop.lengths.quantiles(event_loop.longest);
        let ended = event_loop.iterations > 0;
        Some(Loop {
            pid: thread.pid,
            tid: thread.tid,
            comm: &thread.comm,
            kind: event_loop.kind.label(),
            epoll_fd: event_loop.epoll_fd,
            mode: if event_loop.exact { "exact" } else { "blocked" },
            waits: event_loop.waits,
            timeouts: event_loop.timeouts,
            events: event_loop.events,
            blocked_ns: nanos(event_loop.blocked),
            iterations: event_loop.iterations,
            busy_ns: nanos(event_loop.busy),
            late: event_loop.late,
            late_ns: nanos(event_loop.late_time),
            late_queued_ns: nanos(event_loop.late_queued),
            threshold_s: event_loop.late_from.as_secs_f64(),
            mean_s: ended.then(|| event_loop.busy.as_secs_f64() / event_loop.iterations as f64),
            p50_s: quantiles.map(|quantiles| quantiles.p50.as_secs_f64()),
            p95_s: quantiles.map(|quantiles| quantiles.p95.as_secs_f64()),
            p99_s: quantiles.map(|quantiles| quantiles.p99.as_secs_f64()),
            max_s: ended.then_some(event_loop.longest.as_secs_f64()),
            busy_now_s: event_loop.busy_now.map(|busy| busy.as_secs_f64()),
        })
    });
    loops.collect()
}

/// The polls of a thread that seemed not to come back to them, counted for a moment.
#[derive(Serialize)]
pub(super) struct Polls<'a> {
    pid: u32,
    tid: u32,
    comm: &'a str,
    /// For how long they were counted.
    duration_s: f64,
    polls: u64,
    /// The longest time without one that a poll ended.
    longest_s: f64,
    /// The time since the last one; 0 of a thread that slept in its wait.
    open_s: f64,
}

/// All of them.
pub(super) fn polls(capture: &Capture) -> Vec<Polls<'_>> {
    let polls = capture.polls.iter().filter_map(|(thread, polls)| {
        let thread = capture.threads.get(*thread)?;
        Some(Polls {
            pid: thread.pid,
            tid: thread.tid,
            comm: &thread.comm,
            duration_s: polls.watched.as_secs_f64(),
            polls: polls.polls,
            longest_s: polls.longest.as_secs_f64(),
            open_s: polls.open.as_secs_f64(),
        })
    });
    polls.collect()
}
