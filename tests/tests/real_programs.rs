//! Programs that nobody here wrote, under load: redis, PostgreSQL, nginx, asyncio servers, node, a
//! JVM. Of the native ones and of CPython nearly every stack must be whole.

use remora_tests::background::{Background, free_port};
use remora_tests::folded::Line;
use remora_tests::gate::{privileged, skip};
use remora_tests::proc;
use remora_tests::remora::{Remora, Run};
use remora_tests::report::{Report, Thread};
use remora_tests::schedule::Recorder;
use remora_tests::servers::{self, Loaded, connect};
use remora_tests::tolerance::{
    ON_CPU_AND_QUEUED, SLACK, STACKS_COMPLETE_PCT, WAIT_FLOOR, WAKE_UP_DELIVERY, WHOLE, assert_near,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const ECHO_SERVER: &str = "
import asyncio, sys
async def echo(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(echo, '127.0.0.1', int(sys.argv[1]))
    async with server:
        await server.serve_forever()
asyncio.run(main())
";

/// Captures a process and compares each thread with the scheduler's account.
fn watch(pid: u32) -> (Run, Report) {
    let threads: Vec<_> = proc::tids(pid).into_iter().map(|tid| (pid, tid)).collect();
    let recorder = Recorder::start(threads.clone());
    let (run, report) = Remora::record(&[pid], 4).capture();
    let (schedule, window) = (recorder.finish(), report.window());
    for (_, tid) in threads {
        let (thread, truth) = (report.thread(tid), schedule.inside(tid, window));
        let what = format!("{} {tid}", thread.comm);
        let (found, expected) = (thread.on_cpu() + thread.queued(), truth.run + truth.queued);
        let off = expected.mul_f64(ON_CPU_AND_QUEUED).max(SLACK);
        let delivery = WAKE_UP_DELIVERY.mul_f64(thread.run_queue.wakes as f64);
        assert!(
            found + off >= expected && found <= expected + off + delivery,
            "on the CPU or waiting for it: {found:?}, by schedstat {expected:?}: {thread:#?}"
        );
        let observed = Duration::from_nanos(thread.observed_ns);
        assert_near(
            &format!("states of {what}"),
            thread.accounted(),
            observed,
            WHOLE,
        );
    }
    assert_complete(&run, &report);
    (run, report)
}

fn assert_complete(run: &Run, report: &Report) {
    for file in ["cpu.svg", "offcpu.svg", "cpu.folded", "offcpu.folded"] {
        assert!(!run.file(file).is_empty(), "{file} is empty");
    }
    report.assert_no_loss();
    assert_whole_stacks(&report.targets[0].comm, report);
    assert_eq!(report.schema, 1);
    assert!(report.overhead.agent_rss_bytes > 0);
    assert!(!run.stdout.is_empty(), "no summary");
}

/// Says which share of the stacks is whole, and panics when it is less than 99 %.
fn assert_whole_stacks(what: &str, report: &Report) {
    say_whole_stacks(what, report);
    let found = report.whole_pct();
    assert!(found >= STACKS_COMPLETE_PCT, "{:#?}", report.stacks);
}

/// Says it, and nothing more: of code that is made at run time a part may have no frame pointers.
fn say_whole_stacks(what: &str, report: &Report) {
    let stacks = &report.stacks;
    let found = stacks.complete_pct.expect("stacks were taken");
    let causes = &stacks.incomplete;
    let words = format!(
        "{what}: {found:.2} % of {} stacks complete; {causes:?}",
        stacks.taken
    );
    drop(writeln!(std::io::stderr(), "{words}"));
}

fn assert_epoll_dominates(report: &Report, tid: u32) {
    let thread = report.thread(tid);
    let epoll = thread.blocked_for("epoll");
    let all = epoll + thread.blocked_otherwise("epoll");
    assert!(epoll >= all.mul_f64(WAIT_FLOOR), "{:#?}", thread.blocked);
    assert!(all > Duration::ZERO, "it never waited: {thread:#?}");
}

#[test]
fn redis_under_load() {
    let Some(_turn) = privileged() else { return };
    let (port, folder) = (
        free_port().to_string(),
        tempfile::tempdir().expect("a folder"),
    );
    let mut server = Command::new("redis-server");
    server.args([
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    let server = match Background::start(server.current_dir(folder.path())) {
        Ok(server) => server,
        Err(why) => return skip(&why),
    };
    connect(port.parse().expect("a number")).expect("it serves");
    let mut load = Command::new("redis-benchmark");
    load.args([
        "-p",
        &port,
        "-t",
        "set,get",
        "-c",
        "20",
        "-n",
        "100000000",
        "-q",
    ]);
    let _load = match Background::start(&mut load) {
        Ok(load) => load,
        Err(why) => return skip(&why),
    };
    std::thread::sleep(Duration::from_millis(300));
    let (_run, report) = watch(server.pid());
    let main = report.thread(server.pid());
    assert!(
        main.on_cpu() > Duration::from_millis(500),
        "no load: {main:#?}"
    );
    assert_epoll_dominates(&report, server.pid());
    // Its background threads wait for jobs: futex, and nothing else.
    let waiters = report
        .threads
        .iter()
        .filter(|thread| thread.comm.starts_with("bio_"));
    assert!(waiters.clone().count() >= 3, "{report:#?}");
    for thread in waiters {
        assert_eq!(thread.now.reason.as_deref(), Some("futex"), "{thread:#?}");
        let whole = report.window().length();
        assert_near(&thread.comm, thread.blocked_for("futex"), whole, WHOLE);
    }
}

#[test]
fn an_asyncio_echo_server() {
    let Some(_turn) = privileged() else { return };
    let port = free_port();
    let mut server = Command::new("python3");
    server.args(["-c", ECHO_SERVER, &port.to_string()]);
    let server = match Background::start(&mut server) {
        Ok(server) => server,
        Err(why) => return skip(&why),
    };
    let mut stream = connect(port).expect("it serves");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| echo_until(&mut stream, &done));
        let watched = std::panic::catch_unwind(|| watch(server.pid()));
        done.store(true, Ordering::Relaxed);
        let (run, report) = watched.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        assert_epoll_dominates(&report, server.pid());
        let main = report.thread(server.pid());
        assert!(
            main.on_cpu() > Duration::from_millis(20),
            "no load: {main:#?}"
        );
        // Waiting for clients is an event loop's idle: apart by default.
        let offcpu = run.folded("offcpu");
        assert_eq!(
            offcpu.sum(|line| line.reason() == "epoll"),
            0,
            "{}",
            offcpu.top(|_| true)
        );
    });
}

/// A message each 2 ms, and its echo.
fn echo_until(stream: &mut TcpStream, done: &AtomicBool) {
    let mut answer = [0; 64];
    while !done.load(Ordering::Relaxed) {
        stream.write_all(&[7; 64]).expect("the server lives");
        stream.read_exact(&mut answer).expect("the server echoes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Captures a server under load, with its children; `None` when it is not installed.
fn capture(server: Result<Loaded, String>) -> Option<(Run, Report)> {
    match server {
        Ok(server) => {
            std::thread::sleep(Duration::from_millis(500));
            let record = Remora::record(&[server.pid()], 4).args(&["--children"]);
            Some(record.capture())
        }
        Err(why) => {
            skip(&why);
            None
        }
    }
}

/// Panics unless the server had work to do: stacks of its rest alone prove little.
fn assert_busy(report: &Report) {
    let busy: Duration = report.threads.iter().map(Thread::on_cpu).sum();
    assert!(busy > Duration::from_millis(50), "no load: {busy:?}");
}

#[test]
fn stacks_of_nginx() {
    let Some(_turn) = privileged() else { return };
    if let Some((_, report)) = capture(servers::nginx()) {
        assert_busy(&report);
        assert_whole_stacks("nginx", &report);
    }
}

#[test]
fn stacks_of_postgresql() {
    let Some(_turn) = privileged() else { return };
    if let Some((_, report)) = capture(servers::postgres()) {
        assert_busy(&report);
        assert!(
            report.targets.len() > 4,
            "no backends: {:#?}",
            report.targets
        );
        assert_whole_stacks("PostgreSQL", &report);
    }
}

#[test]
fn stacks_of_an_asyncio_server_from_the_package_index() {
    let Some(_turn) = privileged() else { return };
    if let Some((run, report)) = capture(servers::aiohttp()) {
        assert_busy(&report);
        assert_whole_stacks("aiohttp", &report);
        let cpu = run.folded("cpu");
        let named = |line: &Line| line.has("answer (<string>)_[p]");
        assert!(
            cpu.sum(named) > 0,
            "the handler is not there: {}",
            cpu.top(|_| true)
        );
    }
}

#[test]
fn stacks_of_code_made_at_run_time() {
    let Some(_turn) = privileged() else { return };
    for (what, server) in [("node", servers::node()), ("a JVM", servers::java())] {
        if let Some((run, report)) = capture(server) {
            assert_busy(&report);
            assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
            say_whole_stacks(what, &report);
        }
    }
}
