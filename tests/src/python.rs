//! The CPython versions of this machine, and programs that they run.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// What the agent knows.
const MINORS: std::ops::RangeInclusive<u32> = 8..=13;

/// Every `python3.8` to `python3.13` of `PATH` and of pyenv, links and all: virtual environments are
/// links to their interpreter.
fn candidates() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let pyenv = std::env::var_os("PYENV_ROOT").map(PathBuf::from);
    let pyenv = pyenv.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".pyenv")));
    // Its shims in PATH are scripts.
    folders.retain(|folder| !folder.ends_with("shims"));
    let versions = pyenv.and_then(|pyenv| std::fs::read_dir(pyenv.join("versions")).ok());
    let versions = versions.into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    folders
        .iter()
        .flat_map(|folder| MINORS.map(|minor| folder.join(format!("python3.{minor}"))))
        .filter(|program| program.exists())
        .collect()
}

/// The interpreters of this machine, each once.
pub fn interpreters() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = candidates()
        .iter()
        .filter_map(|program| program.canonicalize().ok())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// The interpreters and virtual environments that can import these modules.
pub fn interpreters_with(modules: &str) -> Vec<PathBuf> {
    let mut able = candidates();
    able.retain(|program| {
        let script = format!("import {modules}");
        let tried = Command::new(program).args(["-c", &script]).output();
        tried.is_ok_and(|tried| tried.status.success())
    });
    able
}

/// A specimen written in Python.
pub fn specimen(name: &str) -> PathBuf {
    crate::compile::sources().join(name)
}

/// A running program that talks by lines and ends when its input does; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().expect("it is piped");
        Self {
            child,
            output: BufReader::new(output),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line);
        read.expect("a pipe can be read");
        assert!(!line.is_empty(), "it ended: {:?}", self.child.try_wait());
        line.trim_end().to_owned()
    }

    /// Gives it a line.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("it reads");
    }

    /// Ends its input.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
