//! For tests: a Python program of theirs that runs until it is dropped.

use super::installed::Installed;
use crate::maps::{Files, Snapshot};
use crate::memory::ProcessMemory;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A running program, which ends with this value.
pub(crate) struct Specimen {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Specimen {
    /// Runs `script`.
    pub(crate) fn start(installed: &Installed, script: &str) -> Self {
        Self::spawn(Command::new(&installed.program).args(["-c", script]))
    }

    /// Runs a command that speaks and listens by lines.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        let mut child = command
            // Its end is the end of the specimen: it reads until then.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Gives it a line.
    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::read(self.pid(), 0, &mut Files::default()).unwrap()
    }

    pub(crate) fn memory(&self) -> ProcessMemory {
        ProcessMemory::open(self.pid()).unwrap()
    }
}

impl Drop for Specimen {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
