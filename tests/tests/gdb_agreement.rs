//! Every frame of hundreds of stopped threads, compared with what a debugger and py-spy say.

use remora_tests::background::{Background, free_port};
use remora_tests::chains::STOPS;
use remora_tests::debugger::{Agreement, compare_with_gdb, compare_with_py_spy};
use remora_tests::gate::{privileged, skip};
use remora_tests::proc;
use remora_tests::servers::nginx_command;
use remora_tests::specimen::Start;
use remora_tests::tolerance::FRAMES_AGREE;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

/// Panics when less than 99 % agree; says the figure otherwise.
fn assert_agrees(what: &str, agreement: &Agreement) {
    let figures = format!(
        "{what}: {} of {} stacks and {} of {} frames agree; with inlined functions {} stacks",
        agreement.same_stacks,
        agreement.stacks,
        agreement.same_frames,
        agreement.frames,
        agreement.same_inlined
    );
    drop(writeln!(std::io::stderr(), "{figures}"));
    assert!(
        agreement.of_frames() >= FRAMES_AGREE && agreement.of_stacks() >= FRAMES_AGREE,
        "{figures}:\n{}",
        agreement.differences.join("\n")
    );
}

#[test]
fn threads_that_stopped_anywhere() {
    let Some(_turn) = privileged() else { return };
    let seed = std::process::id().to_string();
    let program = STOPS.path().unwrap_or_else(|why| panic!("{why}"));
    let specimen = Start::program(&program).argument(&seed).start();
    match compare_with_gdb(specimen.pid(), &[]) {
        Ok(agreement) => {
            assert!(agreement.stacks >= 300, "{agreement:?}");
            assert_agrees(&format!("threads by the seed {seed}"), &agreement);
        }
        Err(why) => skip(&why),
    }
}

/// Waits until the process has so many threads, all blocked.
fn settle(pid: u32, threads: usize) {
    let started = Instant::now();
    let is_blocked = |tid: &u32| proc::blocked_in(pid, *tid).is_some();
    loop {
        let tids = proc::tids(pid);
        if tids.len() >= threads && tids.iter().all(is_blocked) {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{tids:?} of {pid} are busy"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Threads of a Python program that wait, each in another way and depth.
const PYTHON: &str = "
import functools, queue, random, select, socket, sys, threading, time
random.seed(int(sys.argv[1]))
lock = threading.Lock()
lock.acquire()
ours, theirs = socket.socketpair()
ends = [lambda: time.sleep(3600), lock.acquire, queue.Queue().get, threading.Event().wait,
        lambda: ours.recv(1), lambda: select.select([], [], [])]
def step(left):
    if left == 0:
        return random.choice(ends)()
    return random.choice([step, sort, fold, comprehend, generate])(left - 1)
def sort(left):
    return sorted([1], key=lambda _: step(left))
def fold(left):
    return functools.reduce(lambda a, b: step(left), [1, 2])
def comprehend(left):
    return [step(left) for _ in range(1)]
def generate(left):
    def numbers():
        yield step(left)
    return next(numbers())
for _ in range(100):
    threading.Thread(target=step, args=[random.randrange(20)], daemon=True).start()
time.sleep(3600)
";

#[test]
fn threads_of_python() {
    let Some(_turn) = privileged() else { return };
    let mut python = Command::new("python3");
    python.args(["-c", PYTHON, &std::process::id().to_string()]);
    let python = match Background::start(&mut python) {
        Ok(python) => python,
        Err(why) => return skip(&why),
    };
    settle(python.pid(), 101);
    match compare_with_gdb(python.pid(), &["--python", "off"]) {
        Ok(agreement) => assert_agrees("native frames of Python", &agreement),
        Err(why) => skip(&why),
    }
    match compare_with_py_spy(python.pid()) {
        Ok(agreement) => assert_agrees("frames of Python, by py-spy", &agreement),
        Err(why) => skip(&why),
    }
}

#[test]
fn servers_at_rest() {
    let Some(_turn) = privileged() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mut redis = Command::new("redis-server");
    redis.args(["--port", &free_port().to_string(), "--save", ""]);
    let redis = Background::start(redis.current_dir(folder.path()));
    let nginx = Background::start(&mut nginx_command(folder.path(), free_port()));
    let mut agreement = Agreement::default();
    for (name, threads, server) in [("redis", 5, redis), ("nginx", 1, nginx)] {
        let compared = server.and_then(|server| {
            settle(server.pid(), threads);
            compare_with_gdb(server.pid(), &[])
        });
        match compared {
            Ok(compared) => agreement.merge(compared),
            Err(why) => skip(&format!("{name}: {why}")),
        }
    }
    if agreement.stacks > 0 {
        assert_agrees("servers at rest", &agreement);
    }
}
