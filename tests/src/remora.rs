//! Runs the real binary, and reads what it leaves.

use crate::folded::Folded;
use crate::gate::remora_binary;
use crate::proc;
use crate::report::Report;
use crate::specimen::send;
use rustix::process::Signal;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Start-up, symbolisation and report of the largest specimen take a few seconds here; a run that
/// takes this much longer than its capture hangs.
const PATIENCE: Duration = Duration::from_secs(40);

/// A run to be made.
#[derive(Debug)]
pub struct Remora {
    prefix: Vec<String>,
    arguments: Vec<String>,
    folder: TempDir,
    out: PathBuf,
    /// How long its capture is, where that is long.
    length: Duration,
}

impl Remora {
    /// With exactly these arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let out = folder.path().join("report");
        let arguments = arguments.iter().map(ToString::to_string).collect();
        Self {
            prefix: Vec::new(),
            arguments,
            folder,
            out,
            length: Duration::ZERO,
        }
    }

    /// A capture of these processes: `seconds` long, report in a folder of its own.
    pub fn record(pids: &[u32], seconds: u32) -> Self {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        Self::with(&["--pid", &pids.join(","), "--duration", &seconds.to_string()]).out_in_folder()
    }

    /// Adds `--out`, a folder of its own that does not exist yet.
    pub fn out_in_folder(self) -> Self {
        let out = self.out.clone();
        self.out(&out)
    }

    /// Adds `--out` with this folder.
    pub fn out(mut self, out: &Path) -> Self {
        out.clone_into(&mut self.out);
        self.args(&["--out", &out.to_string_lossy()])
    }

    /// Adds arguments.
    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// Its capture is so long.
    pub fn lasting(mut self, length: Duration) -> Self {
        self.length = length;
        self
    }

    /// Runs it by another program, such as `setpriv`.
    pub fn under(mut self, prefix: &[&str]) -> Self {
        self.prefix = prefix.iter().map(ToString::to_string).collect();
        self
    }

    /// Starts it.
    pub fn start(self) -> Running {
        let binary = remora_binary();
        let binary = binary.to_str().expect("a path that can be printed");
        let mut words = self.prefix.iter().map(String::as_str).chain([binary]);
        let mut command = Command::new(words.next().expect("the binary at least"));
        let file = |name: &str| File::create(self.folder.path().join(name)).expect("own folder");
        command
            .args(words)
            .args(&self.arguments)
            .current_dir(self.folder.path());
        command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Running {
            child,
            command: format!("{command:?}"),
            folder: Some(self.folder),
            out: self.out,
            patience: PATIENCE + self.length,
        }
    }

    /// Runs it to its end.
    pub fn run(self) -> Run {
        self.start().finish()
    }

    /// Runs it to its end, which must be a success, and reads the report.
    pub fn capture(self) -> (Run, Report) {
        let run = self.run();
        run.assert_code(0);
        let report = run.report();
        (run, report)
    }
}

/// A run in progress; dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    child: Child,
    command: String,
    folder: Option<TempDir>,
    out: PathBuf,
    patience: Duration,
}

impl Running {
    /// Process id of what was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Process id of the agent itself: the process that was started only waits for it.
    pub fn agent(&self) -> u32 {
        proc::child_of(self.pid()).unwrap_or_else(|| panic!("{} has no agent", self.command))
    }

    /// Sends a signal, as Ctrl-C does.
    pub fn signal(&self, signal: Signal) {
        send(self.pid(), signal);
    }

    /// Whether its standard error holds this.
    pub fn says(&self, words: &str) -> bool {
        self.text("stderr").contains(words)
    }

    /// Waits until it says that it records: its programs are attached and count.
    pub fn until_recording(&mut self) {
        let start = Instant::now();
        while !self.says("remora: recording") {
            let ended = self.child.try_wait().expect("a child of this process");
            assert!(
                ended.is_none() && start.elapsed() < self.patience,
                "{} is not recording ({ended:?}): {}",
                self.command,
                self.text("stderr")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether its programs are attached, by its descriptors: `triage` says nothing until its end.
    pub fn is_attached(&self) -> bool {
        let is_link = |entry: std::fs::DirEntry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|link| link == Path::new("anon_inode:bpf_link"))
        };
        let folder = proc::child_of(self.pid()).map(|agent| format!("/proc/{agent}/fd"));
        let entries = folder.and_then(|folder| std::fs::read_dir(folder).ok());
        let entries = entries.into_iter().flatten().flatten();
        entries.into_iter().any(is_link)
    }

    /// Waits until its programs are attached.
    pub fn until_attached(&mut self) {
        let start = Instant::now();
        while !self.is_attached() {
            let ended = self.child.try_wait().expect("a child of this process");
            assert!(
                ended.is_none() && start.elapsed() < self.patience,
                "{} attaches nothing ({ended:?}): {}",
                self.command,
                self.text("stderr")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait();
        ended.expect("a child of this process").is_some()
    }

    /// Whether it ends by this time.
    pub fn ends_before(&mut self, limit: Instant) -> bool {
        while !self.has_ended() {
            if Instant::now() > limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }

    /// Kills it and does not wait: what sleeps uninterruptibly ends later.
    pub fn kill(&mut self) {
        drop(self.child.kill());
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Run {
        let start = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child of this process") {
                break status;
            }
            assert!(
                start.elapsed() < self.patience,
                "{} hangs: {}",
                self.command,
                self.text("stderr")
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        Run {
            status,
            stdout: self.text("stdout"),
            stderr: self.text("stderr"),
            command: std::mem::take(&mut self.command),
            out: std::mem::take(&mut self.out),
            _folder: self.folder.take().expect("it is taken once"),
        }
    }

    fn text(&self, name: &str) -> String {
        let folder = self.folder.as_ref().expect("it is there until the end");
        std::fs::read_to_string(folder.path().join(name)).expect("it was made at the start")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, unless a test failed in between.
        proc::end(&mut self.child);
    }
}

/// A run that ended.
#[derive(Debug)]
pub struct Run {
    /// How.
    pub status: ExitStatus,
    /// Everything it printed.
    pub stdout: String,
    /// And said beside it.
    pub stderr: String,
    /// The command, for messages.
    pub command: String,
    /// The report folder it was told.
    pub out: PathBuf,
    _folder: TempDir,
}

impl Run {
    /// Panics unless it ended with this exit code.
    pub fn assert_code(&self, code: i32) {
        assert_eq!(
            self.status.code(),
            Some(code),
            "{} ended with {}\n--- standard error\n{}\n--- standard output\n{}",
            self.command,
            self.status,
            self.stderr,
            self.stdout
        );
    }

    /// Panics unless it was refused with this code in one clear line that says all of `words`.
    pub fn assert_refused(&self, code: i32, words: &[&str]) {
        self.assert_code(code);
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !line.is_empty())
            .collect();
        assert_eq!(
            lines.len(),
            1,
            "one line, what, why, what to do: {:?}",
            self.stderr
        );
        for word in words {
            assert!(lines[0].contains(word), "{word:?} is not in {:?}", lines[0]);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }

    /// The report.
    pub fn report(&self) -> Report {
        report_in(&self.out)
    }

    /// A file of folded stacks: `cpu` or `offcpu`.
    pub fn folded(&self, name: &str) -> Folded {
        Folded::parse(&self.file(&format!("{name}.folded")))
    }

    /// A file of the report folder.
    pub fn file(&self, name: &str) -> String {
        let path = self.out.join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// The report in a folder.
pub fn report_in(folder: &Path) -> Report {
    let path = folder.join("report.json");
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}
