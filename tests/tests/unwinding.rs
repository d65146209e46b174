//! Known call chains of programs without frame pointers come out whole: on the CPU, in waits, and
//! of threads that were blocked before anyone watched.

use remora_tests::chains::{
    Build, CPLUSPLUS, Chain, DYNAMIC, LATE_LIBRARY, LATE_PROGRAM, RUST_MUSL, RUST_RELEASE, STATIC,
    STATIC_PIE, STRIPPED, matches,
};
use remora_tests::folded::{Folded, Line};
use remora_tests::gate::{privileged, skip};
use remora_tests::remora::{Remora, Run};
use remora_tests::report::Report;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::tolerance::{STACKS_COMPLETE_PCT, STACKS_EXACT, STACKS_EXACT_WHEN_NEW};
use std::path::PathBuf;
use std::time::Duration;

const BUILDS: [Build; 5] = [DYNAMIC, STATIC, STATIC_PIE, CPLUSPLUS, RUST_RELEASE];
/// Fine enough for some dozens of samples of each of 50 threads that share the CPUs.
const OFTEN: [&str; 2] = ["--freq", "499"];
/// The most frames that a stack holds, kernel's and user's apart.
const MOST_FRAMES: usize = 512;

/// The programs that this machine can build, started in this mode; nice, because dozens of threads
/// that spin leave nothing to the agent otherwise.
fn start(builds: &[Build], mode: &str) -> Vec<(Build, Specimen)> {
    let start = |build: &Build| {
        let path = build.path().map_err(|why| skip(&why)).ok()?;
        let program = Start::program(&path).under(&["nice", "-n", "19"]);
        Some((*build, program.argument(mode).start()))
    };
    builds.iter().filter_map(start).collect()
}

fn pids(specimens: &[(Build, Specimen)]) -> Vec<u32> {
    specimens.iter().map(|(_, one)| one.pid()).collect()
}

fn path(build: Build) -> PathBuf {
    build.path().unwrap_or_else(|why| panic!("{why}"))
}

/// Panics when less than 99 % of all stacks are whole.
fn assert_complete(report: &Report) {
    let found = report.whole_pct();
    assert!(found >= STACKS_COMPLETE_PCT, "{:#?}", report.stacks);
}

/// Panics unless a thread's stacks hold its chain; `leaf` is what its program does at the end.
fn assert_chain(folded: &Folded, tid: u32, what: &str, chain: &str, pick: impl Fn(&Line) -> bool) {
    let of_it = |line: &Line| line.is_of(tid) && pick(line);
    let exact = folded.share(of_it, |line| matches(&line.frames, chain));
    let other = folded.sum(|line| of_it(line) && !matches(&line.frames, chain));
    assert!(
        exact >= STACKS_EXACT || (exact > 0.0 && other <= 1),
        "{what}: {exact:.3} of its stacks hold {chain:?}; they are:{}",
        folded.top(|line| line.is_of(tid))
    );
}

fn what(build: &Build, chain: &Chain) -> String {
    format!("{}, thread {}", build.name, chain.thread)
}

#[test]
fn chains_on_the_cpu() {
    let Some(_turn) = privileged() else { return };
    let specimens = start(&BUILDS, "burn");
    let (run, report) = Remora::record(&pids(&specimens), 6).args(&OFTEN).capture();
    let cpu = run.folded("cpu");
    for (build, specimen) in &specimens {
        for chain in build.chains {
            let end = chain.burning.unwrap_or("leaf");
            let frames = format!("{} {end}", chain.frames);
            let tid = specimen.tid(chain.thread);
            assert_chain(&cpu, tid, &what(build, chain), &frames, |_| true);
        }
    }
    assert_complete(&report);
}

#[test]
fn chains_of_waits() {
    let Some(_turn) = privileged() else { return };
    let specimens = start(&BUILDS, "wait");
    let (run, report) = Remora::record(&pids(&specimens), 3).capture();
    let offcpu = run.folded("offcpu");
    for (build, specimen) in &specimens {
        for chain in build.chains {
            let frames = format!("{} leaf", chain.frames);
            let tid = specimen.tid(chain.thread);
            // A thread that wakes as the capture ends has no stack; `assert_complete` counts those.
            let gone = |frame: &String| frame == "[stack lost]" || frame == "[short waits]";
            let sleeps = |line: &Line| line.reason() == "sleep" && !line.frames.iter().any(gone);
            assert_chain(&offcpu, tid, &what(build, chain), &frames, sleeps);
        }
    }
    assert_complete(&report);
}

#[test]
fn chains_of_threads_that_were_blocked_before() {
    let Some(_turn) = privileged() else { return };
    let specimens = start(&BUILDS, "still");
    let (_run, report) = Remora::record(&pids(&specimens), 1).capture();
    assert_chains_now(&specimens, &report);
    assert_complete(&report);
}

/// Its libc says how it is unwound, all but the end: there the assembly that makes a thread has no
/// rule for the caller that it does not have.
#[test]
fn chains_of_musl() {
    let Some(_turn) = privileged() else { return };
    let specimens = start(&[RUST_MUSL], "still");
    if !specimens.is_empty() {
        let (_run, report) = Remora::record(&pids(&specimens), 1).capture();
        assert_chains_now(&specimens, &report);
    }
}

/// Panics unless the stacks at the end of the capture are the chains.
fn assert_chains_now(specimens: &[(Build, Specimen)], report: &Report) {
    for (build, specimen) in specimens {
        for chain in build.chains {
            let frames = format!("{} leaf", chain.frames);
            let stack = &report.thread(specimen.tid(chain.thread)).now.stack;
            let root_first: Vec<String> = stack.iter().rev().cloned().collect();
            let what = what(build, chain);
            assert!(
                matches(&root_first, &frames),
                "{what}: {frames:?} in {root_first:#?}"
            );
        }
    }
}

#[test]
fn a_stripped_program() {
    let Some(_turn) = privileged() else { return };
    let specimen = Start::program(&path(STRIPPED)).argument("still").start();
    let (_run, report) = Remora::record(&[specimen.pid()], 1).capture();
    let own = |thread: &str| {
        let stack = &report.thread(specimen.tid(thread)).now.stack;
        let of_binary = |frame: &&String| frame.starts_with(STRIPPED.name);
        stack.iter().filter(of_binary).count()
    };
    // The thread's function, the recursion, the leaf, and its wait.
    assert_eq!((own("60"), own("400")), (63, 403));
    assert_eq!(own("tail"), 5);
    assert_complete(&report);
}

/// One thread of the C program alone, in this mode.
fn alone(mode: &str, thread: &str) -> (Run, Report, Specimen) {
    let program = Start::program(&path(DYNAMIC)).argument(mode);
    let specimen = program.argument("--extra").argument(thread).start();
    let (run, report) = Remora::record(&[specimen.pid()], 2).capture();
    (run, report, specimen)
}

#[test]
fn a_recursion_deeper_than_the_limit_says_so() {
    let Some(_turn) = privileged() else { return };
    for mode in ["burn", "wait"] {
        let (run, report, specimen) = alone(mode, "600");
        let file = run.folded(if mode == "burn" { "cpu" } else { "offcpu" });
        let of_it = |line: &Line| line.is_of(specimen.tid("600")) && line.has("recurse");
        let cut = |line: &Line| {
            let depth = line.frames.iter().filter(|frame| *frame == "recurse");
            line.has("[root cut off]") && (500..=MOST_FRAMES).contains(&depth.count())
        };
        let share = file.share(of_it, cut);
        assert!(share >= STACKS_EXACT, "{share}: {}", file.top(of_it));
        // Beside what was not there to take: the wait that ends with the capture.
        let stacks = &report.stacks;
        let count = |cause| stacks.incomplete.get(cause).copied().unwrap_or_default();
        let others = stacks.taken - stacks.complete - count("lost");
        assert_eq!(count("truncated"), others, "{stacks:#?}");
        report.assert_lost_only(&["stack_truncated"]);
    }
}

/// The program whose code changes, told to in the middle of its capture.
fn late(mode: &str, file: Build) -> (Run, Report, Specimen) {
    let program = Start::program(&path(LATE_PROGRAM)).argument(mode);
    let file = path(file);
    let file = file.to_str().expect("a path of this test");
    let mut specimen = program.argument("--extra").argument(file).start();
    let mut running = Remora::record(&[specimen.pid()], 4).start();
    running.until_recording();
    std::thread::sleep(Duration::from_millis(500));
    specimen.go();
    if mode == "exec" {
        specimen.next_ready().expect("it became the other program");
    }
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    (run, report, specimen)
}

#[test]
fn code_that_is_loaded_in_the_middle() {
    let Some(_turn) = privileged() else { return };
    let (run, report, specimen) = late("dlopen", LATE_LIBRARY);
    let (cpu, pid) = (run.folded("cpu"), specimen.pid());
    let frames = "main loads late_outer late_inner leaf_spins";
    assert_whole_soon(&cpu, pid, frames, &report);
}

#[test]
fn a_program_that_becomes_another_in_the_middle() {
    let Some(_turn) = privileged() else { return };
    let (run, report, _specimen) = late("exec", DYNAMIC);
    let cpu = run.folded("cpu");
    let burner = report.threads.iter().find(|thread| thread.comm == "60");
    let tid = burner.expect("its thread was seen").tid;
    assert_whole_soon(&cpu, tid, "thread_60 recurse*60 leaf", &report);
}

/// Of code that is new to the capture the first samples may come before its tables.
fn assert_whole_soon(cpu: &Folded, tid: u32, frames: &str, report: &Report) {
    let share = cpu.share(
        |line| line.is_of(tid) || line.has("leaf_spins"),
        |line| matches(&line.frames, frames),
    );
    assert!(
        share >= STACKS_EXACT_WHEN_NEW,
        "{share:.3}: {}\n{:#?}",
        cpu.top(|_| true),
        report.stacks
    );
}
