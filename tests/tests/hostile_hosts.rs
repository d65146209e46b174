//! Hosts and processes that make it hard to look. In each, `triage`, `record`, `doctor` and `--tasks` end in time (beside
//! what fills a CPU `record --heap` too: taking its probes out waits for all CPUs), say what they could not see, and leave
//! nothing behind; a SIGTERM yields a report, a second one ends the process. See `remora_tests::hostile`;
//! `REMORA_HOSTILE_ROUNDS=20 cargo xtask test hostile` goes through each cell twenty times.

use remora_tests::gate::{privileged, skip};
use remora_tests::hostile::group::Group;
use remora_tests::hostile::matrix::{Cell, assert_none, go_through, rounds};
use remora_tests::hostile::mount::Silence;
use remora_tests::hostile::setting::{REAL_TIME_RUNTIME, Setting};
use remora_tests::hostile::target::{
    asyncio, asyncio_on_mount, hostile, hostile_in, hostile_on_mount, hostile_with_file_on_mount,
};
use rustix::process::Signal;
use rustix::thread::{CpuSet, sched_getaffinity};
use std::time::Duration;

/// Until a target is where it was sent.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// The first and the last CPU: what is particular is the one that remora's own threads would like to run on, and one
/// that they would not.
fn cpus() -> Vec<usize> {
    let allowed = sched_getaffinity(None).expect("of this thread");
    let mut all: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    if all.len() > 2 {
        all.drain(1..all.len() - 1);
    }
    all
}

/// What the machine cannot do is no fault: says so, and gives nothing.
fn or_skip<T>(made: Result<T, String>) -> Option<T> {
    made.map_err(|why| skip(&why)).ok()
}

/// Beside something that fills a CPU, a target that can be seen whole.
fn beside(mode: &str, with: impl Fn() -> Option<Setting>) {
    let mut faults = Vec::new();
    for cpu in cpus() {
        let Some(target) = or_skip(asyncio()) else {
            return;
        };
        let setting = with();
        let Some(filler) = or_skip(hostile(mode, &cpu.to_string())) else {
            return;
        };
        let cell = Cell::of(&format!("{mode} on CPU {cpu}"), target.pid())
            .python()
            .heap();
        faults.extend(go_through((filler, setting, target), &cell));
    }
    assert_none(&faults);
}

#[test]
fn hostile_real_time_thread_that_never_gives_its_cpu_back() {
    let Some(_turn) = privileged() else { return };
    // Where the machine keeps its throttling, it is a little less hostile.
    beside("spin", || or_skip(Setting::change(REAL_TIME_RUNTIME, "-1")));
}

#[test]
fn hostile_threads_that_hand_a_turn_to_and_fro_on_one_cpu() {
    let Some(_turn) = privileged() else { return };
    beside("ping-pong", || None);
}

#[test]
fn hostile_load_of_twenty_processes_that_compute() {
    let Some(_turn) = privileged() else { return };
    let Some(target) = or_skip(asyncio()) else {
        return;
    };
    let Some(load) = or_skip(hostile("load", "20")) else {
        return;
    };
    // On two CPUs it has a tenth of one. That much more for grace periods, which wait for all to be switched.
    let cell = Cell::of("load 20", target.pid()).python().slower(5);
    assert_none(&go_through((load, target), &cell));
}

/// A target whose files lie on a mount that falls silent.
fn on_a_dead_mount(how: Silence, is_python: bool) {
    let made = if is_python {
        asyncio_on_mount()
    } else {
        hostile_on_mount("works")
    };
    let Some((mut mount, target)) = or_skip(made) else {
        return;
    };
    mount.falls_silent(how);
    let what = if is_python { "Python" } else { "C" };
    let cell = Cell::of(&format!("{what} on a mount, {how:?}"), target.pid()).has_gap();
    let cell = if is_python { cell.python() } else { cell };
    assert_none(&go_through((mount, target), &cell));
}

#[test]
fn hostile_mount_of_a_program_and_its_library_whose_server_is_stopped() {
    let Some(_turn) = privileged() else { return };
    on_a_dead_mount(Silence::Stopped, false);
}

#[test]
fn hostile_mount_of_a_program_and_its_library_that_takes_requests_and_answers_none() {
    let Some(_turn) = privileged() else { return };
    on_a_dead_mount(Silence::Taken, false);
}

#[test]
fn hostile_mount_of_an_interpreter_whose_server_is_stopped() {
    let Some(_turn) = privileged() else { return };
    on_a_dead_mount(Silence::Stopped, true);
}

#[test]
fn hostile_mount_of_an_interpreter_that_takes_requests_and_answers_none() {
    let Some(_turn) = privileged() else { return };
    on_a_dead_mount(Silence::Taken, true);
}

/// A target that does something with a file on a dead mount, at the word.
fn with_a_dead_file(mode: &str, more: impl FnOnce(Cell) -> Cell) -> Vec<String> {
    let Some((mut mount, target)) = or_skip(hostile_with_file_on_mount(mode)) else {
        return Vec::new();
    };
    mount.falls_silent(Silence::Taken);
    target.go();
    std::thread::sleep(UNDER_WAY);
    let cell = more(Cell::of(
        &format!("{mode} a file on a dead mount"),
        target.pid(),
    ));
    go_through((mount, target), &cell)
}

#[test]
fn hostile_process_that_reads_from_a_dead_mount() {
    let Some(_turn) = privileged() else { return };
    assert_none(&with_a_dead_file("reads", |cell| cell));
}

#[test]
fn hostile_process_whose_memory_is_locked() {
    let Some(_turn) = privileged() else { return };
    assert_none(&with_a_dead_file("locks", Cell::has_gap));
}

#[test]
fn hostile_neighbour_whose_memory_is_locked() {
    let Some(_turn) = privileged() else { return };
    let Some((mut mount, neighbour)) = or_skip(hostile_with_file_on_mount("locks")) else {
        return;
    };
    let Some(target) = or_skip(asyncio()) else {
        return;
    };
    mount.falls_silent(Silence::Taken);
    neighbour.go();
    std::thread::sleep(UNDER_WAY);
    // Both map the same libc: for a probe in it the kernel would wait for the neighbour, and every fork of the host for that.
    let cell = Cell::of("beside a process whose memory is locked", target.pid())
        .python()
        .no_heap();
    assert_none(&go_through((mount, neighbour, target), &cell));
}

#[test]
fn hostile_process_that_waits_for_its_vfork() {
    let Some(_turn) = privileged() else { return };
    let Some(target) = or_skip(hostile("vforks", "")) else {
        return;
    };
    let pid = target.pid();
    assert_none(&go_through(target, &Cell::of("vfork", pid)));
}

#[test]
fn hostile_process_that_maps_and_unmaps_without_end() {
    let Some(_turn) = privileged() else { return };
    let Some(target) = or_skip(hostile("maps", "")) else {
        return;
    };
    let pid = target.pid();
    assert_none(&go_through(target, &Cell::of("maps and unmaps", pid)));
}

#[test]
fn hostile_process_that_is_stopped() {
    let Some(_turn) = privileged() else { return };
    let Some(target) = or_skip(asyncio()) else {
        return;
    };
    target.signal(Signal::STOP);
    let cell = Cell::of("stopped", target.pid()).python().finds("stopped");
    assert_none(&go_through(target, &cell));
}

/// A target in a frozen group.
fn frozen(group: Result<Group, String>, file: &str, word: &str) {
    let Some(group) = or_skip(group) else { return };
    let Some(target) = or_skip(asyncio()) else {
        return;
    };
    group.take(target.pid());
    if or_skip(group.set(file, word)).is_none() {
        return;
    }
    let cell = Cell::of(&format!("frozen by {file}"), target.pid());
    let cell = cell.python().finds("stopped");
    // The group first: what is frozen does not end.
    assert_none(&go_through((group, target), &cell));
}

#[test]
fn hostile_process_that_is_frozen() {
    let Some(_turn) = privileged() else { return };
    frozen(Group::version_2(), "cgroup.freeze", "1");
}

#[test]
fn hostile_process_that_the_old_freezer_holds() {
    let Some(_turn) = privileged() else { return };
    frozen(Group::version_1("freezer"), "freezer.state", "FROZEN");
}

#[test]
fn hostile_limit_of_threads() {
    let Some(_turn) = privileged() else { return };
    let limits = if rounds() > 1 {
        vec![1, 2, 3, 4, 5, 6, 7, 8]
    } else {
        vec![1, 2, 4, 5]
    };
    let mut faults = Vec::new();
    for limit in limits {
        let Some(group) = or_skip(Group::with("pids")) else {
            return;
        };
        let set = or_skip(group.set("pids.max", &limit.to_string()));
        let (Some(target), Some(())) = (or_skip(asyncio()), set) else {
            return;
        };
        let cell = Cell::of(&format!("{limit} threads"), target.pid())
            .python()
            .under(group.prefix())
            .may_refuse();
        // With one or two it has to do without something.
        let cell = if limit < 3 { cell.has_gap() } else { cell };
        faults.extend(go_through((target, group), &cell));
    }
    assert_none(&faults);
}

#[test]
fn hostile_limit_of_memory() {
    let Some(_turn) = privileged() else { return };
    let Some(group) = or_skip(Group::with("memory")) else {
        return;
    };
    let limit = if group.is_v2() {
        "memory.max"
    } else {
        "memory.limit_in_bytes"
    };
    let set = or_skip(group.set(limit, "200M"));
    let (Some(target), Some(())) = (or_skip(asyncio()), set) else {
        return;
    };
    // Beside it, in the same group, one that uses its share; two captures at a time have the rest.
    let Some(hog) = or_skip(hostile_in(&group, "hog", "40")) else {
        return;
    };
    let cell = Cell::of("200 MiB of memory", target.pid())
        .python()
        .under(group.prefix());
    assert_none(&go_through((hog, target, group), &cell));
}
