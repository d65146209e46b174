//! CPUs: how long others have slept is told without a visit to theirs, and samples are taken where targets may run.

use remora_tests::{
    gate::{privileged, skip},
    proc,
    python::{Program, interpreters, specimen},
    remora::{Remora, Running},
    specimen::{Specimen, Start},
};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// The report's times and ours are read some milliseconds apart, and a sleeper goes a moment after it says so.
const APART: f64 = 0.1;

const CPU_1_ONLINE: &str = "/sys/devices/system/cpu/cpu1/online";

/// With these, no other hook is a performance event.
const NO_PROBES: [&str; 4] = ["--stack-hook", "switch", "--loop", "blocked"];

/// CPU events that remora has open.
fn events(running: &Running) -> usize {
    let folder = format!("/proc/{}/fd", running.agent());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    links
        .filter(|link| link.as_os_str() == "anon_inode:[perf_event]")
        .count()
}

/// Waits until so many are open.
fn until_events(running: &Running, wanted: usize) {
    let start = Instant::now();
    while events(running) != wanted {
        assert!(
            start.elapsed() < Duration::from_secs(15),
            "{} events, not {wanted}",
            events(running)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whether CPUs 0 and 1 are there.
fn two_cpus() -> bool {
    let cpus = sched_getaffinity(None).expect("a thread has an affinity");
    let both = cpus.is_set(0) && cpus.is_set(1);
    if !both {
        skip("it needs CPUs 0 and 1");
    }
    both
}

/// A process that burns, pinned to a CPU.
fn burner_on(cpu: u32) -> Specimen {
    let specimen = Start::mode("burn").start();
    pin(specimen.pid(), cpu);
    specimen
}

/// All threads of a process.
fn pin(pid: u32, cpu: u32) {
    let mut set = CpuSet::new();
    set.set(cpu as usize);
    for tid in proc::tids(pid) {
        sched_setaffinity(Pid::from_raw(tid.cast_signed()), &set).expect("a CPU that is there");
    }
}

#[test]
fn sleepers_of_each_class_are_never_said_to_sleep_longer_than_they_do() {
    let Some(_turn) = privileged() else { return };
    let Some(python) = interpreters().into_iter().next() else {
        return skip("there is no python3.8 to python3.13");
    };
    let mut program = Program::start(Command::new(python).arg(specimen("sleepers.py")));
    let line = program.line();
    let slept: BTreeMap<String, (u32, u64)> = serde_json::from_str(&line).expect("an object");
    assert!(slept.len() >= 3, "{line}");
    let (_run, report) = Remora::record(&[program.pid()], 1).capture();
    assert_eq!(report.loss.get("sleep_clocks_unknown"), None);
    let end_ns = report.window().end_ns;
    for (name, (tid, at_ns)) in &slept {
        let now = &report.thread(*tid).now;
        let truth = Duration::from_nanos(end_ns - at_ns).as_secs_f64();
        assert!(
            now.since_s <= truth + APART,
            "{name} sleeps for {truth} s, and {} s are said",
            now.since_s
        );
        // What interrupts and the host took of its CPU meanwhile is missing.
        assert!(
            now.since_s >= 0.9 * truth - APART,
            "{name} sleeps for {truth} s, and {} s are said",
            now.since_s
        );
    }
}

#[test]
fn no_thread_of_ours_is_sent_to_a_cpu() {
    let Some(_turn) = privileged() else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        return skip("strace is not installed");
    }
    let specimen = Specimen::start("never");
    let pid = specimen.pid().to_string();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("calls");
    let log = log.to_str().expect("a path of this test");
    let traced = ["strace", "-f", "-e", "trace=sched_setaffinity", "-o", log];
    let commands: [&[&str]; 3] = [
        &["triage", "--pid", &pid, "--duration", "1s"],
        &["record", "--pid", &pid, "--duration", "6s"],
        &["doctor"],
    ];
    for command in commands {
        let remora = Remora::with(command).under(&traced);
        let run = match command[0] {
            "record" => remora.out_in_folder().run(),
            _ => remora.run(),
        };
        run.assert_code(0);
        let calls = fs::read_to_string(log).expect("strace writes it");
        let calls = calls
            .lines()
            .filter(|line| line.contains("sched_setaffinity("));
        // One keeps the process off isolated CPUs, where there are any.
        let isolated = fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
        let most = usize::from(!isolated.trim().is_empty());
        let calls: Vec<&str> = calls.collect();
        assert!(calls.len() <= most, "{command:?}: {calls:#?}");
    }
}

#[test]
fn a_cpu_that_no_target_may_use_has_no_event_until_one_may() {
    let Some(_turn) = privileged() else { return };
    if !two_cpus() {
        return;
    }
    let specimen = burner_on(0);
    let mut running = Remora::record(&[specimen.pid()], 8)
        .args(&NO_PROBES)
        .start();
    running.until_recording();
    assert_eq!(events(&running), 1);
    pin(specimen.pid(), 1);
    until_events(&running, 2);
    let run = running.finish();
    run.assert_code(0);
    let capture = &json(&run.file("report.json"))["capture"];
    assert_eq!(capture["cpus_sampled"], "0,1");
    assert_eq!(capture["cpus_not_sampled"], Value::Array(Vec::new()));
}

#[test]
fn a_target_that_burns_where_nobody_samples_is_not_judged_by_samples() {
    let Some(_turn) = privileged() else { return };
    if !two_cpus() {
        return;
    }
    let specimen = burner_on(0);
    let run = Remora::with(&["triage", "--json", "--cpus", "1"])
        .args(&["--pid", &specimen.pid().to_string()])
        .run();
    let said = json(&run.stdout);
    assert_eq!(said["capture"]["cpus_sampled"], "1");
    let missing = &said["capture"]["cpus_not_sampled"][0];
    assert_eq!(
        (&missing["cpus"], &missing["why"]),
        (&"0".into(), &"not_chosen".into())
    );
    assert_eq!(said["signals"]["on_cpu"]["state"], "degraded");
    assert!(
        said["loss"]["cpu_samples_not_taken"].as_u64() > Some(50),
        "{said:#}"
    );
    let kinds: Vec<&Value> = said["not_judged"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|it| &it["kind"])
        .collect();
    assert!(kinds.contains(&&"busy_spin".into()), "{kinds:?}");
}

#[test]
fn a_list_that_leaves_no_cpu_is_refused_in_one_line() {
    let Some(_turn) = privileged() else { return };
    let pid = std::process::id().to_string();
    for (list, words) in [
        ("4000-4001", "none of these CPUs is online"),
        ("3-1", "no range of CPUs"),
        ("x", "no CPU"),
        ("", "names no CPU"),
    ] {
        for command in ["triage", "record"] {
            Remora::with(&[command, "--pid", &pid, "--cpus", list])
                .run()
                .assert_refused(2, &["--cpus", words]);
        }
    }
}

/// CPU 1, offline as long as this lives.
struct Offline;

impl Offline {
    fn take() -> Self {
        fs::write(CPU_1_ONLINE, "0").expect("it can be taken offline");
        Self
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        fs::write(CPU_1_ONLINE, "1").expect("what was online comes back");
    }
}

#[test]
fn a_cpu_that_goes_and_comes_back_is_sampled_again() {
    let Some(_turn) = privileged() else { return };
    if !two_cpus() {
        return;
    }
    if !Path::new(CPU_1_ONLINE).exists() {
        return skip("CPU 1 cannot be taken offline");
    }
    let specimen = Specimen::start("burn");
    let mut running = Remora::record(&[specimen.pid()], 12)
        .args(&NO_PROBES)
        .start();
    running.until_recording();
    assert_eq!(events(&running), 2);
    let offline = Offline::take();
    until_events(&running, 1);
    drop(offline);
    until_events(&running, 2);
    // Shorter than a beat: the kernel has forgotten the event all the same.
    drop(Offline::take());
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    assert_eq!(
        report.loss.get("cpu_events_reopened"),
        Some(&2),
        "{:?}",
        report.loss
    );
    assert_eq!(
        json(&run.file("report.json"))["capture"]["cpus_sampled"],
        "0,1"
    );
}

#[test]
fn a_chosen_cpu_that_goes_offline_leaves_a_capture_without_samples() {
    let Some(_turn) = privileged() else { return };
    if !two_cpus() {
        return;
    }
    if !Path::new(CPU_1_ONLINE).exists() {
        return skip("CPU 1 cannot be taken offline");
    }
    let specimen = burner_on(1);
    let mut running = Remora::record(&[specimen.pid()], 4)
        .args(&NO_PROBES)
        .args(&["--cpus", "1"])
        .start();
    running.until_recording();
    until_events(&running, 1);
    let offline = Offline::take();
    until_events(&running, 0);
    let run = running.finish();
    drop(offline);
    run.assert_code(0);
    let document = json(&run.file("report.json"));
    let on_cpu = &document["signals"]["on_cpu"];
    assert_eq!(on_cpu["state"], "degraded", "{on_cpu}");
    // The kernel sent the target to a CPU that was not chosen.
    let missing = serde_json::json!([{"cpus": "0", "why": "not_chosen"}]);
    assert_eq!(document["capture"]["cpus_not_sampled"], missing);
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}
