//! What is refused, and how: one line that says what, why and what to do, and the right exit code.

use remora_tests::gate::{privileged, skip};
use remora_tests::proc;
use remora_tests::remora::{Remora, Run, report_in};
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::AT_ONCE;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const USAGE: i32 = 2;
const CANNOT_OBSERVE: i32 = 3;

/// A process id beyond what any kernel gives out.
const NOBODY: u32 = 4_194_305;

#[test]
fn no_such_process() {
    let Some(_turn) = privileged() else { return };
    Remora::record(&[NOBODY], 2)
        .run()
        .assert_refused(CANNOT_OBSERVE, &[&NOBODY.to_string()]);
}

#[test]
fn one_of_several_does_not_exist() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("nanosleep");
    let run = Remora::record(&[specimen.pid(), NOBODY], 2).run();
    run.assert_refused(CANNOT_OBSERVE, &[&NOBODY.to_string()]);
}

#[test]
fn no_process_of_that_name() {
    let Some(_turn) = privileged() else { return };
    let run = Remora::with(&["--comm", "no-such-comm", "--duration", "1"])
        .out_in_folder()
        .run();
    run.assert_refused(CANNOT_OBSERVE, &["no-such-comm"]);
}

#[test]
fn a_kernel_thread() {
    let Some(_turn) = privileged() else { return };
    // kthreadd, the parent of all others, is always 2 in the initial PID namespace.
    if std::fs::read_to_string("/proc/2/comm").ok().as_deref() != Some("kthreadd\n") {
        return skip("no kernel threads are visible from this PID namespace");
    }
    Remora::record(&[2], 2)
        .run()
        .assert_refused(CANNOT_OBSERVE, &["kernel thread"]);
}

#[test]
fn a_zombie() {
    let Some(_turn) = privileged() else { return };
    let mut child = Command::new("true")
        .stdin(Stdio::null())
        .spawn()
        .expect("coreutils");
    while proc::state(child.id(), child.id()) != Some('Z') {
        std::thread::sleep(Duration::from_millis(5));
    }
    let run = Remora::record(&[child.id()], 2).run();
    child.wait().expect("its own child");
    run.assert_refused(CANNOT_OBSERVE, &["zombie"]);
}

#[test]
fn a_pid_as_seen_inside_another_pid_namespace() {
    let Some(_turn) = privileged() else { return };
    // The last numbers are given out last: nobody out here has this one.
    let number = pid_max() - 7;
    let script = format!(
        "echo {} > /proc/sys/kernel/ns_last_pid; \"$@\"; true",
        number - 1
    );
    let unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    let prefix = [&unshare[..], &["sh", "-c", &script, "sh"]].concat();
    let inside = match Start::mode("burn").under(&prefix).spawn() {
        Ok(specimen) => specimen,
        Err(why) => return skip(&why),
    };
    if inside.ready().pid != number || Path::new(&format!("/proc/{number}")).exists() {
        return skip("the numbers inside a PID namespace cannot be chosen here");
    }
    let outside = child_of(child_of(inside.pid()));
    let run = Remora::record(&[number], 2).run();
    run.assert_refused(CANNOT_OBSERVE, &[&number.to_string(), &outside.to_string()]);
    // By its pid out here it is a target like any other.
    let (run, report) = Remora::record(&[outside], 2).capture();
    assert_eq!(report.targets[0].pid, outside);
    assert!(run.folded("cpu").sum(|line| line.has("burn_hot")) > 0);
}

fn pid_max() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("every kernel has it");
    text.trim().parse().expect("a number")
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
fn figures_without_sense_are_a_usage_error() {
    let Some(_turn) = privileged() else { return };
    let pid = std::process::id().to_string();
    let cases: [(&[&str], &str); 22] = [
        (&["--freq", "0"], "freq"),
        (&["--freq", "-5"], "freq"),
        (&["--freq", "1000000000"], "freq"),
        (&["--freq", "ninety"], "freq"),
        (&["--duration", "0"], "duration"),
        (&["--duration", "-1"], "duration"),
        (&["--duration", "1e300"], "duration"),
        (&["--duration", "nan"], "duration"),
        (&["--duration", "soon"], "duration"),
        (&["--min-block", "-1ms"], "min-block"),
        (&["--stack-hook", "guess"], "stack-hook"),
        (&["--no-such-option"], "no-such-option"),
        (&["--loop", "round"], "loop"),
        (&["--loop-late", "0"], "loop-late"),
        (&["--loop-late", "1h"], "loop-late"),
        (&["--window", "1ms"], "window"),
        (&["--window", "2h"], "window"),
        (&["--keep", "-1"], "keep"),
        (&["--socket-hz", "-1"], "socket-hz"),
        (&["--socket-hz", "1e9"], "socket-hz"),
        (&["--fault-period", "-1"], "fault-period"),
        (&["--jsonl", "/no/such/folder/file"], "/no/such/folder/file"),
    ];
    for (arguments, word) in cases {
        let started = Instant::now();
        let run = Remora::with(&["--pid", &pid])
            .out_in_folder()
            .args(arguments)
            .run();
        run.assert_code(USAGE);
        assert!(run.stderr.contains(word), "{arguments:?}: {}", run.stderr);
        assert!(started.elapsed() < AT_ONCE, "{arguments:?} was tried first");
        assert!(!run.out.exists(), "{arguments:?} left a folder");
    }
}

#[test]
fn pids_without_sense_are_a_usage_error() {
    let Some(_turn) = privileged() else { return };
    for pid in ["0", "-1", "", "abc", "99999999999999999999", "1,,2", "1;2"] {
        let run = Remora::with(&[&format!("--pid={pid}"), "--duration", "1"])
            .out_in_folder()
            .run();
        let code = run.status.code();
        assert!(
            code == Some(USAGE) || code == Some(CANNOT_OBSERVE),
            "{pid:?}: {}",
            run.status
        );
        assert!(
            !run.stderr.is_empty() && !run.stderr.contains("panicked"),
            "{}",
            run.stderr
        );
    }
    Remora::with(&["--duration", "1"]).run().assert_code(USAGE);
}

#[test]
fn an_existing_folder_is_not_overwritten() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("nanosleep");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let precious = folder.path().join("report.json");
    std::fs::write(&precious, "precious").expect("own folder");
    let started = Instant::now();
    let run = Remora::with(&["--pid", &specimen.pid().to_string(), "--duration", "8"])
        .out(folder.path())
        .run();
    run.assert_refused(USAGE, &[folder.path().to_str().expect("printable")]);
    assert!(
        started.elapsed() < AT_ONCE,
        "it said so only after the capture"
    );
    assert_eq!(
        std::fs::read_to_string(&precious).expect("still there"),
        "precious"
    );
}

#[test]
fn a_folder_that_cannot_be_made_is_refused_before_the_capture() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("nanosleep");
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    for out in [
        Path::new("/proc/remora-report"),
        &file.path().join("below-a-file"),
    ] {
        let started = Instant::now();
        let run = Remora::with(&["--pid", &specimen.pid().to_string(), "--duration", "8"])
            .out(out)
            .run();
        let code = run.status.code();
        assert!(
            code == Some(USAGE) || code == Some(CANNOT_OBSERVE),
            "{}",
            run.status
        );
        let parent = out.parent().and_then(Path::to_str).expect("printable");
        run.assert_refused(code.unwrap_or(0), &[parent]);
        assert!(
            started.elapsed() < AT_ONCE,
            "it said so only after the capture"
        );
    }
}

#[test]
fn a_full_disk_does_not_lose_the_capture() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (small, list) = (folder.path().join("small"), folder.path().join("list"));
    std::fs::create_dir(&small).expect("own folder");
    // A file system of two pages, in a mount namespace of its own; what is left on it is listed.
    let script = "mount -t tmpfs -o size=8k none \"$1\" && list=$2 && small=$1 && shift 2 && { \
                  \"$@\"; code=$?; find \"$small\" -type f > \"$list\"; exit $code; }";
    let printable = |path: &Path| path.to_str().expect("printable").to_owned();
    let run = Remora::with(&["--pid", &specimen.pid().to_string(), "--duration", "2"])
        // A name of its own: the fallback must not meet what another run left.
        .out(&small.join(format!("report-{}", specimen.pid())))
        .under(&[
            "unshare",
            "-m",
            "sh",
            "-c",
            script,
            "sh",
            &printable(&small),
            &printable(&list),
        ])
        .run();
    let left = std::fs::read_to_string(&list).unwrap_or_else(|error| panic!("{error}: {run:?}"));
    assert!(
        !left.contains("report.json"),
        "half a report looks whole: {left}"
    );
    let fallback = named_folder(&run, &small);
    let report = report_in(&fallback);
    assert!(report.thread(specimen.pid()).on_cpu() > Duration::from_secs(1));
    for file in ["cpu.svg", "offcpu.svg", "cpu.folded", "offcpu.folded"] {
        assert!(
            fallback.join(file).exists(),
            "no {file} in {}",
            fallback.display()
        );
    }
    std::fs::remove_dir_all(&fallback).expect("made by this run");
}

/// The folder outside of `not` that the run says it has put the report in.
fn named_folder(run: &Run, not: &Path) -> PathBuf {
    let words = run
        .stderr
        .split_whitespace()
        .chain(run.stdout.split_whitespace());
    let paths = words.map(|word| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/'));
    let mut folders = paths
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from);
    let found = folders.find(|path| !path.starts_with(not) && path.join("report.json").exists());
    found.unwrap_or_else(|| panic!("no fallback is named: {run:#?}"))
}

#[test]
fn a_full_disk_costs_the_stream_of_windows_and_not_the_report() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("burn");
    let run = Remora::record(&[specimen.pid()], 2)
        .args(&["--window", "500ms", "--jsonl", "/dev/full"])
        .run();
    run.assert_code(0);
    assert!(run.stderr.contains("/dev/full"), "{}", run.stderr);
    let timeline = run.report().timeline;
    assert!(timeline.start_s.len() >= 3, "{timeline:?}");
}
