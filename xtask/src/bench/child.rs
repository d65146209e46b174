//! Processes that cannot outlive the harness, and what they said.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::clock::Clock;

/// How much of a process's output is kept; the rest is read and dropped.
const KEPT_BYTES: usize = 64 * 1024;

/// How long an ended process may take to write its results.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process that was started here: killed and reaped when dropped, and by the kernel should the
/// harness itself be killed.
pub(super) struct Process {
    child: Child,
    output: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Starts `command` with its output kept, away from the terminal and its Ctrl-C.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // SAFETY: between fork and exec the closure makes one system call and touches no memory
        // that another thread could have left locked.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {program}"))?;
        let output = Arc::default();
        if let Some(stdout) = child.stdout.take() {
            keep(stdout, &output);
        }
        if let Some(stderr) = child.stderr.take() {
            keep(stderr, &output);
        }
        Ok(Self { child, output })
    }

    /// Its process id, which stays its own until it is dropped.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines it has printed so far, on either stream.
    pub(super) fn lines(&self) -> Vec<String> {
        let output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&output);
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Asks it to finish as Ctrl-C would, and waits until it has.
    pub(super) fn finish(mut self, clock: &Clock) -> Result<()> {
        if self.ended()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::INT)?;
        }
        clock.until(PATIENCE, "the end after SIGINT", || {
            Ok(self.ended()?.is_some())
        })
    }

    /// The line that best says why it failed: the first that speaks of an error, else the last.
    pub(super) fn complaint(&self) -> String {
        let lines = self.lines();
        complaint(&lines).unwrap_or("it said nothing").to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it is gone already, which is what they are for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn complaint(lines: &[String]) -> Option<&str> {
    const SIGNS: [&str; 7] = [
        "unable",
        "cannot",
        "error",
        "failed",
        "refused",
        "permission",
        "not permitted",
    ];
    let speaks = |line: &&String| {
        let line = line.to_lowercase();
        SIGNS.iter().any(|sign| line.contains(sign))
    };
    lines
        .iter()
        .find(speaks)
        .or(lines.last())
        .map(String::as_str)
}

/// Reads `stream` to its end on a thread of its own, so that its writer never blocks.
fn keep(mut stream: impl Read + Send + 'static, output: &Arc<Mutex<Vec<u8>>>) {
    let output = Arc::clone(output);
    thread::spawn(move || {
        let mut chunk = [0; 4096];
        loop {
            let read = match stream.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
            let room = KEPT_BYTES.saturating_sub(output.len());
            output.extend(chunk.iter().take(read.min(room)));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_complaint_is_the_first_line_that_speaks_of_an_error() {
        let lines = [
            "chdir",
            "Unable to find kernel headers.",
            "Exception: failed",
        ];
        let lines = lines.map(str::to_owned);
        assert_eq!(complaint(&lines), Some("Unable to find kernel headers."));
        assert_eq!(complaint(&lines[..1]), Some("chdir"));
        assert_eq!(complaint(&[]), None);
    }

    #[test]
    fn a_process_is_gone_when_dropped() {
        let process = Process::start(Command::new("sleep").arg("60")).unwrap();
        let pid = Pid::from_child(&process.child);
        drop(process);
        assert!(rustix::process::test_kill_process(pid).is_err());
    }
}
