//! Waits that should not last, and waits that may.

use super::*;
use crate::{Thresholds, judge};
use remora_model::{
    Awaited, Call, Capture, Constraint, Dependency, Syscall,
    fixture::{Builder, ms},
};
use std::time::Duration;

fn capture(
    reason: Reason,
    syscall: Option<&'static str>,
    stack: &[&str],
    since: Duration,
) -> Capture {
    let mut builder = Builder::new(7, "store");
    let stack = builder.stack(stack);
    let mut capture = builder.finish();
    let now = &mut capture.threads[0].now;
    (now.state, now.since) = (State::Blocked, since);
    (now.reason, now.syscall) = (Some(reason), syscall.map(Syscall::named));
    now.stack = Some(stack);
    capture.conditions.processes = vec![Constraint {
        pid: 7,
        ..Constraint::default()
    }];
    capture
}

fn call(capture: &mut Capture, path: &str) {
    capture.conditions.processes[0].calls = vec![Call {
        tid: 7,
        fd: Some(5),
        path: path.into(),
    }];
}

fn waits_for(capture: &mut Capture, on: Awaited, pid: u32, name: &str) {
    capture.dependencies = vec![Dependency {
        tid: 7,
        on,
        timed: false,
        parties: vec![(pid, name.into())],
        cut: false,
    }];
}

fn found(capture: &Capture) -> Vec<Finding> {
    let judgement = judge(capture, &Thresholds::default());
    judgement.findings().cloned().collect()
}

const LONG: Duration = ms(8_000);

#[test]
fn a_file_lock_is_told_with_file_and_holder() {
    let mut capture = capture(Reason::Syscall, Some("flock"), &["main", "flock"], LONG);
    capture.threads[0].now.args = [5, 2, 0, 0, 0, 0];
    call(&mut capture, "/var/lock/x");
    let name = "/var/lock/x".to_owned();
    waits_for(&mut capture, Awaited::File { name }, 99, "holder");
    let found = found(&capture);
    let [finding] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(finding.kind, FindingKind::BlockedSyscall);
    let facts: Vec<&str> = finding.evidence.iter().map(|fact| &*fact.value).collect();
    assert!(facts.contains(&"flock(5, LOCK_EX)"), "{facts:?}");
    let lock = "waits for the lock on /var/lock/x, held by holder (99)";
    assert!(facts.iter().any(|fact| fact.contains(lock)), "{facts:?}");
    assert!(
        finding.summary
            == "store-7 of store (7) blocked for 8.0 s in flock(): /var/lock/x, held by holder (99)",
        "{}",
        finding.summary
    );
    assert_eq!(finding.next, "Check the holder: remora triage --pid 99.");
    capture.threads[0].now.since = ms(2_000);
    assert!(self::found(&capture).is_empty(), "not long enough");
}

#[test]
fn a_full_pipe_is_told_with_who_could_read_it() {
    let mut capture = capture(Reason::PipeWrite, Some("write"), &["main", "write"], LONG);
    capture.threads[0].now.args = [4, 0, 9, 0, 0, 0];
    call(&mut capture, "pipe:[4711]");
    let pipe = Awaited::Pipe {
        fd: 4,
        inode: 4711,
        name: "pipe:[4711]".into(),
        reads: false,
    };
    waits_for(&mut capture, pipe, 99, "reader");
    let found = found(&capture);
    let fact = &found[0].evidence[0];
    assert!(
        fact.value
            .contains("buffer space in fd 4 pipe:[4711], read by reader (99)"),
        "{fact:?}"
    );
    assert!(found[0].because_of.contains(&Subject::Pipe(4711)));
}

#[test]
fn what_waits_for_work_may_wait_for_ever() {
    for (reason, syscall) in [
        (Reason::Sleep, "clock_nanosleep"),
        (Reason::SignalWait, "rt_sigtimedwait"),
        (Reason::WaitChild, "wait4"),
        (Reason::PipeRead, "read"),
        (Reason::EventRead, "read"),
        (Reason::DeviceRead, "read"),
        (Reason::IoUring, "io_uring_enter"),
        (Reason::SocketAccept, "accept4"),
        (Reason::Syscall, "restart_syscall"),
        (Reason::Syscall, "io_getevents"),
        (Reason::Syscall, "ioctl"),
        (Reason::Syscall, "semtimedop"),
    ] {
        let capture = capture(reason, Some(syscall), &["main", "read"], ms(3_600_000));
        assert!(found(&capture).is_empty(), "{reason:?} {syscall}");
    }
}

#[test]
fn a_fifo_is_blocked_for_who_writes_and_at_rest_for_who_reads() {
    let stack = ["main", "open", "k:fifo_open", "k:wait_for_partner"];
    let mut capture = capture(Reason::Syscall, Some("openat"), &stack, LONG);
    capture.threads[0].now.args = [0xffff_ff9c, 64, 0, 0, 0, 0];
    assert!(found(&capture).is_empty(), "O_RDONLY");
    capture.threads[0].now.args[2] = 0o2_000_101;
    call(&mut capture, "/run/queue");
    let found = found(&capture);
    assert!(
        found[0]
            .summary
            .ends_with("blocked for 8.0 s in openat(): FIFO /run/queue has no reader"),
        "{found:?}"
    );
    assert!(
        found[0].evidence.iter().any(
            |fact| fact.value == "openat(AT_FDCWD, \"/run/queue\", O_WRONLY|O_CREAT|O_CLOEXEC)"
        )
    );
}

#[test]
fn a_feed_of_the_kernel_and_its_own_threads_are_at_rest() {
    let mut feed = capture(Reason::FileRead, Some("read"), &["main", "read"], LONG);
    call(&mut feed, "/proc/kmsg");
    assert!(found(&feed).is_empty());
    call(&mut feed, "/mnt/fuse/x");
    assert_eq!(found(&feed).len(), 1);
    let worker = ["k:io_wqe_worker", "k:ret_from_fork"];
    let mut worker = capture(Reason::PageFault, None, &worker, LONG);
    assert!(found(&worker).is_empty(), "no fault in its stack");
    worker.threads[0].now.reason = Some(Reason::Uninterruptible);
    worker.threads[0].comm = "iou-wrk-7".into();
    assert!(found(&worker).is_empty());
    let fault = ["main", "k:asm_exc_page_fault", "k:handle_userfault"];
    assert_eq!(
        found(&capture(Reason::PageFault, None, &fault, LONG)).len(),
        1
    );
}
