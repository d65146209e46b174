//! A watch on a target's allocator: what it gave out and did not get back, by whom and since when; that it
//! takes itself out when it costs too much; and that the target's text is patched only while it lasts.

use remora_tests::compile;
use remora_tests::gate::privileged;
use remora_tests::proc::status_number;
use remora_tests::remora::{Remora, Run};
use remora_tests::specimen::{Specimen, Start};
use rustix::process::Signal;
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// What the specimen keeps: function, bytes by its own account, and how far an estimate from samples may be
/// off: four times the standard error of the number of samples (one byte in 16 KiB).
const KEPT: [(&str, f64, f64); 5] = [
    // 122 of 10,000 blocks.
    ("keep_small", 2e6, 0.36),
    // Each block is sampled but for one in 450.
    ("keep_zeroed", 2e7, 0.02),
    // 221 of 1,000 blocks.
    ("keep_aligned", 4_096e3, 0.24),
    // 334 of 2,000 blocks.
    ("keep_moved", 6e6, 0.2),
    ("keep_mapped", (8 << 20) as f64, 0.001),
];

/// The specimen rests for so long between what it keeps first and what it keeps later.
const APART_S: f64 = 2.0;

fn specimen(mode: &str) -> Specimen {
    Start::program(compile::heap()).argument(mode).start()
}

fn until(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(seconds),
            "{what}: not within {seconds} s"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn until_kept(pid: u32) {
    until("it keeps what it has", 60, || {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm == "kept\n")
    });
}

/// Bytes of the C library's code in the process that are not those of its file.
fn patched_bytes(pid: u32) -> usize {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it lives");
    let line = maps
        .lines()
        .find(|line| line.contains("/libc.so.6") && line.contains("r-xp"))
        .expect("it has a C library");
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields
        .next()
        .expect("as it should be")
        .split_once('-')
        .expect("as it should be");
    let hex = |text| u64::from_str_radix(text, 16).expect("as it should be");
    let (start, end) = (hex(start), hex(end));
    let offset = hex(fields.nth(1).expect("as it should be"));
    let (mut there, mut file) = (
        vec![0; (end - start) as usize],
        vec![0; (end - start) as usize],
    );
    let memory = File::open(format!("/proc/{pid}/mem")).expect("as it should be");
    memory
        .read_exact_at(&mut there, start)
        .expect("as it should be");
    let path = format!(
        "/proc/{pid}/root{}",
        fields.nth(2).expect("as it should be")
    );
    let read = File::open(path)
        .expect("as it should be")
        .read_at(&mut file, offset);
    let pairs = there.iter().zip(&file).take(read.expect("as it should be"));
    pairs.filter(|(one, other)| one != other).count()
}

fn report(run: &Run) -> Value {
    serde_json::from_str(&run.file("report.json")).expect("JSON")
}

fn seconds(site: &Value, member: &str) -> f64 {
    site[member].as_f64().expect("as it should be")
}

/// The stack in which a function stands.
fn site<'a>(heap: &'a Value, function: &str) -> Option<&'a Value> {
    let stacks = heap["stacks"].as_array().expect("a list");
    stacks.iter().find(|site| {
        let stack = site["stack"].as_array().expect("a list");
        let named = |frame: &Value| frame.as_str().is_some_and(|name| name.contains(function));
        stack.iter().any(named)
    })
}

#[test]
fn what_is_kept_is_told_by_whom_how_much_and_how_old() {
    let Some(_turn) = privileged() else { return };
    let specimen = specimen("keep");
    let pid = specimen.pid();
    assert_eq!(patched_bytes(pid), 0);
    let mut running = Remora::record(&[pid], 90)
        .args(&["--heap", "--heap-for", "90s", "--heap-budget", "1000%"])
        .start();
    running.until_recording();
    let patched = patched_bytes(pid);
    assert!(patched >= 8, "{patched} bytes are patched");
    let went = Instant::now();
    specimen.go();
    until_kept(pid);
    running.signal(Signal::INT);
    let run = running.finish();
    let lasted = went.elapsed().as_secs_f64();
    run.assert_code(0);
    assert!(run.stderr.contains("patches the text of"), "{}", run.stderr);
    assert_eq!(patched_bytes(pid), 0, "the text is as it was");

    let report = report(&run);
    let heap = &report["heap"];
    assert_eq!(heap["ended_by"], "capture", "{heap}");
    assert_eq!(heap["attached"], true);
    assert_eq!(report["signals"]["heap"]["state"], "on");
    let folded = run.folded("heap");
    for (function, bytes, tolerance) in KEPT {
        let site = site(heap, function).unwrap_or_else(|| panic!("no {function} in {heap}"));
        let found = seconds(site, "bytes");
        assert!(
            (found / bytes - 1.0).abs() <= tolerance,
            "{function}: {found} bytes, of {bytes}"
        );
        let drawn = folded.sum(|line| line.has(function)) as f64;
        assert!(
            (drawn / found - 1.0).abs() < 0.01,
            "{function} in heap.folded: {drawn}"
        );
    }
    for freed in ["use_and_free", "hand_over"] {
        assert_eq!(site(heap, freed), None, "{freed} has freed all");
    }
    let age = |function, member| seconds(site(heap, function).expect("as it should be"), member);
    let apart = age("keep_zeroed", "youngest_s") - age("keep_aligned", "oldest_s");
    assert!(apart >= APART_S - 0.01, "{apart} s apart");
    assert!(age("keep_zeroed", "oldest_s") <= lasted);
    assert!(age("keep_mapped", "oldest_s") <= age("keep_aligned", "median_s"));
    for loss in ["heap_table_full", "heap_free_missed", "heap_return_missed"] {
        assert_eq!(report["loss"][loss], 0, "{loss}");
    }
    assert!(run.stdout.contains("keep_zeroed"), "{}", run.stdout);
    assert!(run.file("heap.svg").contains("keep_zeroed"));
}

#[test]
fn it_takes_itself_out_when_it_costs_too_much_and_the_target_goes_on() {
    let Some(_turn) = privileged() else { return };
    let specimen = specimen("storm");
    let pid = specimen.pid();
    let mut running = Remora::record(&[pid], 8).args(&["--heap"]).start();
    running.until_recording();
    assert!(patched_bytes(pid) > 0);
    specimen.go();
    until("it is out while the capture goes on", 7, || {
        patched_bytes(pid) == 0
    });
    let run = running.finish();
    run.assert_code(0);
    let said = "over the budget";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    assert!(run.stdout.contains(said), "{}", run.stdout);
    let report = report(&run);
    let heap = &report["heap"];
    assert_eq!(heap["ended_by"], "budget", "{heap}");
    assert!(
        heap["detached_because"]
            .as_str()
            .expect("as it should be")
            .contains(said)
    );
    assert!(seconds(heap, "worst_slow_down_pct") > seconds(heap, "budget_pct"));
    assert!(seconds(heap, "watched_s") < seconds(&report["capture"], "duration_s") / 2.0);
    assert_eq!(report["signals"]["heap"]["state"], "degraded");
    let before = ran(pid);
    until("the target goes on", 10, || ran(pid) > before + 10);
}

/// Context switches that the process was made to, which a storm has and a rest has not.
fn ran(pid: u32) -> u64 {
    let number = |name| status_number(pid, name).unwrap_or(0);
    number("nonvoluntary_ctxt_switches") + number("voluntary_ctxt_switches")
}

#[test]
fn nothing_is_patched_unless_it_is_asked_for() {
    let Some(_turn) = privileged() else { return };
    let specimen = specimen("keep");
    let pid = specimen.pid();
    let mut running = Remora::record(&[pid], 3).start();
    running.until_recording();
    assert_eq!(patched_bytes(pid), 0);
    let run = running.finish();
    run.assert_code(0);
    let report = report(&run);
    assert_eq!(report["heap"], Value::Null);
    assert_eq!(report["signals"]["heap"]["state"], "off");
    assert!(!run.out.join("heap.svg").exists());
    assert!(!run.stderr.contains("patch"), "{}", run.stderr);
}

#[test]
fn an_agent_that_is_killed_leaves_the_text_as_it_was() {
    let Some(_turn) = privileged() else { return };
    let specimen = specimen("keep");
    let pid = specimen.pid();
    let mut running = Remora::record(&[pid], 60).args(&["--heap"]).start();
    running.until_recording();
    assert!(patched_bytes(pid) > 0);
    running.signal(Signal::KILL);
    drop(running);
    until("the kernel takes the probes out", 20, || {
        patched_bytes(pid) == 0
    });
    specimen.go();
    until_kept(pid);
}

#[test]
fn its_time_is_bounded_and_a_target_may_end_meanwhile() {
    let Some(_turn) = privileged() else { return };
    let specimen_kept = specimen("keep");
    let pid = specimen_kept.pid();
    let mut running = Remora::record(&[pid], 4)
        .args(&["--heap", "--heap-for", "500ms"])
        .start();
    running.until_recording();
    until("it is out while the capture goes on", 10, || {
        patched_bytes(pid) == 0
    });
    let run = running.finish();
    run.assert_code(0);
    assert_eq!(report(&run)["heap"]["ended_by"], "time");

    let specimen_ended = specimen("keep");
    let mut running = Remora::record(&[specimen_ended.pid()], 60)
        .args(&["--heap"])
        .start();
    running.until_recording();
    drop(specimen_ended);
    let run = running.finish();
    run.assert_code(0);
    assert_eq!(report(&run)["heap"]["ended_by"], "capture");
}
