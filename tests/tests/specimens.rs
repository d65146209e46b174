//! The specimens themselves, without remora and without root: each must do what the other tests
//! take for granted, by the word of `/proc`.

use remora_tests::modes::{WAIT_MODES, WaitMode};
use remora_tests::specimen::{Specimen, Start};
use remora_tests::truth::{Window, now_ns};
use remora_tests::{compile, gate, proc};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use syscalls::Sysno;

const LOOKS: u32 = 40;

/// How often each system call (or none) was seen in a thread that was asleep.
fn look(pid: u32, tid: u32) -> BTreeMap<String, u32> {
    let mut seen = BTreeMap::new();
    for _ in 0..LOOKS {
        std::thread::sleep(Duration::from_millis(7));
        let name = match proc::blocked_in(pid, tid) {
            None => continue,
            Some(-1) => "no system call".to_owned(),
            Some(number) => Sysno::new(number as usize)
                .map_or_else(|| number.to_string(), |call| call.name().to_owned()),
        };
        *seen.entry(name).or_default() += 1;
    }
    seen
}

/// Waits until it is so: on a busy machine that takes longer than on an idle one.
fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "never seen: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn window_of(length: Duration) -> Window {
    let end_ns = now_ns();
    Window {
        start_ns: end_ns - length.as_nanos() as u64,
        end_ns,
    }
}

fn check(mode: &WaitMode) -> Result<(), String> {
    let specimen = Start::mode(mode.mode).spawn()?;
    let main = specimen.tid("main");
    let start = Instant::now();
    let seen = look(specimen.pid(), main);
    let window = window_of(start.elapsed());
    let spent = specimen.log.spent(mode.function, Some(main), window);

    let expected = |name: &str| match mode.syscalls {
        [] => name == "no system call",
        names => names.contains(&name),
    };
    let right: u32 = seen
        .iter()
        .filter(|(name, _)| expected(name))
        .map(|(_, count)| count)
        .sum();
    let wrong: u32 = seen.values().sum::<u32>() - right;
    // Where it is short, the file system may hold it elsewhere for longer: between two waits.
    assert!(mode.short || wrong <= LOOKS / 20, "{}: {seen:?}", mode.mode);
    assert!(
        mode.short || right >= LOOKS * 8 / 10,
        "{}: {seen:?}",
        mode.mode
    );
    assert!(spent.count >= 1, "{}: {spent:?}", mode.mode);
    if !mode.short {
        let share = spent.off_cpu().as_secs_f64() / window.length().as_secs_f64();
        // Nearly all on a quiet machine; between two waits it may have to wait for a CPU.
        assert!(
            share > 0.6,
            "{}: waits only {share:.2} of its time: {spent:?}",
            mode.mode
        );
    }
    let totals = specimen.stop();
    assert!(
        totals[mode.function].count >= spent.count,
        "{}: {totals:?}",
        mode.mode
    );
    Ok(())
}

#[test]
fn each_wait_mode_waits_in_its_system_call_and_accounts_for_it() {
    std::thread::scope(|scope| {
        let checks: Vec<_> = WAIT_MODES
            .iter()
            .map(|mode| (mode, scope.spawn(|| check(mode))))
            .collect();
        for (mode, check) in checks {
            match check.join() {
                Ok(Ok(())) => {}
                Ok(Err(why)) => gate::skip(&why),
                Err(panic) => panic!("{}: {panic:?}", mode.mode),
            }
        }
    });
}

#[test]
fn burn_splits_its_cpu_time_seventy_to_thirty() {
    let specimen = Specimen::start("burn");
    std::thread::sleep(Duration::from_millis(600));
    let totals = specimen.stop();
    let (hot, warm) = (
        totals["burn_hot"].cpu_ns as f64,
        totals["burn_warm"].cpu_ns as f64,
    );
    let share = hot / (hot + warm);
    assert!((0.65..0.75).contains(&share), "{totals:?}");
}

#[test]
fn pinned_threads_share_one_cpu() {
    let specimen = Specimen::start("pinned");
    let (a, b) = (specimen.tid("pinned-a"), specimen.tid("pinned-b"));
    let read = |tid| proc::schedstat(specimen.pid(), tid).expect("it lives");
    for tid in [a, b] {
        let before = read(tid).queued;
        let waited = || read(tid).queued.checked_sub(before).unwrap() > Duration::from_millis(150);
        eventually("150 ms without the CPU", waited);
    }
}

#[test]
fn short_sleeps_are_short_and_many() {
    let specimen = Specimen::start("short-sleep");
    let all = Window {
        start_ns: 0,
        end_ns: u64::MAX,
    };
    let count = || specimen.log.spent("wait_in_short_sleep", None, all).count;
    eventually("200 sleeps", || count() > 200);
    let total = specimen.stop()["wait_in_short_sleep"];
    assert!(total.total_ns / total.count < 1_000_000, "{total:?}");
}

#[test]
fn never_waits_in_one_read_that_does_not_end() {
    let specimen = Specimen::start("never");
    std::thread::sleep(Duration::from_millis(100));
    let total = specimen.stop()["wait_in_read_never"];
    assert_eq!((total.count, total.open), (1, 1));
}

#[test]
fn many_threads_are_five_hundred() {
    let specimen = Specimen::start("many-threads");
    // The first thread and the keeper beside them.
    assert_eq!(proc::tids(specimen.pid()).len(), 502);
    eventually("500 that sleep", || {
        specimen.log.tids("wait_in_many").len() == 500
    });
}

#[test]
fn late_threads_are_born_after_it_is_ready() {
    let specimen = Specimen::start("late-threads");
    eventually("three births", || {
        specimen.log.tids("wait_in_late").len() >= 3
    });
    let born = specimen.log.tids("wait_in_late");
    assert!(
        specimen
            .ready()
            .tids
            .values()
            .all(|tid| !born.contains(tid))
    );
}

#[test]
fn fork_burns_in_children_only() {
    let specimen = Specimen::start("fork");
    eventually("two children", || {
        specimen.log.tids("burn_in_child").len() >= 2
    });
    let children = specimen.log.tids("burn_in_child");
    assert!(!children.contains(&specimen.pid()));
}

/// Whether an interval in this function has ended, so that its CPU time is known.
fn ended(specimen: &Specimen, function: &str) -> bool {
    let all = Window {
        start_ns: 0,
        end_ns: u64::MAX,
    };
    !specimen.log.spent(function, None, all).cpu.is_zero()
}

#[test]
fn exec_becomes_another_program_under_the_same_pid() {
    for mode in ["exec", "exec-thread"] {
        let after = compile::after_exec().to_str().expect("a printable path");
        let mut specimen = Start::mode(mode)
            .argument("--extra")
            .argument(after)
            .start();
        eventually("it burns", || ended(&specimen, "burn_before_exec"));
        specimen.go();
        let ready = specimen.next_ready().expect("it becomes ready again");
        assert_eq!(ready.pid, specimen.pid(), "{mode}");
        eventually("it burns", || ended(&specimen, "burn_after_exec"));
        let totals = specimen.stop();
        assert!(totals["burn_before_exec"].cpu_ns > 0, "{mode}: {totals:?}");
        assert!(totals["burn_after_exec"].cpu_ns > 0, "{mode}: {totals:?}");
    }
}

#[test]
fn exit_early_ends_when_told() {
    let mut specimen = Specimen::start("exit-early");
    assert_eq!(proc::state(specimen.pid(), specimen.pid()), Some('R'));
    specimen.go();
    assert_eq!(specimen.wait(), Some(0));
}

#[test]
fn jit_runs_code_that_only_its_map_names() {
    let specimen = Specimen::start("jit");
    let map = std::fs::read_to_string(format!("/tmp/perf-{}.map", specimen.pid()));
    assert!(map.expect("it wrote its map").contains("jitted_loop"));
    eventually("it runs", || ended(&specimen, "jitted_loop"));
    assert!(specimen.stop()["jitted_loop"].cpu_ns > 0);
}

#[test]
fn compat32_is_a_32_bit_program_that_sleeps() {
    let program = match compile::compat32() {
        Ok(program) => program,
        Err(why) => return gate::skip(&why),
    };
    let specimen = Start::program(program).start();
    let header = std::fs::read(program).expect("it is there");
    assert_eq!(header[4], 1, "ELFCLASS32");
    let seen = look(specimen.pid(), specimen.pid());
    // 162 is nanosleep in the table of 32-bit x86, something else in that of x86-64.
    let sleeping = seen.get(Sysno::new(162).map_or("162", |call| call.name()));
    assert!(
        sleeping.is_some_and(|count| *count > LOOKS * 8 / 10),
        "{seen:?}"
    );
}

#[test]
fn a_dropped_specimen_is_gone() {
    let specimen = Specimen::start("nanosleep");
    let pid = specimen.pid();
    drop(specimen);
    assert_eq!(proc::state(pid, pid), None);
}
