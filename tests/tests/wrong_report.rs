//! The yardsticks themselves: a right report passes, and each way to be wrong is found.

use remora_tests::folded::Line;
use remora_tests::gate::privileged;
use remora_tests::report::{Blocked, Report};
use remora_tests::specimen::Specimen;
use remora_tests::waits::Waits;

/// Ways to be wrong, each in words and as what it does to one entry.
type Mistakes<T, const N: usize> = [(&'static str, fn(&mut T)); N];

/// A specimen's main thread that waits in a pipe, captured for real.
fn right() -> Waits {
    let waits = Waits::watch(&["pipe-read"], &["--idle"]);
    waits.assert_right();
    waits
}

fn specimen(waits: &Waits) -> &Specimen {
    &waits.specimens[0].1
}

/// Its waits in the report, to be made wrong.
fn blocked(report: &mut Report, tid: u32) -> &mut Vec<Blocked> {
    let mut threads = report.threads.iter_mut();
    let thread = threads.find(|thread| thread.tid == tid);
    &mut thread.expect("it was found before").blocked
}

#[test]
fn a_wrong_reason_or_time_is_found() {
    let Some(_turn) = privileged() else { return };
    let mut waits = right();
    let (mode, tid) = (waits.specimens[0].0, specimen(&waits).pid());
    let true_blocked = blocked(&mut waits.report, tid).clone();
    let wrong: Mistakes<Blocked, 4> = [
        ("another reason", |one| one.reason = "futex".into()),
        ("a tenth is missing", |one| {
            one.total_ns = one.total_ns / 100 * 89;
        }),
        ("a tenth too much", |one| {
            one.total_ns = one.total_ns / 100 * 110;
        }),
        ("none", |one| one.total_ns = 0),
    ];
    for (what, make_wrong) in wrong {
        for one in blocked(&mut waits.report, tid) {
            make_wrong(one);
        }
        let found = waits.check_time(mode, specimen(&waits));
        assert!(found.is_err(), "not found: {what}");
        blocked(&mut waits.report, tid).clone_from(&true_blocked);
    }
    // A part of the time under another reason, beside the right one.
    let mut stray = true_blocked[0].clone();
    stray.reason = "disk".into();
    stray.total_ns /= 20;
    blocked(&mut waits.report, tid).push(stray);
    let found = waits.check_time(mode, specimen(&waits));
    assert!(found.is_err(), "not found: a twentieth as disk");
}

#[test]
fn a_wrong_stack_is_found() {
    let Some(_turn) = privileged() else { return };
    let mut waits = right();
    let mode = waits.specimens[0].0;
    let true_lines = waits.offcpu.clone();
    let wrong: Mistakes<Line, 4> = [
        ("another function", |line| {
            rename(line, "wait_in_read_pipe", "wait_in_nanosleep");
        }),
        ("another caller", |line| {
            rename(line, "outer_read_pipe", "outer_nanosleep");
        }),
        ("a caller is missing", |line| {
            line.frames.retain(|frame| frame != "outer_read_pipe");
        }),
        ("another reason", |line| {
            rename(line, "pipe read", "pipe write");
        }),
    ];
    for (what, make_wrong) in wrong {
        waits.offcpu.0.iter_mut().for_each(make_wrong);
        let found = waits.check_stacks(mode, specimen(&waits));
        assert!(found.is_err(), "not found: {what}");
        waits.offcpu.clone_from(&true_lines);
    }
    let tid = specimen(&waits).pid().to_string();
    let stranger = |line: &mut Line| {
        for frame in &mut line.frames {
            *frame = frame.replace(&tid, "1");
        }
    };
    waits.offcpu.0.iter_mut().for_each(stranger);
    let found = waits.check_stacks(mode, specimen(&waits));
    assert!(found.is_err(), "not found: another thread");
}

fn rename(line: &mut Line, from: &str, to: &str) {
    for frame in line
        .frames
        .iter_mut()
        .filter(|frame| *frame == from || frame.ends_with(&format!("] {from}")))
    {
        to.clone_into(frame);
    }
}
