//! Off the CPU: each way to wait gets its own reason, in its own function, for its own time.

use remora_tests::folded::Folded;
use remora_tests::gate::{privileged, skip};
use remora_tests::modes::{WAIT_MODES, WaitMode, wait_mode};
use remora_tests::remora::{Remora, Run};
use remora_tests::report::Report;
use remora_tests::schedule::{Recorder, Schedule};
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{
    COUNT, SLACK, WAIT_CEILING, WAIT_FLOOR, WRONG_REASON, assert_near, assert_share,
};
use std::time::Duration;

/// Several specimens under one capture.
struct Watched {
    run: Run,
    report: Report,
    offcpu: Folded,
    schedule: Schedule,
    specimens: Vec<(&'static WaitMode, Specimen)>,
}

fn watch(modes: &[&'static str], arguments: &[&str]) -> Watched {
    let mut specimens = Vec::new();
    for mode in modes.iter().map(|name| wait_mode(name)) {
        match Start::mode(mode.mode).spawn() {
            Ok(specimen) => specimens.push((mode, specimen)),
            Err(why) => skip(&why),
        }
    }
    let pids: Vec<u32> = specimens
        .iter()
        .map(|(_, specimen)| specimen.pid())
        .collect();
    let recorder = Recorder::start(pids.iter().map(|pid| (*pid, *pid)).collect());
    let (run, report) = Remora::record(&pids, 3).args(arguments).capture();
    let offcpu = run.folded("offcpu");
    Watched {
        run,
        report,
        offcpu,
        schedule: recorder.finish(),
        specimens,
    }
}

impl Watched {
    /// Time that the main thread was blocked: by its own clocks, less the scheduler's account of
    /// its time on the run queue.
    fn truth(&self, mode: &WaitMode, specimen: &Specimen) -> Duration {
        let window = self.report.window();
        let off_cpu = specimen.off_cpu(mode.function, "main", window);
        off_cpu.saturating_sub(self.schedule.inside(specimen.tid("main"), window).queued)
    }

    fn check_all(&self) {
        for (mode, specimen) in &self.specimens {
            self.check_time(mode, specimen);
            self.check_stacks(mode, specimen);
        }
        self.report.assert_no_loss();
    }

    fn check_time(&self, mode: &WaitMode, specimen: &Specimen) {
        let truth = self.truth(mode, specimen);
        assert!(truth > SLACK, "{}: it hardly waited: {truth:?}", mode.mode);
        let thread = self.report.thread(specimen.tid("main"));
        let blocked = thread.blocked_for(mode.reason);
        assert!(
            blocked >= truth.mul_f64(WAIT_FLOOR)
                && blocked <= truth.mul_f64(WAIT_CEILING).max(truth + SLACK),
            "{}: {blocked:?} as {:?}, by its own account {truth:?}: {:#?}",
            mode.mode,
            mode.reason,
            thread.blocked
        );
        let wrong = thread.blocked_otherwise(mode.reason);
        assert!(
            wrong <= truth.mul_f64(WRONG_REASON),
            "{}: {:#?}",
            mode.mode,
            thread.blocked
        );
    }

    fn check_stacks(&self, mode: &WaitMode, specimen: &Specimen) {
        let tid = specimen.tid("main");
        let thread = self.report.thread(tid);
        let short: u64 = thread.blocked.iter().map(|blocked| blocked.short_ns).sum();
        let with_stack = self
            .truth(mode, specimen)
            .saturating_sub(Duration::from_nanos(short));
        let (outer, first) = (mode.outer(), mode.first_frame());
        let chain = ["main", "run_waits", &outer, mode.function];
        let right = self
            .offcpu
            .sum(|line| line.is_of(tid) && line.reason() == first && line.has_chain(&chain));
        assert!(
            Duration::from_nanos(right) >= with_stack.mul_f64(WAIT_FLOOR),
            "{}: {right} ns in {first};…;{}, expected {with_stack:?}; its stacks:{}",
            mode.mode,
            chain.join(";"),
            self.offcpu.top(|line| line.is_of(tid))
        );
        let strange = |frame: &String| frame.starts_with("wait_in_") && frame != mode.function;
        let wrong =
            |line: &remora_tests::folded::Line| line.is_of(tid) && line.frames.iter().any(strange);
        assert_eq!(
            self.offcpu.sum(wrong),
            0,
            "{}: {}",
            mode.mode,
            self.offcpu.top(wrong)
        );
    }
}

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
    watch(&modes, &["--idle"]).check_all();
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
    watch(&modes, &["--idle"]).check_all();
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
    ];
    watch(&modes, &["--idle"]).check_all();
}

#[test]
fn waits_for_a_disk() {
    let Some(_turn) = privileged() else { return };
    for mode in ["fsync", "disk-read"] {
        // One after the other: together they are in each other's way, in functions of the other.
        watch(&[mode], &["--idle", "--min-block", "20us"]).check_all();
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
    let watched = watch(
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
        assert_share(mode.mode, by_waker.count as f64 / woken as f64, 1.0, 0.05);
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
        sleep.short_count as f64 >= 0.95 * sleep.count as f64,
        "{sleep:?}"
    );
    // A wait of 100 us is hardly longer than the system call around it: time on the CPU inside the
    // call is known, what the idle CPU takes to wake up is in both.
    let blocked = Duration::from_nanos(sleep.total_ns);
    assert_near(
        "time",
        blocked,
        truth.off_cpu().saturating_sub(queued),
        0.15,
    );
    let short = run
        .folded("offcpu")
        .sum(|line| line.is_of(pid) && line.has("[short waits]"));
    assert_near(
        "folded",
        Duration::from_nanos(short),
        Duration::from_nanos(sleep.short_ns),
        0.01,
    );
}

#[test]
fn an_event_loop_stands_apart_unless_asked_for() {
    let Some(_turn) = privileged() else { return };
    let watched = watch(&["epoll", "pipe-read"], &[]);
    let [(_, epoll), (pipe, reader)] = &watched.specimens[..] else {
        panic!("both always run")
    };
    let main = epoll.tid("main");
    let loops = |line: &remora_tests::folded::Line| line.is_of(main) && line.reason() == "epoll";
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
    watched.check_time(pipe, reader);
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
}
