//! Targets that come and go: threads, children, exec, exit.

use remora_tests::background::Background;
use remora_tests::compile;
use remora_tests::folded::Line;
use remora_tests::gate::{privileged, skip};
use remora_tests::proc::status_number;
use remora_tests::remora::{Remora, Running};
use remora_tests::report::Report;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{
    AT_ONCE, OFF_CPU, ON_CPU, ON_CPU_AND_QUEUED, SAMPLE_SHARE, SAMPLES_NAMED,
    SAMPLES_NAMED_WITH_STARTS, assert_near, assert_share,
};
use std::process::Command;
use std::time::{Duration, Instant};

fn recording(specimen: &Specimen, seconds: u32, arguments: &[&str]) -> Running {
    let mut running = Remora::record(&[specimen.pid()], seconds)
        .args(arguments)
        .start();
    running.until_recording();
    running
}

#[test]
fn children_are_followed_when_asked() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("fork");
    let (run, report) = Remora::record(&[specimen.pid()], 3)
        .args(&["--children"])
        .capture();
    let window = report.window();
    let children = report
        .threads
        .iter()
        .filter(|thread| thread.pid != specimen.pid());
    let seen: Duration = children.clone().map(|thread| thread.on_cpu()).sum();
    let truth = specimen.log.spent("burn_in_child", None, window).cpu;
    assert_near("CPU time of the children", seen, truth, ON_CPU);
    let born = specimen.log.tids("burn_in_child");
    assert!(children.clone().count() >= 10, "{:#?}", report.targets);
    assert!(
        children.clone().all(|thread| born.contains(&thread.tid)),
        "{born:?} {report:#?}"
    );
    let cpu = run.folded("cpu");
    let share = cpu.share(
        |_| true,
        |line| line.has_chain(&["run_child", "burn_in_child"]),
    );
    assert!(
        share >= SAMPLES_NAMED_WITH_STARTS,
        "{share}: {}",
        cpu.top(|_| true)
    );
}

#[test]
fn children_are_left_alone_otherwise() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("fork");
    let (run, report) = Remora::record(&[specimen.pid()], 2).capture();
    assert!(
        report
            .threads
            .iter()
            .all(|thread| thread.pid == specimen.pid()),
        "{report:#?}"
    );
    assert_eq!(run.folded("cpu").sum(|line| line.has("burn_in_child")), 0);
}

#[test]
fn what_a_process_starts_that_is_watched_for_a_targets_sake_is_not_followed() {
    let Some(_turn) = privileged() else { return };
    // It waits for the shell at the other end of its input, which starts a program again and again.
    let line = "{ for i in $(seq 400); do /bin/true; sleep 0.05; done; } | cat > /dev/null";
    let mut shell = Command::new("sh");
    let shell = Background::start(shell.args(["-c", line])).expect("a shell");
    std::thread::sleep(Duration::from_millis(500));
    let cat = pids_by_name("cat").into_iter();
    let cat = cat.filter(|pid| status_number(*pid, "PPid") == Some(shell.pid().into()));
    let [cat] = cat.collect::<Vec<_>>()[..] else {
        panic!("the shell has one cat")
    };
    let run = Remora::with(&["triage", "--json", "--children", "--pid", &cat.to_string()]).run();
    let said: serde_json::Value = serde_json::from_str(&run.stdout).expect("a document");
    let targets = said["targets"].as_array().expect("targets");
    let looped = targets.iter().any(|it| it["comm"] == "sh");
    assert!(looped, "the shell is watched for its sake: {targets:#?}");
    for target in targets.iter().filter(|it| it["pid"] != cat) {
        assert!(!target["related"].is_null(), "{target:#}");
        assert!(target["parent_pid"].is_null(), "{target:#}");
    }
}

#[test]
fn threads_born_later_are_seen_for_their_life() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("late-threads");
    let (_run, report) = Remora::record(&[specimen.pid()], 3)
        .args(&["--idle"])
        .capture();
    let window = report.window();
    let late: Vec<_> = report
        .threads
        .iter()
        .filter(|thread| thread.comm == "late")
        .collect();
    assert!(late.len() >= 20, "{} of about 30: {report:#?}", late.len());
    let seen: Duration = late.iter().map(|thread| thread.blocked_for("sleep")).sum();
    assert_near(
        "sleep",
        seen,
        specimen.log.spent("wait_in_late", None, window).off_cpu(),
        OFF_CPU,
    );
    let born_inside = late
        .iter()
        .filter(|thread| thread.observed_ns < 400_000_000)
        .count();
    assert!(
        born_inside >= late.len() - 1,
        "a life of 250 ms was observed for longer: {late:#?}"
    );
}

#[test]
fn five_hundred_threads() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("many-threads");
    let (_run, report) = Remora::record(&[specimen.pid()], 3)
        .args(&["--idle"])
        .capture();
    let window = report.window();
    assert_eq!(report.threads.len(), 502);
    for tid in specimen.log.tids("wait_in_many") {
        let truth = specimen
            .log
            .spent("wait_in_many", Some(tid), window)
            .off_cpu();
        let thread = report.thread(tid);
        assert_near(
            "sleep",
            thread.blocked_for("sleep") + thread.queued(),
            truth,
            OFF_CPU,
        );
    }
    report.assert_no_loss();
}

#[test]
fn exec_changes_program_and_names_in_the_middle() {
    let Some(_turn) = privileged() else { return };
    for mode in ["exec", "exec-thread"] {
        exec_in_the_middle(mode);
    }
}

fn exec_in_the_middle(mode: &str) {
    let after = compile::after_exec().to_str().expect("a printable path");
    let mut specimen = Start::mode(mode)
        .argument("--extra")
        .argument(after)
        .start();
    let running = recording(&specimen, 3, &[]);
    std::thread::sleep(Duration::from_millis(800));
    specimen.go();
    let ready = specimen.next_ready().expect("it becomes the other program");
    assert_eq!(ready.pid, specimen.pid());
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    let window = report.window();
    let before = specimen.log.spent("burn_before_exec", None, window).cpu;
    let after = specimen.log.spent("burn_after_exec", None, window).cpu;
    let cpu = run.folded("cpu");
    let is_before = |line: &Line| line.has("burn_before_exec");
    let is_after = |line: &Line| line.has("burn_after_exec");
    let named = cpu.share(|_| true, |line| is_before(line) || is_after(line));
    assert!(
        named >= SAMPLES_NAMED_WITH_STARTS,
        "{mode}: {named}: {}",
        cpu.top(|_| true)
    );
    let expected = before.as_secs_f64() / (before + after).as_secs_f64();
    let found = cpu.share(|line| is_before(line) || is_after(line), is_before);
    assert_share(mode, found, expected, SAMPLE_SHARE);
    assert!(
        report
            .targets
            .iter()
            .any(|target| target.exe.ends_with("after_exec")),
        "{report:#?}"
    );
}

#[test]
fn an_early_exit_ends_the_capture_with_its_report() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("exit-early");
    let running = recording(&specimen, 30, &[]);
    std::thread::sleep(Duration::from_millis(900));
    specimen.go();
    let gone = Instant::now();
    let run = running.finish();
    run.assert_code(0);
    assert!(
        gone.elapsed() < AT_ONCE,
        "it waited for a process that was gone"
    );
    let report = run.report();
    assert_eq!(report.capture.end, "targets_exited");
    let window = report.window();
    let hot = specimen.log.spent("burn_hot", None, window).cpu;
    let warm = specimen.log.spent("burn_warm", None, window).cpu;
    assert_near(
        "on_cpu_ns",
        report.thread(specimen.pid()).on_cpu(),
        hot + warm,
        ON_CPU,
    );
    assert_eq!(report.thread(specimen.pid()).now.state, "exited");
    // The maps and files of a process that is gone had to be read before.
    let cpu = run.folded("cpu");
    let share = cpu.share(
        |_| true,
        |line| line.has("burn_hot") || line.has("burn_warm"),
    );
    assert!(share >= SAMPLES_NAMED, "{share}: {}", cpu.top(|_| true));
}

#[test]
fn several_pids_and_one_that_exits_among_them() {
    let Some(_turn) = privileged() else { return };
    let (stays, goes) = (Specimen::start("burn"), Specimen::start("exit-early"));
    let mut running = Remora::record(&[stays.pid(), goes.pid()], 3).start();
    running.until_recording();
    goes.go();
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    assert_eq!(report.targets.len(), 2);
    let seen = |pid| report.thread(pid).on_cpu();
    let length = report.window().length();
    assert!(seen(goes.pid()) < length.mul_f64(0.8), "{report:#?}");
    let burnt = |name| stays.log.spent(name, None, report.window()).cpu;
    let truth = burnt("burn_hot") + burnt("burn_warm");
    assert_near("the one that stays", seen(stays.pid()), truth, ON_CPU);
}

fn pids_by_name(name: &str) -> Vec<u32> {
    let run = Remora::with(&["--comm", name, "--duration", "1"])
        .out_in_folder()
        .run();
    run.assert_code(0);
    let report: Report = run.report();
    let mut pids: Vec<u32> = report.targets.iter().map(|target| target.pid).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn targets_by_name() {
    let Some(_turn) = privileged() else { return };
    // A specimen takes its mode's name.
    let mut specimens = [
        Specimen::start("poll-nothing"),
        Specimen::start("poll-nothing"),
    ];
    let other = Specimen::start("nanosleep");
    specimens.sort_by_key(Specimen::pid);
    let found = pids_by_name("poll-nothing");
    assert_eq!(found, specimens.each_ref().map(Specimen::pid));
    assert!(!found.contains(&other.pid()));
}

/// Another process with the pid of one that is gone; `None` where pids cannot be chosen.
fn successor(pid: u32, mode: &str) -> Option<Specimen> {
    // Others may take the number in between.
    for _ in 0..20 {
        std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let specimen = Specimen::start(mode);
        if specimen.pid() == pid {
            return Some(specimen);
        }
    }
    None
}

#[test]
fn a_recycled_pid_is_not_the_target() {
    let Some(_turn) = privileged() else { return };
    let (stays, mut goes) = (Specimen::start("nanosleep"), Specimen::start("exit-early"));
    let pid = goes.pid();
    let mut running = Remora::record(&[stays.pid(), pid], 3).start();
    running.until_recording();
    std::thread::sleep(Duration::from_millis(300));
    goes.go();
    assert_eq!(goes.wait(), Some(0));
    let Some(stranger) = successor(pid, "jit") else {
        return skip("the next pid cannot be chosen here");
    };
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    let window = report.window();
    let spent = |specimen: &Specimen, name| specimen.log.spent(name, None, window);
    assert!(
        spent(&stranger, "jitted_loop").cpu > Duration::from_millis(500),
        "the test is void: the stranger hardly ran"
    );
    // It never slept: all its time is on the CPU or in the queue for it.
    let truth = spent(&goes, "burn_hot").wall + spent(&goes, "burn_warm").wall;
    let seen = report.thread(pid).on_cpu() + report.thread(pid).queued();
    assert_near("its own time", seen, truth, ON_CPU_AND_QUEUED);
    assert_eq!(report.thread(pid).now.state, "exited");
    let foreign = |line: &Line| line.frames.iter().any(|frame| frame.contains("jit"));
    let cpu = run.folded("cpu");
    assert_eq!(cpu.sum(foreign), 0, "{}", cpu.top(foreign));
    assert_eq!(report.targets.len(), 2, "{:#?}", report.targets);
}
