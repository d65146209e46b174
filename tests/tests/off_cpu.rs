//! Off the CPU: each way to wait gets its own reason, in its own function, for its own time.

use remora_tests::folded::Line;
use remora_tests::gate::{privileged, skip};
use remora_tests::modes::WAIT_MODES;
use remora_tests::remora::Remora;
use remora_tests::schedule::Recorder;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{
    BY_ONE_WAKER, COUNT, SAME_FIGURE, SHORT_WAITS, WRONG_REASON, assert_near, assert_share,
};
use remora_tests::waits::Waits;
use std::time::Duration;

#[test]
fn waits_for_events_and_bytes() {
    let Some(_turn) = privileged() else { return };
    let modes = [
        "epoll",
        "poll",
        "select",
        "eventfd-read",
        "eventfd-write",
        "pipe-read",
        "pipe-write",
        "io-uring",
        "message-queue",
    ];
    Waits::watch(&modes, &["--idle"]).assert_right();
}

#[test]
fn waits_on_sockets() {
    let Some(_turn) = privileged() else { return };
    let modes = [
        "receive-unix",
        "receive-tcp",
        "read-socket",
        "send-unix",
        "send-tcp",
        "accept",
        "connect-unix",
        "connect-tcp",
    ];
    Waits::watch(&modes, &["--idle"]).assert_right();
}

#[test]
fn waits_for_time_locks_signals_pages_and_children() {
    let Some(_turn) = privileged() else { return };
    let modes = [
        "poll-nothing",
        "nanosleep",
        "clock-nanosleep",
        "futex-lock",
        "futex-condition",
        "sigtimedwait",
        "pause",
        "page-fault",
        "wait-child",
        "vfork",
        "clone-vfork",
        "clone3-vfork",
    ];
    Waits::watch(&modes, &["--idle"]).assert_right();
}

#[test]
fn waits_for_a_disk() {
    let Some(_turn) = privileged() else { return };
    for mode in ["fsync", "disk-read"] {
        // One after the other: together they are in each other's way, in functions of the other.
        Waits::watch(&[mode], &["--idle", "--min-block", "20us"]).assert_right();
    }
}

#[test]
fn every_wait_mode_is_checked() {
    // A mode that is in no list above would never be tried.
    let source = include_str!("off_cpu.rs");
    for mode in WAIT_MODES {
        assert!(
            source.contains(&format!("\"{}\"", mode.mode)),
            "{} is not checked",
            mode.mode
        );
    }
}

#[test]
fn a_waker_is_named() {
    let Some(_turn) = privileged() else { return };
    let watched = Waits::watch(
        &[
            "eventfd-read",
            "pipe-read",
            "futex-lock",
            "futex-condition",
            "receive-unix",
        ],
        &["--idle"],
    );
    for (mode, specimen) in &watched.specimens {
        let thread = watched.report.thread(specimen.tid("main"));
        let woken: u64 = thread.wakers.iter().map(|waker| waker.count).sum();
        let by_waker = thread
            .wakers
            .iter()
            .find(|waker| waker.tid == specimen.tid("waker"));
        let by_waker = by_waker.unwrap_or_else(|| panic!("{}: {:#?}", mode.mode, thread.wakers));
        assert_eq!(by_waker.pid, specimen.pid());
        assert_eq!(by_waker.comm, "waker");
        assert_eq!(by_waker.reason, mode.reason);
        assert_share(
            mode.mode,
            by_waker.count as f64 / woken as f64,
            1.0,
            BY_ONE_WAKER,
        );
        let blocked = thread.blocked_for(mode.reason);
        assert_near(
            mode.mode,
            Duration::from_nanos(by_waker.blocked_ns),
            blocked,
            COUNT,
        );
    }
}

#[test]
fn short_waits_are_counted_and_timed_without_a_stack() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("short-sleep");
    let pid = specimen.pid();
    let recorder = Recorder::start(vec![(pid, pid)]);
    let (run, report) = Remora::record(&[pid], 3).args(&["--idle"]).capture();
    let window = report.window();
    let truth = specimen.log.spent("wait_in_short_sleep", Some(pid), window);
    let queued = recorder.finish().inside(pid, window).queued;
    let thread = report.thread(pid);
    let sleep = thread
        .blocked
        .iter()
        .find(|blocked| blocked.reason == "sleep");
    let sleep = sleep.unwrap_or_else(|| panic!("no sleep in {:#?}", thread.blocked));
    assert_share(
        "number",
        sleep.count as f64 / truth.count as f64,
        1.0,
        COUNT,
    );
    assert!(
        sleep.short_count as f64 >= (1.0 - COUNT) * sleep.count as f64,
        "{sleep:?}"
    );
    // A wait of 100 us is hardly longer than the system call around it: time on the CPU inside the
    // call is known, what the idle CPU takes to wake up is in both.
    let blocked = Duration::from_nanos(sleep.total_ns);
    assert_near(
        "time",
        blocked,
        truth.off_cpu().saturating_sub(queued),
        SHORT_WAITS,
    );
    let short = run
        .folded("offcpu")
        .sum(|line| line.is_of(pid) && line.has("[short waits]"));
    assert_near(
        "folded",
        Duration::from_nanos(short),
        Duration::from_nanos(sleep.short_ns),
        SAME_FIGURE,
    );
}

#[test]
fn an_event_loop_stands_apart_unless_asked_for() {
    let Some(_turn) = privileged() else { return };
    let watched = Waits::watch(&["epoll", "pipe-read"], &[]);
    let [(_, epoll), (pipe, reader)] = &watched.specimens[..] else {
        panic!("both always run")
    };
    let main = epoll.tid("main");
    let loops = |line: &Line| line.is_of(main) && line.reason() == "epoll";
    assert_eq!(
        watched.offcpu.sum(loops),
        0,
        "{}",
        watched.offcpu.top(loops)
    );
    let idle = watched
        .report
        .thread(main)
        .blocked
        .iter()
        .find(|one| one.reason == "epoll");
    let idle = idle.expect("it is in the report all the same");
    assert_eq!(idle.idle_ns, idle.total_ns);
    // The time of others is not hidden with it.
    let shown = watched.check_time(pipe, reader);
    assert_eq!(shown, Ok(()));
    assert!(watched.run.file("offcpu.svg").contains("<svg"));
}

#[test]
fn a_32_bit_task_is_told_apart() {
    let Some(_turn) = privileged() else { return };
    let program = match remora_tests::compile::compat32() {
        Ok(program) => program,
        Err(why) => return skip(&why),
    };
    let specimen = Start::program(program).start();
    let (_run, report) = Remora::record(&[specimen.pid()], 2)
        .args(&["--idle"])
        .capture();
    let thread = report.thread(specimen.pid());
    let observed = Duration::from_nanos(thread.observed_ns);
    // It does nothing but sleep: what is not on the CPU or ready to be is this one wait.
    let asleep = observed.saturating_sub(thread.on_cpu() + thread.queued());
    assert_near(
        "asleep",
        thread.blocked_for("32-bit task"),
        asleep,
        WRONG_REASON,
    );
    // Its system calls have other numbers: they are counted as not interpreted, one for each wait.
    let waits: u64 = thread.blocked.iter().map(|blocked| blocked.count).sum();
    let counted = report.loss["compat32_waits"] as f64;
    assert_share("compat32_waits", counted / waits as f64, 1.0, COUNT);
    // Its tables are of 32 bits: none of ours.
    report.assert_lost_only(&["compat32_waits", "unwind_tables_unparsable"]);
}
