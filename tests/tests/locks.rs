//! Futex contention: who waits for which lock for how long, who holds it, and doing what.

use remora_tests::compile::build_with;
use remora_tests::gate::{privileged, skip};
use remora_tests::remora::Remora;
use remora_tests::report::{Lock, LockStack, LockWaiter, Report};
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{OFF_CPU, SLACK};
use std::time::Duration;

/// The kinds of glibc's mutexes, and what the report calls them.
const KINDS: [(&str, &str); 6] = [
    ("normal", "glibc mutex"),
    ("recursive", "glibc mutex (recursive)"),
    ("errorcheck", "glibc mutex (error-checking)"),
    ("adaptive", "glibc mutex (adaptive)"),
    ("robust", "glibc mutex (robust)"),
    ("pi", "priority-inheriting lock"),
];

/// The specimen in a mode, with a mutex of a kind; `None` where this machine has no such mutex.
fn with_mutex(mode: &str, kind: &str) -> Option<Specimen> {
    let started = Start::mode(mode).argument("--extra").argument(kind).spawn();
    started.map_err(|why| skip(&why)).ok()
}

fn lock_of(report: &Report, tid: u32) -> &Lock {
    let waits = |lock: &&Lock| lock.waiters.iter().any(|waiter| waiter.tid == tid);
    let found = report.locks.iter().find(waits);
    found.unwrap_or_else(|| panic!("thread {tid} waits for none of {:#?}", report.locks))
}

fn time_in(stacks: &[LockStack], function: &str) -> Duration {
    let has = |stack: &&LockStack| stack.stack.iter().any(|frame| frame.starts_with(function));
    Duration::from_nanos(stacks.iter().filter(has).map(|stack| stack.total_ns).sum())
}

#[test]
fn waits_for_each_kind_of_mutex_are_those_of_the_waiters_own_clocks() {
    let Some(_turn) = privileged() else { return };
    for (kind, name) in KINDS {
        let Some(specimen) = with_mutex("locks", kind) else {
            continue;
        };
        let (run, report) = Remora::record(&[specimen.pid()], 2).capture();
        let (one, two) = (specimen.tid("waiter-1"), specimen.tid("waiter-2"));
        let holder = specimen.tid("holder");
        let lock = lock_of(&report, one);
        assert_eq!(lock.kind, name, "{lock:#?}");
        assert!(!lock.kind_inferred, "{lock:#?}");
        assert!(lock.place.ends_with(" data"), "{}", lock.place);

        let window = report.window();
        for (thread, tid) in [("waiter-1", one), ("waiter-2", two)] {
            let own = specimen.off_cpu("take_lock", thread, window);
            let waiter = lock.waiters.iter().find(|waiter| waiter.tid == tid);
            let waited = Duration::from_nanos(waiter.expect("both wait").total_ns);
            let queued = report.thread(tid).queued();
            // Its own clock counts the way to a CPU, too.
            let (low, high) = (waited, waited + queued);
            let slack = SLACK + own.mul_f64(OFF_CPU);
            assert!(
                low <= own + slack && high + slack >= own,
                "{kind} {thread}: {waited:?}, own {own:?}"
            );
            assert!(
                own > Duration::from_millis(500),
                "{kind} {thread}: no contention: {own:?}"
            );
        }
        let by_holder = lock.holders.iter().find(|held| held.tid == holder);
        let by_holder = by_holder.unwrap_or_else(|| panic!("{kind}: {lock:#?}"));
        assert!(
            by_holder.total_ns * 10 > lock.total_ns * 7,
            "{kind}: {lock:#?}"
        );

        let waits = time_in(&lock.waiter_stacks, "take_lock");
        assert!(
            waits.as_nanos() * 10 > u128::from(lock.total_ns) * 8,
            "{kind}: {waits:?} of {lock:#?}"
        );
        let (slept, ran) = (
            time_in(&lock.holder_stacks, "hold_sleep"),
            time_in(&lock.holder_stacks, "hold_spin"),
        );
        // Six of its seven parts of sleep, and all of its work, are inside of the lock.
        let held_by = report.thread(holder);
        let (asleep, on_cpu) = (held_by.blocked_for("sleep"), held_by.on_cpu());
        assert!(
            slept * 10 > asleep * 6 && ran * 10 > on_cpu * 4 && !ran.is_zero(),
            "{kind}: {slept:?} of {asleep:?}, {ran:?} of {on_cpu:?}"
        );
        let folded = run.folded("futex");
        let drawn = folded.sum(|line| line.reason().starts_with(name) && line.has("take_lock"));
        assert!(drawn > 0, "{kind}");
    }
}

#[test]
fn the_owner_of_a_lock_that_is_held_now_is_the_thread_that_holds_it() {
    let Some(_turn) = privileged() else { return };
    for (kind, name) in KINDS {
        let Some(specimen) = with_mutex("lock-stuck", kind) else {
            continue;
        };
        // It waits already: nothing happens that could be watched.
        std::thread::sleep(Duration::from_millis(200));
        let (_run, report) = Remora::record(&[specimen.pid()], 1).capture();
        let waiter = specimen.tid("waiter-1");
        let lock = lock_of(&report, waiter);
        assert_eq!((lock.kind.as_str(), lock.kind_inferred), (name, false));
        let owner = lock
            .owner
            .as_ref()
            .unwrap_or_else(|| panic!("{kind}: {lock:#?}"));
        assert_eq!(owner.tid, specimen.tid("holder"), "{kind}");
        assert_eq!(owner.certainty, "certain", "{kind}");
        assert!(
            lock.waiters
                .iter()
                .any(|found| found.tid == waiter && found.waits_now)
        );
        assert_eq!(lock.waits, 1);
        assert!(!lock.waiter_stacks.is_empty(), "{kind}: {lock:#?}");
    }
}

#[test]
fn a_futex_that_is_no_mutex_has_no_owner() {
    let Some(_turn) = privileged() else { return };
    for mode in ["futex-lock", "futex-condition"] {
        let specimen = Start::mode(mode).start();
        let (_run, report) = Remora::record(&[specimen.pid()], 1).capture();
        let lock = lock_of(&report, specimen.tid("main"));
        assert!(lock.kind_inferred, "{lock:#?}");
        let certain = lock
            .owner
            .as_ref()
            .filter(|owner| owner.certainty == "certain");
        assert!(certain.is_none(), "{lock:#?}");
    }
}

#[test]
fn a_mutex_of_rust_is_a_lock_by_the_form_of_its_waits() {
    let Some(_turn) = privileged() else { return };
    let program = match build_with(
        "rustc",
        "rust_mutex",
        &["-O", "--edition", "2024", "mutex.rs"],
    ) {
        Ok(program) => program,
        Err(why) => return skip(&why),
    };
    let specimen = Start::program(&program).start();
    let (_run, report) = Remora::record(&[specimen.pid()], 2).capture();
    let named = |name: &str| {
        let found = report.threads.iter().find(|thread| thread.comm == name);
        found.unwrap_or_else(|| panic!("no {name}")).tid
    };
    let lock = lock_of(&report, named("waiter-1"));
    assert_eq!(
        (lock.kind.as_str(), lock.kind_inferred),
        ("futex lock", true)
    );
    assert!(
        lock.waiters
            .iter()
            .any(|waiter| waiter.tid == named("waiter-2"))
    );
    assert!(
        lock.holders.is_empty(),
        "its memory names nobody: {lock:#?}"
    );
    let waker = lock.last_waker.as_ref().expect("somebody woke the waiters");
    assert_eq!(waker.tid, named("holder"));
    if let Some(owner) = &lock.owner {
        assert_eq!(owner.certainty, "inferred");
        let waits_itself = |waiter: &LockWaiter| waiter.tid == owner.tid && waiter.waits_now;
        assert!(!lock.waiters.iter().any(waits_itself), "{lock:#?}");
    }
}

#[test]
fn a_lock_that_processes_share_is_one_lock() {
    let Some(_turn) = privileged() else { return };
    let specimen = Start::mode("lock-shared").start();
    let (_run, report) = Remora::record(&[specimen.pid()], 2)
        .args(&["--children"])
        .capture();
    let children: Vec<u32> = report
        .targets
        .iter()
        .map(|target| target.pid)
        .filter(|pid| *pid != specimen.pid())
        .collect();
    assert_eq!(children.len(), 2, "{:#?}", report.targets);
    let lock = lock_of(&report, children[0]);
    assert!(
        lock.shared && lock.place.starts_with("shared memory"),
        "{lock:#?}"
    );
    let waits = |pid: u32| lock.waiters.iter().any(|waiter| waiter.tid == pid);
    assert!(waits(children[1]), "{lock:#?}");
    let holder = lock.holders.iter().max_by_key(|holder| holder.total_ns);
    assert_eq!(
        holder.map(|holder| holder.tid),
        Some(specimen.pid()),
        "{lock:#?}"
    );
}
