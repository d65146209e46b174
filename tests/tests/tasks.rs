//! `remora triage --tasks` against what programs say of their own tasks.

use remora_tests::background::{Background, free_port};
use remora_tests::gate::{privileged, skip};
use remora_tests::python::{Program, interpreters, interpreters_with, specimen};
use remora_tests::remora::{Remora, Run};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Characters of a name that are shown.
const NAME: usize = 1024;
/// Coroutines of a task that are shown.
const FRAMES: usize = 64;
/// Sleeps of the specimen, in seconds.
const SLEEP_S: f64 = 3600.0;

#[derive(Debug, Deserialize)]
struct Look {
    schema: u32,
    tasks: Vec<Task>,
    loops: Vec<Loop>,
    torn: u64,
    loss: BTreeMap<String, u64>,
    took_ns: u64,
}

#[derive(Debug, Deserialize)]
struct Task {
    id: String,
    name: String,
    class: String,
    #[serde(rename = "loop")]
    loop_id: String,
    state: String,
    cancelling: bool,
    torn: bool,
    awaits: Option<Await>,
    stack: Vec<Frame>,
    stack_cut: bool,
}

#[derive(Debug, Deserialize)]
struct Await {
    kind: String,
    object: String,
    tasks: BTreeSet<String>,
    left_s: Option<f64>,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Frame {
    function: String,
    file: String,
    /// A running function may be at an instruction without a line.
    line: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Loop {
    id: String,
    class: String,
    running: bool,
    tid: Option<u32>,
    thread: Option<String>,
    current_task: Option<String>,
}

/// The specimen's account of itself.
#[derive(Debug, Deserialize)]
struct Truth {
    tasks: Vec<TrueTask>,
    main: TrueTask,
    #[serde(rename = "loop")]
    loop_id: String,
    loop_class: String,
    tid: u32,
}

#[derive(Debug, Deserialize)]
struct TrueTask {
    id: String,
    name: String,
    class: String,
    #[serde(rename = "loop")]
    loop_id: String,
    stack: Vec<Frame>,
    #[serde(default)]
    state: String,
    #[serde(default)]
    cancelling: bool,
    awaits: Option<String>,
    #[serde(default)]
    tasks: BTreeSet<String>,
    object: Option<String>,
}

fn triage(pid: u32, arguments: &[&str]) -> Run {
    let pid = pid.to_string();
    Remora::with(&["triage", "--pid", &pid])
        .args(arguments)
        .run()
}

fn look(pid: u32) -> Look {
    let run = triage(pid, &["--tasks", "--json"]);
    run.assert_code(0);
    let look: Look =
        serde_json::from_str(&run.stdout).unwrap_or_else(|error| panic!("{error}: {}", run.stdout));
    assert_eq!(look.schema, 1);
    look
}

fn each_version(what: impl Fn(&Path)) {
    let Some(_turn) = privileged() else { return };
    let found = interpreters();
    if found.is_empty() {
        return skip("no CPython 3.8 to 3.13 is installed");
    }
    for program in found {
        println!("{}", program.display());
        what(&program);
    }
}

/// Compares one task, all of it.
fn assert_task(seen: &Task, truth: &TrueTask) {
    let name = if truth.name.chars().count() > NAME {
        truth.name.chars().take(NAME).collect::<String>() + "…"
    } else {
        truth.name.clone()
    };
    assert_eq!(seen.name, name);
    assert_eq!(
        (&seen.class, &seen.loop_id),
        (&truth.class, &truth.loop_id),
        "{name}"
    );
    let outer = truth.stack.len().saturating_sub(FRAMES);
    assert_eq!(seen.stack, truth.stack[outer..], "{name}");
    assert_eq!(seen.stack_cut, outer > 0, "{name}");
    assert!(!seen.torn, "{name} stands still");
    assert_eq!(seen.state, truth.state, "{name}");
    assert_eq!(seen.cancelling, truth.cancelling, "{name}");
    assert_eq!(seen.awaits.is_some(), truth.state == "waiting", "{name}");
    let Some(awaits) = &seen.awaits else { return };
    let Some(kind) = &truth.awaits else { return };
    assert_eq!(&awaits.kind, kind, "{name}: {awaits:?}");
    if let Some(object) = &truth.object {
        assert_eq!(&awaits.object, object, "{name}: {awaits:?}");
    }
    if kind == "task_group" {
        assert_eq!(awaits.tasks.len(), 2, "{name}: {awaits:?}");
    } else {
        assert_eq!(awaits.tasks, truth.tasks, "{name}: {awaits:?}");
    }
}

/// Compares all tasks of the specimen.
fn assert_same(look: &Look, truth: &Truth) {
    let mut seen: BTreeMap<&str, &Task> = look.tasks.iter().map(|task| (&*task.id, task)).collect();
    for task in &truth.tasks {
        let seen = seen.remove(&*task.id);
        assert_task(
            seen.unwrap_or_else(|| panic!("{} is missing", task.name)),
            task,
        );
    }
    let main = seen
        .remove(&*truth.main.id)
        .expect("the running task is there");
    assert_eq!(main.state, "running");
    assert_eq!(main.name, truth.main.name);
    let functions: Vec<&str> = main.stack.iter().map(|frame| &*frame.function).collect();
    assert_eq!(
        functions,
        ["main", "last", "stuck"],
        "what it calls is its stack"
    );
    // The other thread's loop has the one that is left.
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(look.torn, 0);
    let lost: Vec<_> = look.loss.iter().filter(|(_, lost)| **lost > 0).collect();
    assert_eq!(format!("{lost:?}"), r#"[("task_frames_cut", 1)]"#);
    assert_eq!(look.loops.len(), 2, "{:?}", look.loops);
    let own = look.loops.iter().find(|own| own.id == truth.loop_id);
    let own = own.expect("the loop is there");
    assert!(own.running && own.class.ends_with(&truth.loop_class));
    assert_eq!(own.tid, Some(truth.tid));
    assert_eq!(own.current_task.as_ref(), Some(&truth.main.id));
    let other = look.loops.iter().find(|other| other.id != truth.loop_id);
    let other = other.expect("two loops");
    assert!(
        other.running && other.tid.is_some() && other.tid != own.tid && other.thread.is_some(),
        "{other:?}"
    );
}

#[test]
fn all_that_a_program_says_of_its_tasks_is_seen_from_outside() {
    each_version(|program| {
        let mut running = Program::start(Command::new(program).arg(specimen("tasks.py")));
        let truth: Truth = serde_json::from_str(&running.line()).expect("its account");
        assert!(truth.tasks.len() > 30, "{}", truth.tasks.len());
        let look = look(running.pid());
        assert_same(&look, &truth);
        let slept = look.tasks.iter().find(|task| task.name == "sleeper");
        let left = slept.and_then(|task| task.awaits.as_ref()?.left_s);
        let left = left.expect("a timer of asyncio says when");
        assert!((SLEEP_S - 60.0..SLEEP_S).contains(&left), "{left}");
    });
}

#[test]
fn it_is_the_same_on_uvloop() {
    let Some(_turn) = privileged() else { return };
    let found = interpreters_with("uvloop");
    if found.is_empty() {
        return skip("no CPython here has uvloop");
    }
    for program in found {
        let mut command = Command::new(&program);
        command.arg(specimen("tasks.py")).env("UVLOOP", "1");
        let mut running = Program::start(&mut command);
        let truth: Truth = serde_json::from_str(&running.line()).expect("its account");
        assert_same(&look(running.pid()), &truth);
    }
}

#[test]
fn the_table_says_it_to_people() {
    each_version(|program| {
        let mut running = Program::start(Command::new(program).arg(specimen("tasks.py")));
        let _truth = running.line();
        let page = triage(running.pid(), &["--tasks", "--stacks"]);
        page.assert_code(0);
        for words in [
            "awaits-task                   waiting  task sleeper",
            "gather gathered-0, gathered-1, gathered-2",
            "Lock.acquire 0x",
            "stuck (tasks.py:",
            "sleep, 59 min 5",
            "loss: task_frames_cut 1",
        ] {
            assert!(page.stdout.contains(words), "{words}: {}", page.stdout);
        }
    });
}

#[test]
fn tasks_that_come_and_go_are_never_nonsense() {
    each_version(|program| {
        let mut running = Program::start(Command::new(program).arg(specimen("churn.py")));
        assert_eq!(running.line(), "ready");
        let started = Instant::now();
        let (mut tasks, mut frames, mut torn) = (0, 0, 0);
        while started.elapsed() < Duration::from_secs(3) {
            let look = look(running.pid());
            tasks += look.tasks.len();
            torn += look.torn;
            for task in &look.tasks {
                assert_known(task);
                frames += task.stack.len();
                // What a running one calls is anything.
                if task.state != "running" {
                    assert_one_moment(task);
                }
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        running.end_input();
        let made: f64 = running.line().parse().expect("a number");
        println!(
            "{:.0} tasks a second; seen {tasks}, torn {torn}",
            made / seconds
        );
        assert!(made > tasks as f64, "more came and went than were seen");
        assert!(tasks > 100 && frames > tasks, "{tasks} {frames}");
        assert!(torn * 4 < tasks as u64, "{torn} of {tasks} are torn");
    });
}

/// The chains of the specimen: what is seen of a task is the beginning of one of them, whole.
const CHAINS: [&[&str]; 4] = [
    &["outer", "middle", "inner", "sleep", "__sleep0"],
    &["consumer", "source", "sleep", "__sleep0"],
    &["wave"],
    &["main"],
];

fn assert_one_moment(task: &Task) {
    let functions: Vec<&str> = task.stack.iter().map(|frame| &*frame.function).collect();
    let whole = CHAINS.iter().any(|chain| functions == *chain);
    // One that has not begun is at its first line, one that is torn shows nothing.
    let new = CHAINS.iter().any(|chain| functions == chain[..1]) && task.state == "ready";
    assert!(whole || new || task.torn, "{task:?}");
    for frame in &task.stack {
        let line = frame.line.is_some_and(|line| line < 1000);
        assert!(line && frame.file.ends_with(".py"), "{task:?}");
    }
}

fn assert_known(task: &Task) {
    let numbers: Vec<&str> = match task.name.strip_prefix("churn-") {
        Some(rest) => rest.split('-').collect(),
        None => vec![task.name.strip_prefix("Task-").unwrap_or(&task.name)],
    };
    let are_numbers = numbers.iter().all(|number| number.parse::<u64>().is_ok());
    assert!(are_numbers && task.class == "Task", "{task:?}");
    assert!(
        ["running", "ready", "waiting"].contains(&&*task.state),
        "{task:?}"
    );
}

#[test]
fn a_thousand_tasks_are_seen_whole() {
    each_version(|program| {
        let mut command = Command::new(program);
        command.args([specimen("tasks.py").as_os_str(), "1000".as_ref()]);
        let mut running = Program::start(&mut command);
        let truth: Truth = serde_json::from_str(&running.line()).expect("its account");
        let look = look(running.pid());
        assert_same(&look, &truth);
        let took = Duration::from_nanos(look.took_ns);
        println!("{} tasks in {took:?}", look.tasks.len());
        assert!(look.tasks.len() > 1000);
    });
}

/// Asks the server for its page until the time is over: how often.
fn ask(port: u16, time: Duration) -> u32 {
    let (started, mut asked) = (Instant::now(), 0);
    while started.elapsed() < time {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let request = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        stream.write_all(request).expect("it takes requests");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.ends_with("hello"), "{answer}");
        asked += 1;
    }
    asked
}

#[test]
fn an_aiohttp_server_under_load() {
    let Some(_turn) = privileged() else { return };
    let found = interpreters_with("aiohttp, uvloop");
    if found.is_empty() {
        return skip("no CPython here has aiohttp and uvloop");
    }
    for (program, loop_name) in found
        .iter()
        .flat_map(|program| ["asyncio", "uvloop"].map(|name| (program, name)))
    {
        let port = free_port();
        let mut server = Command::new(program);
        server.arg(specimen("web.py"));
        let server = Background::start(server.args([&port.to_string(), loop_name]))
            .expect("the interpreter runs");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(ask(port, Duration::from_secs(6)) > 10));
            }
            std::thread::sleep(Duration::from_secs(3));
            let mut handled = 0;
            for _ in 0..20 {
                let look = look(server.pid());
                let names: BTreeSet<&str> = look.tasks.iter().map(|task| &*task.name).collect();
                for answerer in ["answers-0", "answers-1", "answers-2", "answers-3"] {
                    assert!(names.contains(answerer), "{names:?}");
                }
                let handles = |task: &&Task| task.stack.iter().any(|f| f.function == "handle");
                handled += look.tasks.iter().filter(handles).count();
            }
            assert!(
                handled > 20,
                "requests are seen in their handler: {handled}"
            );
        });
    }
}

#[test]
fn what_cannot_be_looked_at_is_said_in_one_line() {
    let Some(_turn) = privileged() else { return };
    let sleep = Background::start(Command::new("sleep").arg("300")).expect("coreutils");
    triage(sleep.pid(), &["--tasks"]).assert_refused(3, &["no CPython interpreter"]);
    triage(sleep.pid(), &["--stacks"]).assert_refused(2, &["--tasks"]);
    triage(0, &["--tasks"]).assert_refused(2, &["--pid"]);
    triage(u32::MAX, &["--tasks"]).assert_refused(3, &["no process"]);
}

#[test]
fn a_python_without_asyncio_has_no_tasks() {
    each_version(|program| {
        let mut command = Command::new(program);
        let script = "import sys; print('ready', flush=True); sys.stdin.read()";
        let mut running = Program::start(command.args(["-c", script]));
        assert_eq!(running.line(), "ready");
        let look = look(running.pid());
        assert!(look.tasks.is_empty() && look.loops.is_empty(), "{look:?}");
        assert!(look.loss.values().all(|lost| *lost == 0), "{:?}", look.loss);
    });
}
