//! Programs that nobody here wrote: redis under load, an asyncio server of CPython.

use remora_tests::background::{Background, free_port};
use remora_tests::gate::{privileged, skip};
use remora_tests::proc;
use remora_tests::remora::{Remora, Run};
use remora_tests::report::Report;
use remora_tests::schedule::Recorder;
use remora_tests::tolerance::{
    ON_CPU_AND_QUEUED, SLACK, WAIT_FLOOR, WAKE_UP_DELIVERY, WHOLE, assert_near,
};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

fn connect(port: u16) -> TcpStream {
    let started = Instant::now();
    loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => return stream,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

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
    // A stripped binary costs names. Built without frame pointers, as these two and libc are, a
    // program also gives stacks whose callers are no code at all, until there is an unwinder. Both
    // are counted; nothing else may be lost.
    report.assert_lost_only(&["unsymbolised_frames", "unmapped_frames"]);
    assert_eq!(report.schema, 1);
    assert!(report.overhead.agent_rss_bytes > 0);
    assert!(!run.stdout.is_empty(), "no summary");
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
    drop(connect(port.parse().expect("a number")));
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
    let mut stream = connect(port);
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
