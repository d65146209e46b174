//! `remora triage` on targets that end, become others or live in a container, beside other agents, and cut short.

use remora_tests::compile::build_with;
use remora_tests::gate::{privileged, skip};
use remora_tests::proc;
use remora_tests::remora::{Remora, Run, Running};
use remora_tests::specimen::{Specimen, Start};
use rustix::process::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Far longer than a test may take to end it.
const LOOK: Duration = Duration::from_secs(60);

const HEALTHY: i32 = 0;
const FAILED: i32 = 1;
const CANNOT_OBSERVE: i32 = 3;
const FOUND: i32 = 10;

const FLAGS: [&str; 6] = ["-O1", "-g", "-std=gnu17", "-Wall", "-Wextra", "-pthread"];

/// A mode of `specimens/changes.c`.
fn changes(mode: &str) -> Specimen {
    let program = build_with("gcc", "changes", &[&FLAGS[..], &["changes.c"]].concat());
    let program = program.unwrap_or_else(|why| panic!("{why}"));
    Start::program(&program).argument(mode).start()
}

/// A look that would last much longer than the test; it looks when this returns.
fn long_look(pids: &[u32], arguments: &[&str]) -> Running {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let mut running = Remora::with(&["triage", "--duration", "60s", "--pid", &pids.join(",")])
        .args(arguments)
        .start();
    running.until_attached();
    // Loading wants a CPU all the time; looking does not.
    let used = |pid| {
        let spent = proc::schedstat(pid, pid).expect("it looks for a minute");
        spent.run + spent.queued
    };
    let mut before = used(running.agent());
    for _second in 0..30 {
        std::thread::sleep(Duration::from_secs(1));
        let now = used(running.agent());
        if now.saturating_sub(before) < Duration::from_millis(200) {
            break;
        }
        before = now;
    }
    running
}

/// The one JSON document, and its findings.
fn said(run: &Run) -> (Value, Vec<Value>) {
    let said: Value = serde_json::from_str(&run.stdout)
        .unwrap_or_else(|error| panic!("{}: {error}: {}", run.command, run.stderr));
    let findings = said["findings"].as_array().cloned().expect("an array");
    (said, findings)
}

/// The deadlock of the two threads of `changes`, and nothing else.
fn assert_deadlock(findings: &[Value], pid: u32, tids: [u32; 2]) {
    let [finding] = findings else {
        panic!("one finding: {findings:#?}");
    };
    assert_eq!(finding["kind"], "deadlock", "{finding:#}");
    assert_eq!(finding["pid"], pid, "{finding:#}");
    assert!(tids.iter().any(|tid| finding["tid"] == *tid), "{finding:#}");
    let words = finding.to_string();
    for word in ["takes_other (changes.c", "glibc mutex"] {
        assert!(words.contains(word), "{word} is not in {finding:#}");
    }
}

#[test]
fn a_target_that_ends_before_the_look_is_refused_or_said() {
    let Some(_turn) = privileged() else { return };
    for delay_ms in [0, 80, 250] {
        let specimen = changes("rest");
        let pid = specimen.pid().to_string();
        let running = Remora::with(&["triage", "--pid", &pid, "--duration", "60s"]).start();
        std::thread::sleep(Duration::from_millis(delay_ms));
        drop(specimen);
        let ended = Instant::now();
        let run = running.finish();
        assert!(ended.elapsed() < LOOK / 2, "it went on without a target");
        match run.status.code() {
            Some(HEALTHY) => assert!(run.stdout.contains("exited during the capture"), "{run:#?}"),
            _ => {
                run.assert_refused(CANNOT_OBSERVE, &[]);
                let is_named =
                    ["ended", "exited", "no process"].map(|why| run.stderr.contains(why));
                assert!(is_named.contains(&true), "{}", run.stderr);
            }
        }
    }
}

#[test]
fn a_target_that_ends_in_the_middle_ends_the_look() {
    let Some(_turn) = privileged() else { return };
    // Its threads wait for each other until they are killed: nothing of it is left to be found.
    let specimen = changes("deadlock");
    let running = long_look(&[specimen.pid()], &["--json"]);
    let pid = specimen.pid();
    drop(specimen);
    let ended = Instant::now();
    let run = running.finish();
    assert!(ended.elapsed() < LOOK / 2, "it went on without a target");
    run.assert_code(HEALTHY);
    let (said, findings) = said(&run);
    assert_eq!(findings, Vec::<Value>::new());
    assert_eq!(said["capture"]["end"], "targets_exited");
    let note = said["verdict_note"].as_str().expect("words");
    assert!(
        note.contains(&format!("({pid}) exited during the capture")),
        "{note}"
    );
}

#[test]
fn one_of_several_that_ends_leaves_the_others_judged() {
    let Some(_turn) = privileged() else { return };
    let (stays, goes) = (changes("deadlock"), changes("deadlock"));
    let running = long_look(&[goes.pid(), stays.pid()], &["--json"]);
    drop(goes);
    std::thread::sleep(Duration::from_millis(1500));
    running.signal(Signal::INT);
    let run = running.finish();
    run.assert_code(FOUND);
    let (said, findings) = said(&run);
    assert_deadlock(
        &findings,
        stays.pid(),
        ["one", "two"].map(|name| stays.tid(name)),
    );
    assert_eq!(said["targets"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_exec_in_the_middle_leaves_nothing_of_the_program_before() {
    let Some(_turn) = privileged() else { return };
    let mut specimen = changes("exec-sick");
    let running = long_look(&[specimen.pid()], &[]);
    specimen.go();
    specimen.next_ready().expect("it executes itself");
    std::thread::sleep(Duration::from_secs(2));
    running.signal(Signal::INT);
    let run = running.finish();
    run.assert_code(HEALTHY);
    assert!(run.stdout.contains(" executed "), "{}", run.stdout);
    assert!(!run.stdout.contains("takes_other"), "{}", run.stdout);
}

#[test]
fn an_exec_in_the_middle_is_followed_into_the_program_after() {
    let Some(_turn) = privileged() else { return };
    let mut specimen = changes("exec-well");
    let running = long_look(&[specimen.pid()], &["--json"]);
    specimen.go();
    let after = specimen.next_ready().expect("it executes itself");
    std::thread::sleep(Duration::from_secs(3));
    running.signal(Signal::INT);
    let run = running.finish();
    run.assert_code(FOUND);
    assert_deadlock(
        &said(&run).1,
        specimen.pid(),
        ["one", "two"].map(|name| after.tids[name]),
    );
}

#[test]
fn a_process_whose_first_thread_has_ended_is_judged_by_the_others() {
    let Some(_turn) = privileged() else { return };
    for mode in ["leader-gone", "leader-goes"] {
        let specimen = changes(mode);
        let running = long_look(&[specimen.pid()], &["--json"]);
        if mode == "leader-goes" {
            specimen.go();
        }
        // Tables for unwinding are made meanwhile.
        std::thread::sleep(Duration::from_secs(3));
        running.signal(Signal::INT);
        let run = running.finish();
        run.assert_code(FOUND);
        let (said, findings) = said(&run);
        assert_deadlock(
            &findings,
            specimen.pid(),
            ["one", "two"].map(|name| specimen.tid(name)),
        );
        let exe = said["targets"][0]["exe"].as_str().expect("a path");
        assert!(exe.ends_with("changes"), "{exe}");
    }
}

#[test]
fn agents_beside_each_other_all_see_it() {
    let Some(_turn) = privileged() else { return };
    let specimen = changes("deadlock");
    let pid = specimen.pid().to_string();
    let look = || Remora::with(&["triage", "--json", "--pid", &pid, "--duration", "4s"]).start();
    let (first, second) = (look(), look());
    let recording = Remora::record(&[specimen.pid()], 4).start();
    let tids = ["one", "two"].map(|name| specimen.tid(name));
    for running in [first, second] {
        let run = running.finish();
        run.assert_code(FOUND);
        assert_deadlock(&said(&run).1, specimen.pid(), tids);
    }
    let run = recording.finish();
    run.assert_code(HEALTHY);
    let report: Value = serde_json::from_str(&run.file("report.json")).expect("JSON");
    let findings = report["findings"].as_array().expect("an array");
    assert_deadlock(findings, specimen.pid(), tids);
}

/// The specimen of sockets without libraries: its root has none.
fn static_sockets() -> Result<PathBuf, String> {
    let sources = ["-static", "sick_sockets.c"];
    build_with(
        "gcc",
        "sick_sockets_static",
        &[&FLAGS[..], &sources].concat(),
    )
}

/// The only child of a process.
fn child_of(pid: u32) -> u32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let text = text.expect("the kernel lists children");
    text.trim()
        .parse()
        .unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
fn a_target_in_a_container_is_seen_with_its_pid_sockets_and_symbols() {
    let Some(_turn) = privileged() else { return };
    let program = match static_sockets() {
        Ok(program) => program,
        Err(why) => return skip(&why),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Its root is a file system that nobody else sees; it calls itself process 1 of a network of its own.
    let script = "mount -t tmpfs none \"$1\" && cd \"$1\" && mkdir app proc old && cp \"$2\" app/server && \
                  mount -t proc none proc && ip link set lo up && pivot_root . old && \
                  exec /app/server unwatched-tcp";
    let printable = |path: &Path| path.to_str().expect("printable").to_owned();
    let (root, binary) = (printable(folder.path()), printable(&program));
    let unshare = "unshare --fork --kill-child --pid --mount --net --uts --ipc sh -c";
    let prefix: Vec<&str> = unshare
        .split(' ')
        .chain([script, "sh", &root, &binary])
        .collect();
    let (unshare, rest) = (prefix[0], &prefix[1..]);
    let mut start = Start::program(Path::new(unshare));
    for word in rest {
        start = start.argument(word);
    }
    let specimen = match start.spawn() {
        Ok(specimen) => specimen,
        Err(why) => return skip(&why),
    };
    assert_eq!(specimen.ready().pid, 1, "it is not in a PID namespace");
    let pid = child_of(specimen.pid());
    std::thread::sleep(Duration::from_secs(2));
    let run = Remora::with(&["triage", "--json", "--pid", &pid.to_string()])
        .args(&["--threshold", "not-consuming=2s"])
        .run();
    run.assert_code(FOUND);
    let (said, findings) = said(&run);
    assert_eq!(
        said["targets"][0]["exe"], "/app/server",
        "{:#}",
        said["targets"]
    );
    let unread = findings.iter().find(|it| it["kind"] == "not_consuming");
    let unread = unread.unwrap_or_else(|| panic!("{findings:#?}"));
    assert_eq!((&unread["pid"], &unread["tid"]), (&pid.into(), &pid.into()));
    let words = unread.to_string();
    for word in [
        "is in no epoll set",
        "event_loop (sick_sockets.c",
        "127.0.0.1",
    ] {
        assert!(words.contains(word), "{word} is not in {unread:#}");
    }
    // The pid that it has inside is somebody else's out here.
    assert!(!words.contains("(1)"), "{unread:#}");
}

#[test]
fn who_cannot_be_looked_at_is_said_in_one_line() {
    let Some(_turn) = privileged() else { return };
    let triage = |pid: &str| Remora::with(&["triage", "--pid", pid]).run();
    triage("4194305").assert_refused(CANNOT_OBSERVE, &["4194305"]);
    if std::fs::read_to_string("/proc/2/comm").ok().as_deref() == Some("kthreadd\n") {
        triage("2").assert_refused(CANNOT_OBSERVE, &["kernel thread"]);
    }
    // The shell becomes remora, and its number remora's own.
    let run = Remora::with(&[])
        .under(&["sh", "-c", "exec \"$0\" triage --pid $$"])
        .run();
    run.assert_refused(CANNOT_OBSERVE, &["remora itself"]);
    // The first process of the host is one like any other, unless a sandbox hides it.
    let run = Remora::with(&["triage", "--json", "--pid", "1", "--duration", "1s"]).run();
    match run.status.code() {
        Some(HEALTHY | FOUND) => assert_eq!(said(&run).0["targets"][0]["pid"], 1),
        _ => run.assert_refused(CANNOT_OBSERVE, &["process 1", "lives"]),
    }
}

#[test]
fn ctrl_c_gives_the_verdict_of_the_shorter_look() {
    let Some(_turn) = privileged() else { return };
    let specimen = changes("deadlock");
    let running = long_look(&[specimen.pid()], &["--json"]);
    let asked = Instant::now();
    running.signal(Signal::INT);
    let run = running.finish();
    assert!(asked.elapsed() < LOOK / 2, "{:?}", asked.elapsed());
    run.assert_code(FOUND);
    let (said, findings) = said(&run);
    assert_eq!(said["capture"]["end"], "interrupted");
    assert_deadlock(
        &findings,
        specimen.pid(),
        ["one", "two"].map(|name| specimen.tid(name)),
    );
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let Some(_turn) = privileged() else { return };
    let specimen = changes("deadlock");
    let pid = specimen.pid().to_string();
    let piped = |reader: &str, arguments: &[&str]| {
        let script = format!("set -o pipefail; \"$@\" {reader}");
        Remora::with(&["triage", "--pid", &pid, "--duration", "1s"])
            .args(arguments)
            .under(&["bash", "-c", &script, "bash"])
            .run()
    };
    for (reader, lines) in [("| head -n 1", 1), ("| true", 0)] {
        for arguments in [&[][..], &["--json"]] {
            let run = piped(reader, arguments);
            run.assert_code(FOUND);
            assert_eq!(run.stdout.lines().count(), lines, "{run:#?}");
            assert_eq!(run.stderr, "");
        }
    }
    piped("> /dev/full", &[]).assert_refused(FAILED, &["standard output"]);
}
