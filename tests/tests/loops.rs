//! Event loops: iterations as the program's own clock has them, what the late ones did, and the timeline.

use remora_tests::gate::privileged;
use remora_tests::remora::Remora;
use remora_tests::report::{EventLoop, Report, ThreadColumns};
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{
    COUNT, LATE_SAMPLES, OFF_CPU, QUANTILE, SAME_FIGURE, SLACK, WHOLE, assert_near,
};
use std::time::Duration;

/// Iterations of the specimens from here on are late, as `--loop-late` says by default.
const LATE: Duration = Duration::from_millis(100);

/// The longest iteration, which may lie across an edge of the window.
const EDGE: Duration = Duration::from_millis(200);

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}

/// Nearest neighbours in rank decide where a distribution has a step just there.
fn assert_quantile(what: &str, found: Option<f64>, sorted: &[Duration], share: f64) {
    let found = Duration::from_secs_f64(found.expect("there were iterations"));
    let rank = 1.0 / sorted.len() as f64;
    let around = [share - 2.0 * rank, share, share + 2.0 * rank];
    let near = around.map(|share| quantile(sorted, share.clamp(0.0, 1.0)));
    let (low, high) = (
        near[0].mul_f64(1.0 - QUANTILE),
        near[2].mul_f64(1.0 + QUANTILE),
    );
    assert!(
        low <= found && found <= high,
        "{what}: {found:?}, expected {near:?}"
    );
}

#[test]
fn exact_iterations_are_those_of_the_programs_own_clock() {
    let Some(_turn) = privileged() else { return };
    for mode in ["epoll-loop", "poll-loop"] {
        let specimen = Specimen::start(mode);
        let tid = specimen.tid("main");
        let (run, report) = Remora::record(&[specimen.pid()], 4)
            .args(&["--loop", "exact"])
            .capture();
        let event_loop = report.event_loop(tid);
        assert_eq!(
            event_loop.mode, "exact",
            "{:#}",
            report.signals["event_loops"]
        );
        assert_eq!(format!("{}-loop", event_loop.kind), mode);

        let mut own = specimen.lengths("iteration", report.window());
        own.sort_unstable();
        let count = own.len() as f64;
        assert!(own.len() > 100, "{} iterations are too few", own.len());
        let off = (event_loop.iterations as f64 / count - 1.0).abs();
        assert!(
            off <= COUNT,
            "{} iterations, expected {count}",
            event_loop.iterations
        );
        assert_quantile("p50", event_loop.p50_s, &own, 0.50);
        assert_quantile("p95", event_loop.p95_s, &own, 0.95);
        assert_quantile("p99", event_loop.p99_s, &own, 0.99);
        let longest = Duration::from_secs_f64(event_loop.max_s.expect("there were iterations"));
        assert_near("longest", longest, own[own.len() - 1], QUANTILE);
        let busy = Duration::from_nanos(event_loop.busy_ns);
        let expected = own.iter().sum::<Duration>();
        assert!(
            busy.abs_diff(expected) <= EDGE + expected.mul_f64(OFF_CPU),
            "{busy:?}, {expected:?}"
        );
        let late = own.iter().filter(|length| **length >= LATE).count() as u64;
        assert!(
            late > 4 && event_loop.late.abs_diff(late) <= 1,
            "{} late, expected {late}",
            event_loop.late
        );
        // A third of the waits find something at once; each finds one or two.
        let (waits, events) = (event_loop.waits, event_loop.events.expect("exact"));
        assert!(
            events >= waits - 1 && events <= 2 * waits,
            "{events} events in {waits} waits"
        );
        assert_eq!(event_loop.timeouts, Some(0));

        let late_time = own
            .iter()
            .filter(|length| **length >= LATE)
            .sum::<Duration>();
        let in_late = Duration::from_nanos(event_loop.late_ns);
        // One may lie across an edge of the window.
        let edge = EDGE.max(own[own.len() - 1]);
        assert!(
            in_late.abs_diff(late_time) <= edge,
            "late: {in_late:?}, expected {late_time:?}"
        );
        let folded = run.folded("epoll");
        let all = Duration::from_nanos(folded.sum(|_| true));
        assert_near("what late iterations did", all, in_late, LATE_SAMPLES);
        let slept = folded.sum(|line| line.reason() == "sleep" && line.has("stall_sleep"));
        let ran = folded.sum(|line| line.reason() == "on CPU" && line.has("stall_spin"));
        assert!(slept > 0 && ran > 0, "slept {slept} ns, ran {ran} ns");
        // On a busy machine an ordinary iteration is late once.
        let ordinary = folded.sum(|line| line.has("work"));
        let share = ordinary as f64 / all.as_nanos() as f64;
        assert!(
            share < LATE_SAMPLES,
            "{share:.2} of it in ordinary iterations"
        );
    }
}

#[test]
fn without_exact_hooks_an_iteration_ends_with_a_wait_that_blocks_and_the_report_says_so() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("epoll-loop");
    let (_run, report) = Remora::record(&[specimen.pid()], 3)
        .args(&["--loop", "blocked"])
        .capture();
    let event_loop = report.event_loop(specimen.tid("main"));
    assert_eq!(event_loop.mode, "blocked");
    assert_eq!(report.signals["event_loops"]["state"], "degraded");
    assert_eq!((event_loop.events, event_loop.timeouts), (None, None));
    let own = specimen.lengths("iteration", report.window());
    // A third of the waits find something at once; a timer that went off meanwhile ends some more so.
    let share = event_loop.iterations as f64 / own.len() as f64;
    assert!(share > 0.2 && share < 0.72, "{share:.2} of the iterations");
    let late = own.iter().filter(|length| **length >= LATE).count() as u64;
    assert!(
        event_loop.late + 1 >= late,
        "{} late, at least {late}",
        event_loop.late
    );
    let busy = Duration::from_nanos(event_loop.busy_ns);
    let expected = own.iter().sum::<Duration>();
    assert!(
        busy.abs_diff(expected) <= EDGE + expected.mul_f64(OFF_CPU),
        "{busy:?}, {expected:?}"
    );
}

#[test]
fn the_windows_add_up_to_the_capture() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("epoll-loop");
    let tid = specimen.tid("main");
    let folder = tempfile::tempdir().expect("a folder");
    let lines = folder.path().join("windows.jsonl");
    let (_run, report) = Remora::record(&[specimen.pid()], 3)
        .args(&["--loop", "exact", "--window", "500ms"])
        .args(&["--jsonl", lines.to_str().expect("a path of this test")])
        .capture();
    let timeline = &report.timeline;
    assert_eq!((timeline.window_s, timeline.coarsened_windows), (0.5, 0));
    assert!(timeline.start_s.len() >= 5, "{:?}", timeline.start_s);
    let length = timeline.length_s.iter().sum::<f64>();
    let whole = report.window().length();
    assert_near("windows", Duration::from_secs_f64(length), whole, WHOLE);

    let columns = timeline.threads.iter().find(|columns| columns.tid == tid);
    let columns = columns.expect("the thread has columns");
    assert_times_add_up(columns, &report);
    assert_windows_are_whole(columns);
    assert_iterations_add_up(columns, report.event_loop(tid));
    let text = std::fs::read_to_string(&lines).expect("the windows were written");
    assert_eq!(text.lines().count(), timeline.start_s.len());
    assert_streamed(columns, &text);
}

/// A thread's time in each state is that of its windows together.
fn assert_times_add_up(columns: &ThreadColumns, report: &Report) {
    let thread = report.thread(columns.tid);
    let time = |column: &[f64]| columns.time(column, &report.timeline.length_s);
    let states = [
        ("on CPU", &columns.on_cpu_pct, thread.on_cpu()),
        ("queued", &columns.run_queue_pct, thread.queued()),
        (
            "epoll",
            &columns.event_wait_pct,
            thread.blocked_for("epoll"),
        ),
        ("sleep", &columns.sleep_pct, thread.blocked_for("sleep")),
    ];
    for (what, column, whole) in states {
        assert_near(what, time(column), whole, SAME_FIGURE);
    }
    for other in [&columns.lock_pct, &columns.socket_pct, &columns.disk_pct] {
        assert!(time(other) < SLACK, "{other:?}");
    }
}

/// In each window the states are all of the time.
fn assert_windows_are_whole(columns: &ThreadColumns) {
    for at in 0..columns.on_cpu_pct.len() {
        let sum = [
            &columns.on_cpu_pct,
            &columns.run_queue_pct,
            &columns.lock_pct,
            &columns.event_wait_pct,
            &columns.socket_pct,
            &columns.disk_pct,
            &columns.sleep_pct,
            &columns.other_pct,
        ]
        .map(|column| column[at])
        .iter()
        .sum::<f64>();
        assert!((sum - 100.0).abs() < 2.0, "window {at}: {sum} %");
    }
}

/// The iterations of a loop are those of its windows together.
fn assert_iterations_add_up(columns: &ThreadColumns, event_loop: &EventLoop) {
    let points = columns.event_loop.as_ref().expect("it has a loop");
    assert_eq!(points.iterations.iter().sum::<u64>(), event_loop.iterations);
    assert_eq!(points.late.iter().sum::<u64>(), event_loop.late);
    let longest = points.max_s.iter().flatten().copied().fold(0.0, f64::max);
    assert!((longest - event_loop.max_s.expect("iterations")).abs() < 1e-9);
}

/// The streamed windows, a line each, say what the report says.
fn assert_streamed(columns: &ThreadColumns, text: &str) {
    for (at, line) in text.lines().enumerate() {
        let window: serde_json::Value = serde_json::from_str(line).expect("a line is a document");
        let mut threads = window["threads"].as_array().into_iter().flatten();
        let thread = threads.find(|thread| thread["tid"] == columns.tid);
        assert_eq!(
            thread.expect("it is in each window")["on_cpu_pct"].as_f64(),
            Some(columns.on_cpu_pct[at]),
            "window {at}"
        );
    }
}

#[test]
fn a_loop_that_is_late_right_now_says_for_how_long() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("epoll-loop");
    let (_run, report) = Remora::record(&[specimen.pid()], 1)
        .args(&["--loop", "blocked", "--loop-late", "1us"])
        .capture();
    let event_loop = report.event_loop(specimen.tid("main"));
    // Nearly every iteration works for more than a microsecond.
    assert!(
        event_loop.late * 10 >= event_loop.iterations * 9,
        "{event_loop:?}"
    );
    let now = report.thread(specimen.tid("main")).now.reason.as_deref() == Some("epoll");
    assert_eq!(event_loop.busy_now_s.is_none(), now, "{event_loop:?}");
}

#[test]
fn a_thread_that_sits_in_one_wait_has_a_loop_without_iterations() {
    let Some(_turn) = privileged() else { return };
    let specimen = Start::mode("epoll").period_us(60_000_000).start();
    let tid = specimen.tid("main");
    let (_run, report) = Remora::record(&[specimen.pid()], 1).capture();
    let event_loop = report.event_loop(tid);
    assert_eq!(
        (event_loop.waits, event_loop.iterations),
        (1, 0),
        "{event_loop:?}"
    );
    let blocked = report.thread(tid).blocked_for("epoll");
    assert_near(
        "blocked",
        Duration::from_nanos(event_loop.blocked_ns),
        blocked,
        SAME_FIGURE,
    );
}
