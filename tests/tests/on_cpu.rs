//! On the CPU: whose time, in which function; and the wait for a CPU.

use remora_tests::folded::Line;
use remora_tests::gate::privileged;
use remora_tests::remora::Remora;
use remora_tests::schedule::Recorder;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{
    FREQUENCY, ON_CPU, ON_CPU_AND_QUEUED, PRESSURE, RUN_QUEUE, SAME_FIGURE, SAMPLE_SHARE,
    SAMPLES_NAMED, assert_near, assert_share,
};
use remora_tests::{compile, gate};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use std::time::Duration;

#[test]
fn the_split_between_two_functions() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let pid = specimen.pid();
    let recorder = Recorder::start(vec![(pid, pid)]);
    let (run, report) = Remora::record(&[pid], 4).capture();
    let window = report.window();
    let hot = specimen.log.spent("burn_hot", None, window).cpu;
    let warm = specimen.log.spent("burn_warm", None, window).cpu;
    let cpu = run.folded("cpu");
    let named = |line: &Line| {
        ["burn_hot", "burn_warm"]
            .iter()
            .any(|name| line.has_chain(&["main", "run_burn", "outer_burn", name]))
    };
    assert_share(
        "named",
        cpu.share(|_| true, named),
        1.0,
        1.0 - SAMPLES_NAMED,
    );
    let expected = hot.as_secs_f64() / (hot + warm).as_secs_f64();
    let found = cpu.share(named, |line| line.has("burn_hot"));
    assert_share("burn_hot", found, expected, SAMPLE_SHARE);
    // The loop is an inlined function, and says so.
    let inlined = cpu.share(named, |line| line.has("spin_[i]"));
    assert_share("inlined spin", inlined, 1.0, 1.0 - SAMPLES_NAMED);

    let thread = report.thread(pid);
    let truth = recorder.finish().inside(pid, window);
    assert_near("on_cpu_ns", thread.on_cpu(), truth.run, ON_CPU);
    let ready = thread.on_cpu() + thread.queued();
    assert_near(
        "with the queue",
        ready,
        truth.run + truth.queued,
        ON_CPU_AND_QUEUED,
    );
    let sampled = Duration::from_secs_f64(cpu.sum(|line| line.has("main")) as f64 / 99.0);
    assert_near("samples at 99 Hz", sampled, thread.on_cpu(), ON_CPU);
    assert!(run.file("cpu.svg").contains("burn_hot"));
    report.assert_no_loss();
}

#[test]
fn a_frequency_that_was_asked_for() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let (run, report) = Remora::record(&[specimen.pid()], 2)
        .args(&["--freq", "499"])
        .capture();
    let samples = run.folded("cpu").sum(|_| true);
    let sampled = Duration::from_secs_f64(samples as f64 / 499.0);
    assert_near(
        "samples",
        sampled,
        report.thread(specimen.pid()).on_cpu(),
        FREQUENCY,
    );
}

#[test]
fn two_threads_on_one_cpu_wait_for_it() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("pinned");
    let pid = specimen.pid();
    let threads = ["pinned-a", "pinned-b"].map(|name| specimen.tid(name));
    let recorder = Recorder::start(threads.map(|tid| (pid, tid)).to_vec());
    let (run, report) = Remora::record(&[pid], 3).capture();
    let (window, schedule) = (report.window(), recorder.finish());
    let offcpu = run.folded("offcpu");
    for tid in threads {
        let truth = schedule.inside(tid, window);
        let thread = report.thread(tid);
        assert_near("on_cpu_ns", thread.on_cpu(), truth.run, ON_CPU);
        assert_near("run queue", thread.queued(), truth.queued, RUN_QUEUE);
        let ready = thread.on_cpu() + thread.queued();
        assert_near("both", ready, truth.run + truth.queued, ON_CPU_AND_QUEUED);
        // It never sleeps: whatever it waits for the CPU, it was preempted.
        let preempted = Duration::from_nanos(thread.run_queue.preempted_ns);
        assert_near("preempted", preempted, truth.queued, RUN_QUEUE);
        assert!(thread.run_queue.preemptions > 10, "{:?}", thread.run_queue);
        assert!(
            truth.queued > window.length().mul_f64(PRESSURE),
            "no pressure: {truth:?}"
        );
        let drawn = offcpu.sum(|line| line.is_of(tid) && line.reason() == "run queue");
        assert_near(
            "folded",
            Duration::from_nanos(drawn),
            thread.queued(),
            SAME_FIGURE,
        );
    }
}

#[test]
fn only_the_target_is_seen() {
    let Some(_turn) = privileged() else { return };
    let target = Specimen::start("burn");
    let other = Specimen::start("jit");
    let (run, report) = Remora::record(&[target.pid()], 2).capture();
    assert_eq!(report.targets.len(), 1);
    assert!(
        report
            .threads
            .iter()
            .all(|thread| thread.pid == target.pid()),
        "{report:#?}"
    );
    let cpu = run.folded("cpu");
    let foreign = |line: &Line| line.frames.iter().any(|frame| frame.contains("jit"));
    assert_eq!(
        cpu.sum(foreign),
        0,
        "of {}: {}",
        other.pid(),
        cpu.top(foreign)
    );
}

#[test]
fn code_made_at_run_time_has_the_name_of_its_map() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("jit");
    let (run, _report) = Remora::record(&[specimen.pid()], 2).capture();
    let cpu = run.folded("cpu");
    let chain = ["main", "run_jit", "outer_jit", "jitted_loop_[j]"];
    let share = cpu.share(|_| true, |line| line.has_chain(&chain));
    assert!(share >= SAMPLES_NAMED, "{share}: {}", cpu.top(|_| true));
}

#[test]
fn a_deleted_binary_keeps_its_names() {
    let Some(_turn) = privileged() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("gone");
    std::fs::copy(compile::specimen(), &copy).expect("a copy");
    let specimen = Start::mode("burn").at(&copy).start();
    std::fs::remove_file(&copy).expect("its own file");
    assert_burns_by_name(&specimen);
}

#[test]
fn a_replaced_binary_does_not_lend_its_names() {
    let Some(_turn) = privileged() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("replaced");
    std::fs::copy(compile::specimen(), &copy).expect("a copy");
    let specimen = Start::mode("burn").at(&copy).start();
    std::fs::remove_file(&copy).expect("its own file");
    // Same path, other program: names read by the path would be wrong ones.
    std::fs::copy(compile::after_exec(), &copy).expect("a copy");
    assert_burns_by_name(&specimen);
}

#[test]
fn a_binary_in_another_mount_namespace_has_names() {
    let Some(_turn) = privileged() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let inside = folder.path().join("only-inside");
    std::fs::create_dir(&inside).expect("own folder");
    // The binary lies on a file system that nobody else sees.
    let script = "mount -t tmpfs none \"$1\" && cp \"$2\" \"$1/hidden\" && shift 2 && exec \"$@\"";
    let (mount, hidden) = (inside.to_str().expect("printable"), inside.join("hidden"));
    let original = compile::specimen().to_str().expect("printable");
    let specimen = Start::mode("burn")
        .at(&hidden)
        .under(&[
            "unshare", "--mount", "sh", "-c", script, "sh", mount, original,
        ])
        .spawn();
    match specimen {
        Ok(specimen) => {
            assert!(
                !hidden.exists(),
                "the test is void: the binary is visible from outside"
            );
            assert_burns_by_name(&specimen);
        }
        Err(why) => gate::skip(&why),
    }
}

fn assert_burns_by_name(specimen: &Specimen) {
    let (run, _report) = Remora::record(&[specimen.pid()], 2).capture();
    let cpu = run.folded("cpu");
    let named = |line: &Line| {
        line.has_chain(&["outer_burn", "burn_hot"]) || line.has_chain(&["outer_burn", "burn_warm"])
    };
    let share = cpu.share(|_| true, named);
    assert!(share >= SAMPLES_NAMED, "{share}: {}", cpu.top(|_| true));
}

/// Moves of a thread to another CPU so far, as the scheduler counts them; `None` where the kernel has no such file.
fn migrations(tid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{tid}/task/{tid}/sched")).ok()?;
    let line = text
        .lines()
        .find(|line| line.starts_with("se.nr_migrations"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn moves_to_another_cpu_are_counted() {
    const MOVES: u64 = 10;
    let Some(_turn) = privileged() else { return };
    let allowed = sched_getaffinity(None).expect("our own CPUs");
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    let [one, other, ..] = cpus[..] else {
        return gate::skip("a thread cannot move: there is one CPU");
    };
    let specimen = Specimen::start("burn");
    let pid = specimen.pid();
    let before = migrations(pid);
    let mut remora = Remora::record(&[pid], 4).start();
    remora.until_recording();
    for turn in 0..MOVES {
        let mut set = CpuSet::new();
        set.set(if turn % 2 == 0 { one } else { other });
        let thread = Pid::from_raw(pid.cast_signed());
        sched_setaffinity(thread, &set).expect("a CPU that is there");
        std::thread::sleep(Duration::from_millis(50));
    }
    let run = remora.finish();
    run.assert_code(0);
    let report = run.report();
    let counted = report
        .thread(pid)
        .migrations
        .expect("the kernel counts them");
    // The first one may find it there already.
    assert!(counted >= MOVES - 1, "{counted} of {MOVES}");
    if let (Some(before), Some(after)) = (before, migrations(pid)) {
        assert!(counted <= after - before, "{counted} of {}", after - before);
    }
}
