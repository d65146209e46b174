//! A program that was started: in a session and a folder of its own, ended with everything that it made.

use super::family::Family;
use super::work::Work;
use super::{Input, Program, install};
use crate::background::free_port;
use crate::servers::connect;
use crate::specimen::send;
use rustix::process::Signal;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A program without a port is ready after this.
const NO_PORT: Duration = Duration::from_secs(3);
/// It is asked to end, and killed after this.
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what it said last, when it did not start.
const LAST_LINES: usize = 4;

/// It runs until it is dropped.
#[derive(Debug)]
pub struct Started {
    child: Child,
    /// Open, as long as the program is to live.
    _input: Option<ChildStdin>,
    folder: TempDir,
    ports: [u16; 3],
    /// What its version command printed.
    pub version: String,
    since: Instant,
}

impl Started {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// In words.
    pub fn new(program: &Program) -> Result<Self, String> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("healthy-{}-", program.name))
            .tempdir()
            .map_err(|error| error.to_string())?;
        // Sockets of daemons that change their user have to lie in a folder that they may enter.
        own(folder.path(), program.user.as_deref())?;
        let ports = [free_port(), free_port(), free_port()];
        let shell = |line: &str, user| shell(line, user, folder.path(), ports);
        let version = shell(&program.version, None)
            .stderr(Stdio::piped())
            .output();
        let version = version.map_err(|error| error.to_string())?;
        if let Some(line) = &program.prepare {
            let done = shell(line, program.user.as_deref()).output();
            let done = done.map_err(|error| error.to_string())?;
            if !done.status.success() {
                return Err(format!("prepare: {}", last(&done.stderr)));
            }
        }
        let log = || File::create(folder.path().join("log")).map_err(|error| error.to_string());
        let log = log()?;
        let mut command = shell(&program.start, program.user.as_deref());
        command
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log);
        if program.input != Input::Null {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut input = child.stdin.take();
        if let (Input::Editor, Some(input)) = (program.input, &mut input) {
            greet(input, folder.path()).map_err(|error| format!("its input: {error}"))?;
        }
        let mut started = Self {
            child,
            _input: input,
            folder,
            ports,
            version: first_line(&version.stdout, &version.stderr),
            since: Instant::now(),
        };
        let ready = match program.serves {
            true => connect(ports[0]).map(drop),
            false => {
                std::thread::sleep(NO_PORT);
                Ok(())
            }
        };
        match started.ended() {
            Some(why) => Err(why),
            None => ready.map(|()| started),
        }
    }

    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Since when it is ready.
    pub const fn since(&self) -> Instant {
        self.since
    }

    /// Why it runs no longer.
    pub fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok()??;
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        Some(format!("it ended ({status}): {}", last(&log)))
    }

    /// Has it work until that is dropped.
    ///
    /// # Errors
    /// In words.
    pub fn work(&self, program: &Program) -> Result<Work, String> {
        let load = program.load.as_deref().map(|line| {
            let mut load = shell(line, None, self.folder.path(), self.ports);
            load.stdout(Stdio::null()).stderr(Stdio::null());
            load
        });
        Work::start(load, program.http.as_deref(), self.ports[0])
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let mine = Family::of(self.pid());
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            send(self.pid(), Signal::TERM);
        }
        let asked = Instant::now();
        let runs = |child: &mut Child| child.try_wait().is_ok_and(|ended| ended.is_none());
        while runs(&mut self.child) && asked.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        crate::proc::end(&mut self.child);
        mine.end();
    }
}

/// A line of the shell, in the program's folder, as the leader of a session.
fn shell(line: &str, user: Option<&str>, folder: &Path, ports: [u16; 3]) -> Command {
    let mut command = Command::new("setsid");
    if let Some(user) = user {
        command.args([
            "setpriv",
            "--reuid",
            user,
            "--regid",
            &group(user),
            "--clear-groups",
        ]);
    }
    command.args(["sh", "-c", line]).current_dir(folder);
    command
        .env("PATH", install::path())
        .env("HOME", folder)
        .env("DIR", folder)
        .env("LC_ALL", "C.UTF-8");
    for (name, port) in ["PORT", "PORT2", "PORT3"].into_iter().zip(ports) {
        command.env(name, port.to_string());
    }
    command.stdin(Stdio::null());
    command
}

/// The group of a user's own: that of `nobody` is not called so.
fn group(user: &str) -> String {
    let id = Command::new("id").args(["-g", user]).output();
    let id = id.map(|id| String::from_utf8_lossy(&id.stdout).trim().to_owned());
    // `setpriv` says what is wrong with a user who is not there.
    id.unwrap_or_default()
}

/// Gives a folder to a user.
fn own(folder: &Path, user: Option<&str>) -> Result<(), String> {
    let run = |command: &mut Command| {
        let done = command.status().map_err(|error| error.to_string())?;
        match done.success() {
            true => Ok(()),
            false => Err(format!("{command:?}: {done}")),
        }
    };
    run(Command::new("chmod").arg("755").arg(folder))?;
    user.map_or(Ok(()), |user| {
        run(Command::new("chown").arg(user).arg(folder))
    })
}

/// What an editor says first.
fn greet(input: &mut ChildStdin, folder: &Path) -> std::io::Result<()> {
    let root = format!("file://{}", folder.display());
    let messages = [
        serde_json::json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params":
            {"processId": null, "rootUri": root, "capabilities": {},
             "workspaceFolders": [{"uri": root, "name": "here"}]}}),
        serde_json::json!({"jsonrpc": "2.0", "method": "initialized", "params": {}}),
    ];
    for message in messages {
        let text = message.to_string();
        write!(input, "Content-Length: {}\r\n\r\n{text}", text.len())?;
    }
    input.flush()
}

fn first_line(output: &[u8], error: &[u8]) -> String {
    let text = [output, error].map(String::from_utf8_lossy).concat();
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty());
    line.unwrap_or("unknown").to_owned()
}

fn last(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
}
