//! Starts a specimen, talks to it by signals, and never leaves one behind.

use crate::compile;
use crate::truth::{Log, Window};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// The exit status by which a specimen says that this machine cannot do what its mode needs.
const UNSUPPORTED: i32 = 77;

/// The specimen's first line.
#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    /// Its process id as it sees it.
    pub pid: u32,
    /// Its threads by name; `main` is the first.
    pub tids: BTreeMap<String, u32>,
    /// What an interpreter says of them: by thread its frames, leaf first: name, file, line.
    #[serde(default)]
    pub frames: BTreeMap<String, Vec<(String, String, u32)>>,
}

/// Totals of one function over the specimen's life, from its last line.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Total {
    /// Wall clock, in nanoseconds.
    pub total_ns: u64,
    /// Of it on a CPU.
    pub cpu_ns: u64,
    /// Number of intervals.
    pub count: u64,
    /// Of them not ended.
    pub open: u64,
}

#[derive(Deserialize)]
struct Truth {
    functions: BTreeMap<String, Total>,
}

/// How to start one.
#[derive(Debug)]
pub struct Start {
    program: PathBuf,
    /// What runs the program, program and arguments: `unshare -pf`, say.
    prefix: Vec<String>,
    arguments: Vec<String>,
}

impl Start {
    /// The specimen in this mode; see `specimens/main.c` for what there is.
    pub fn mode(mode: &str) -> Self {
        Self::program(compile::specimen()).argument(mode)
    }

    /// Any program that speaks as a specimen does.
    pub fn program(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            prefix: Vec::new(),
            arguments: Vec::new(),
        }
    }

    /// The same specimen from another path.
    pub fn at(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    /// Runs it by another program, such as `unshare`.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// How long one of its waits lasts, in microseconds.
    pub fn period_us(self, us: u32) -> Self {
        self.argument("--period-us").argument(&us.to_string())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// The specimen's own words, when this machine cannot do what the mode needs.
    pub fn spawn(self) -> Result<Specimen, String> {
        let log = Log::create();
        let program = self.program.to_str().expect("a path of this test");
        let mut words = self.prefix.iter().map(String::as_str).chain([program]);
        let mut command = Command::new(words.next().expect("the program at least"));
        command
            .args(words)
            .args(&self.arguments)
            .current_dir(compile::folder());
        command.env("SPECIMEN_LOG_FD", log.descriptor().to_string());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = child.stdout.take().expect("it was piped");
        let mut specimen = Specimen {
            child,
            stdout: BufReader::new(stdout),
            ready: Ready {
                pid: 0,
                tids: BTreeMap::new(),
                frames: BTreeMap::new(),
            },
            log,
        };
        match specimen.next_ready() {
            Some(ready) => specimen.ready = ready,
            None => return Err(specimen.last_words()),
        }
        Ok(specimen)
    }

    /// As [`Start::spawn`], for modes that every machine can do.
    pub fn start(self) -> Specimen {
        self.spawn().unwrap_or_else(|why| panic!("{why}"))
    }
}

/// A running specimen; dropped, it is killed.
#[derive(Debug)]
pub struct Specimen {
    child: Child,
    stdout: BufReader<ChildStdout>,
    ready: Ready,
    /// Its own account.
    pub log: Log,
}

impl Specimen {
    /// The specimen in this mode, started.
    pub fn start(mode: &str) -> Self {
        Start::mode(mode).start()
    }

    /// Process id of what was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it said in its first line.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Thread id by name.
    pub fn tid(&self, name: &str) -> u32 {
        let tid = self.ready.tids.get(name);
        *tid.unwrap_or_else(|| panic!("no thread {name} in {:?}", self.ready))
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// SIGUSR1: what a mode waits for to exec or to exit.
    pub fn go(&self) {
        self.signal(Signal::USR1);
    }

    /// The next ready line: the first thing, and again after an exec. `None` when it ended instead.
    pub fn next_ready(&mut self) -> Option<Ready> {
        let mut line = String::new();
        self.stdout
            .read_line(&mut line)
            .expect("a specimen writes UTF-8");
        let json = line.strip_prefix("ready ")?;
        Some(serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Reads its output until it says this line.
    pub fn until_it_says(&mut self, words: &str) {
        let mut lines = self.stdout.by_ref().lines().map_while(Result::ok);
        assert!(
            lines.any(|line| line == words),
            "it ended without {words:?}"
        );
    }

    /// Ends it by SIGTERM and returns its own totals by function.
    pub fn stop(mut self) -> BTreeMap<String, Total> {
        self.signal(Signal::TERM);
        let last = self.stdout.by_ref().lines().map_while(Result::ok).last();
        let last =
            last.unwrap_or_else(|| panic!("no truth; standard error: {}", self.last_words()));
        let truth: Truth =
            serde_json::from_str(&last).unwrap_or_else(|error| panic!("{error}: {last}"));
        truth.functions
    }

    /// Waits for its end; returns its exit status, `None` when a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        self.child.wait().expect("a child of this process").code()
    }

    /// Time that one thread was off the CPU in `function`, by its own account.
    pub fn off_cpu(&self, function: &str, thread: &str, window: Window) -> std::time::Duration {
        self.log
            .spent(function, Some(self.tid(thread)), window)
            .off_cpu()
    }

    /// Lengths of its intervals in `function` that lie inside `window`, by its own clock.
    pub fn lengths(&self, function: &str, window: Window) -> Vec<std::time::Duration> {
        self.log.lengths(function, window)
    }

    fn last_words(&mut self) -> String {
        let status = self.wait();
        let mut words = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            drop(stderr.read_to_string(&mut words));
        }
        assert!(
            status == Some(UNSUPPORTED),
            "the specimen failed with {status:?}: {words}"
        );
        words.trim().to_owned()
    }
}

impl Drop for Specimen {
    fn drop(&mut self) {
        crate::proc::end(&mut self.child);
        drop(std::fs::remove_file(format!(
            "/tmp/perf-{}.map",
            self.pid()
        )));
    }
}

/// Sends a signal to a process that this test started.
pub fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid as i32).expect("a process id is positive");
    kill_process(pid, signal).expect("the process is this test's own");
}
