//! Lines of hand-made event loops and locks.

use super::super::{Page, RenderOptions};
use super::*;
use remora_model::fixture::{Builder, event_loop, lock, ms};
use remora_model::{Histogram, Holder, Owner, Waiter};

fn drawn(capture: &Capture, section: impl Fn(&mut Page, &Capture)) -> String {
    let mut page = Page {
        options: RenderOptions {
            width: 160,
            ..RenderOptions::default()
        },
        text: String::new(),
    };
    section(&mut page, capture);
    page.text
}

#[test]
fn loops_are_told_by_how_late_they_were() {
    let mut builder = Builder::new(7, "server");
    let estimated = builder.thread(7, 8, "worker");
    let stuck = builder.thread(7, 9, "stuck\u{1b}[31m");
    // Buckets 100 and 200 of the kernel's histogram.
    let mut counts = [0; 201];
    (counts[100], counts[200]) = (90, 10);
    let busy = ThreadLoop {
        iterations: 100,
        longest: ms(300),
        late: 10,
        lengths: Histogram::between(&[0; 201], &counts),
        ..event_loop(0)
    };
    let estimated = ThreadLoop {
        iterations: 12_345,
        longest: ms(20),
        exact: false,
        ..event_loop(estimated)
    };
    let stuck = ThreadLoop {
        iterations: 1,
        longest: ms(1),
        busy_now: Some(ms(8_000)),
        ..event_loop(stuck)
    };
    builder.0.loops = vec![estimated, stuck, busy, event_loop(0)];
    insta::assert_snapshot!(drawn(&builder.finish(), loops));
}

#[test]
fn a_capture_without_loops_or_locks_says_nothing_of_them() {
    let mut builder = Builder::new(7, "server");
    builder.0.loops = vec![event_loop(0)];
    // Less than a thousandth of the capture.
    builder.0.locks = vec![Lock {
        total: ms(29),
        ..lock(7, 0x1000)
    }];
    let capture = builder.finish();
    assert_eq!(drawn(&capture, loops) + &drawn(&capture, locks), "");
}

#[test]
fn no_more_loops_than_fit_are_named() {
    let mut builder = Builder::new(7, "server");
    let short = ThreadLoop {
        iterations: 1,
        ..event_loop(0)
    };
    builder.0.loops = vec![short; NAMED + 2];
    let text = drawn(&builder.finish(), loops);
    assert_eq!(text.lines().count(), NAMED + 3, "{text}");
    assert!(
        text.ends_with("  and 2 more, none with more late iterations\n"),
        "{text}"
    );
}

fn owner(comm: &str, from: OwnerFrom) -> Option<Owner> {
    Some(Owner {
        tid: 8,
        comm: comm.into(),
        from,
    })
}

#[test]
fn locks_are_told_by_what_they_cost_and_by_who_holds_them() {
    let mut builder = Builder::new(7, "server");
    let base = |address: u64, total: Duration| Lock {
        waits: 3,
        total,
        longest: ms(70),
        ..lock(7, address)
    };
    let waiter = Waiter {
        thread: 0,
        waits: 3,
        total: ms(900),
        now: true,
    };
    builder.0.locks = vec![
        Lock {
            holders: vec![Holder {
                tid: 8,
                comm: "holder".into(),
                waits: 2,
                total: ms(300),
                longest: ms(200),
            }],
            ..base(0x1000, ms(400))
        },
        Lock {
            waiters: vec![waiter],
            owner: owner("holder\n", OwnerFrom::Memory),
            ..base(0x2000, ms(900))
        },
        Lock {
            kind: LockKind::FutexLock,
            kind_inferred: true,
            owner: owner("holder", OwnerFrom::LastWaker),
            ..base(0x3000, ms(500))
        },
        Lock {
            kind: LockKind::Event,
            ..base(0x4000, ms(9_000))
        },
        Lock {
            kind: LockKind::PythonGil,
            ..base(0x5000, ms(30))
        },
    ];
    insta::assert_snapshot!(drawn(&builder.finish(), locks));
}
