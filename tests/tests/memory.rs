//! Memory that grows: how much, in which mapping, by whose hand; and what came back is no growth.

use remora_tests::background::{Background, free_port};
use remora_tests::folded::{Folded, Line};
use remora_tests::gate::{self, privileged};
use remora_tests::proc::rollup_bytes;
use remora_tests::python::{self, Program};
use remora_tests::remora::{Remora, Run};
use remora_tests::report::{Memory, Report};
use remora_tests::servers;
use remora_tests::specimen::Specimen;
use remora_tests::tolerance::{
    GIVEN_BACK, GROWTH, GROWTH_OF_STACK, GROWTH_SHARE, RETURNED, assert_bytes, assert_share,
};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// Memory that the specimen touches and gives back: by `munmap`, `madvise` and `brk`.
const CHURNED: [(&str, u64); 3] = [
    ("churn_mapped", 32 * MIB),
    ("churn_advised", 32 * MIB),
    ("churn_brk", 16 * MIB),
];

/// A capture of the growth of one specimen.
struct Grown {
    run: Run,
    report: Report,
    pid: u32,
    /// By `smaps_rollup`: before and after.
    truth: (u64, u64),
    /// Resident in huge pages afterwards.
    huge: u64,
}

impl Grown {
    fn record(arguments: &[&str]) -> Self {
        let specimen = Specimen::start("grow");
        let pid = specimen.pid();
        let mut running = Remora::record(&[pid], 60).args(arguments).start();
        running.until_recording();
        let before = rollup_bytes(pid, "Rss");
        specimen.go();
        until_grown(pid);
        let after = rollup_bytes(pid, "Rss");
        let huge = rollup_bytes(pid, "AnonHugePages");
        running.signal(rustix::process::Signal::INT);
        let run = running.finish();
        run.assert_code(0);
        let report = run.report();
        Self {
            run,
            report,
            pid,
            truth: (before, after),
            huge,
        }
    }

    fn memory(&self) -> &Memory {
        self.report.memory_of(self.pid)
    }

    fn folded(&self) -> Folded {
        self.run.folded("memory")
    }
}

/// Waits until the specimen says by its name that it rests.
fn until_grown(pid: u32) {
    let start = Instant::now();
    let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm"));
    while comm().expect("it lives").trim_end() != "grown" {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it grows and grows"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn of(function: &str) -> impl Fn(&Line) -> bool {
    move |line| line.has(function)
}

#[test]
fn growth_is_that_of_smaps_and_each_function_has_its_part() {
    let Some(_turn) = privileged() else { return };
    let grown = Grown::record(&[]);
    let memory = grown.memory();
    let growth = grown.truth.1 - grown.truth.0;
    assert_bytes("growth", memory.growth_bytes.unsigned_abs(), growth, GROWTH);
    assert_eq!(memory.source, "mappings");
    assert_eq!(memory.huge_page_bytes, Some(grown.huge));
    let end = memory.end.anon_bytes + memory.end.file_bytes + memory.end.shmem_bytes;
    assert_bytes("resident", end, grown.truth.1, GROWTH);
    let shared = memory.end.shmem_bytes - memory.start.shmem_bytes;
    assert_bytes("shared", shared, 16 * MIB, GROWTH);

    let folded = grown.folded();
    let whole = folded.sum(|_| true);
    assert_bytes("all stacks", whole, growth, GROWTH);
    let unexplained = folded.share(|_| true, of("[no sampled fault]"));
    assert!(
        unexplained < GROWTH,
        "{unexplained}: {}",
        folded.top(|_| true)
    );
    let heap = |line: &Line| line.has_chain(&["run_grow", "grow_heap"]);
    assert_bytes("heap", folded.sum(heap), 64 * MIB, GROWTH_OF_STACK);
    assert_share(
        "mostly",
        folded.share(heap, of("grow_mostly")),
        0.75,
        GROWTH_SHARE,
    );
    let parts = [
        ("grow_huge", 32),
        ("grow_read", 16),
        ("grow_shared", 16),
        ("grow_arena", 8),
        ("grow_stack", 4),
        ("grow_thread_stack", 4),
    ];
    for (function, mib) in parts {
        let found = folded.sum(of(function));
        assert_bytes(function, found, mib * MIB, GROWTH_OF_STACK);
    }
    // The kernel's part of a system call that touches memory is there, what a fault does is not.
    let in_kernel =
        |line: &Line| line.has("grow_read") && line.frames.iter().any(|f| f.ends_with("_[k]"));
    assert!(folded.sum(in_kernel) > 0, "{}", folded.top(of("grow_read")));
    let handler = |line: &Line| line.frames.iter().any(|frame| frame.contains("page_fault"));
    assert_eq!(folded.sum(handler), 0, "{}", folded.top(handler));
    grown.report.assert_no_loss();
}

#[test]
fn what_came_back_is_not_drawn() {
    let Some(_turn) = privileged() else { return };
    let grown = Grown::record(&[]);
    let folded = grown.folded();
    let mut churned = 0;
    for (function, bytes) in CHURNED {
        churned += bytes;
        let drawn = folded.sum(of(function)) as f64 / bytes as f64;
        assert!(
            drawn < GIVEN_BACK,
            "{function}: {drawn}: {}",
            folded.top(of(function))
        );
    }
    assert_bytes("returned", grown.memory().returned_bytes, churned, RETURNED);
    assert!(grown.run.file("memory.svg").contains("grow_mostly"));
}

#[test]
fn each_kind_of_mapping_has_its_growth() {
    let Some(_turn) = privileged() else { return };
    let grown = Grown::record(&[]);
    let kinds = [
        ("heap", "heap", 64),
        ("arena", "arena", 8),
        ("stack", "stack", 4),
        ("thread_stack", "thread stack", 4),
        ("shared_memory", "shared memory", 16),
    ];
    for (kind, what, mib) in kinds {
        assert_bytes(what, grown.memory().growth_of(kind), mib * MIB, GROWTH);
    }
}

#[test]
fn one_in_few_and_one_in_many_say_the_same() {
    let Some(_turn) = privileged() else { return };
    for period in ["7", "251"] {
        let grown = Grown::record(&["--fault-period", period]);
        let growth = grown.truth.1 - grown.truth.0;
        let memory = grown.memory();
        assert_bytes(period, memory.growth_bytes.unsigned_abs(), growth, GROWTH);
        let folded = grown.folded();
        let heap = folded.sum(|line| line.has("grow_heap"));
        assert_bytes("heap", heap, 64 * MIB, GROWTH_OF_STACK);
        // The weights add up to the faults, but for those since the last sample.
        let one_in = memory.sampled_one_in.expect("some were sampled");
        let weights = (one_in * memory.samples as f64) as u64;
        let faults = memory.faults.expect("they are watched");
        assert_bytes("weights", weights, faults, GROWTH);
    }
}

#[test]
fn the_kernels_count_of_faults_says_the_same() {
    let Some(_turn) = privileged() else { return };
    let grown = Grown::record(&["--fault-hook", "counter"]);
    assert_eq!(grown.report.signal_state("page_faults"), "degraded");
    let folded = grown.folded();
    let heap = |line: &Line| line.has("grow_heap");
    assert_bytes("heap", folded.sum(heap), 64 * MIB, GROWTH_OF_STACK);
    let mostly = folded.share(heap, of("grow_mostly"));
    assert_share("mostly", mostly, 0.75, GROWTH_SHARE);
    assert_bytes(
        "read",
        folded.sum(of("grow_read")),
        16 * MIB,
        GROWTH_OF_STACK,
    );
    for (function, bytes) in CHURNED {
        let drawn = folded.sum(of(function)) as f64 / bytes as f64;
        assert!(drawn < GIVEN_BACK, "{function}: {drawn}");
    }
}

#[test]
fn without_faults_growth_has_no_stacks_and_is_right_all_the_same() {
    let Some(_turn) = privileged() else { return };
    let grown = Grown::record(&["--fault-period", "0"]);
    let memory = grown.memory();
    let growth = grown.truth.1 - grown.truth.0;
    assert_bytes("growth", memory.growth_bytes.unsigned_abs(), growth, GROWTH);
    assert_eq!(
        (memory.faults, memory.samples, memory.stacks.len()),
        (None, 0, 0)
    );
    assert_bytes("without a stack", memory.unattributed_bytes, growth, GROWTH);
    assert_eq!(grown.report.signal_state("page_faults"), "off");
}

#[test]
fn a_python_list_that_grows_is_named() {
    let Some(_turn) = privileged() else { return };
    let Some(interpreter) = python::interpreters().into_iter().next_back() else {
        return gate::skip("no CPython of a known version");
    };
    let mut program = Program::start(Command::new(interpreter).arg(python::specimen("grow.py")));
    assert_eq!(program.line(), "ready");
    let mut running = Remora::record(&[program.pid()], 60).start();
    running.until_recording();
    let before = rollup_bytes(program.pid(), "Rss");
    program.tell("grow");
    assert_eq!(program.line(), "grown");
    let growth = rollup_bytes(program.pid(), "Rss") - before;
    running.signal(rustix::process::Signal::INT);
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    let memory = report.memory_of(program.pid());
    assert_bytes("growth", memory.growth_bytes.unsigned_abs(), growth, GROWTH);
    let folded = run.folded("memory");
    let has = |name: &str| {
        let frame = format!("{name} (grow.py)_[p]");
        move |line: &Line| line.has(&frame)
    };
    let kept = |line: &Line| has("retain")(line) || has("cache")(line);
    let share = folded.share(|_| true, kept);
    assert!(
        share > 1.0 - GROWTH_OF_STACK,
        "{share}: {}",
        folded.top(|_| true)
    );
    assert_share(
        "retain",
        folded.share(kept, has("retain")),
        0.75,
        2.0 * GROWTH_SHARE,
    );
    assert!(folded.share(|_| true, has("temporary")) < GIVEN_BACK);
}

#[test]
fn redis_grows_where_it_makes_values() {
    let Some(_turn) = privileged() else { return };
    let port = free_port();
    let mut server = Command::new("redis-server");
    server.args([
        "--port",
        &port.to_string(),
        "--save",
        "",
        "--bind",
        "127.0.0.1",
    ]);
    let server = match Background::start(server.args(["--enable-debug-command", "yes"])) {
        Ok(server) => server,
        Err(why) => return gate::skip(&why),
    };
    let mut client = servers::connect(port).expect("it listens");
    let pid = server.pid();
    let mut running = Remora::record(&[pid], 60).start();
    running.until_recording();
    let before = rollup_bytes(pid, "Rss");
    writeln!(client, "DEBUG POPULATE 300000 key 100\r").expect("redis reads");
    let mut answer = String::new();
    BufReader::new(&client)
        .read_line(&mut answer)
        .expect("redis answers");
    assert_eq!(answer.trim_end(), "+OK");
    let growth = rollup_bytes(pid, "Rss") - before;
    running.signal(rustix::process::Signal::INT);
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    let memory = report.memory_of(pid);
    assert_bytes("growth", memory.growth_bytes.unsigned_abs(), growth, GROWTH);
    let folded = run.folded("memory");
    let share = folded.share(|_| true, |line| line.has_chain(&["call", "debugCommand"]));
    assert!(
        share > 1.0 - GROWTH_OF_STACK,
        "{share}: {}",
        folded.top(|_| true)
    );
}

#[test]
fn a_process_that_ends_or_execs_keeps_the_others_right() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("grow");
    let mut other = Command::new("sh")
        .args(["-c", "read go; exec sleep 1.5"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell");
    let pids = [specimen.pid(), other.id()];
    let mut running = Remora::record(&pids, 60).start();
    running.until_recording();
    let before = rollup_bytes(specimen.pid(), "Rss");
    drop(other.stdin.take());
    specimen.go();
    other.wait().expect("a child of this process");
    until_grown(specimen.pid());
    let growth = rollup_bytes(specimen.pid(), "Rss") - before;
    running.signal(rustix::process::Signal::INT);
    let run = running.finish();
    run.assert_code(0);
    let report = run.report();
    let memory = report.memory_of(specimen.pid());
    assert_bytes("growth", memory.growth_bytes.unsigned_abs(), growth, GROWTH);
    let ended = report.memory_of(pids[1]);
    assert_eq!(
        (ended.source.as_str(), ended.start.anon_bytes),
        ("counters", 0),
        "of the program that it executed: {ended:?}"
    );
    assert!(ended.growth_bytes > 0);
}
