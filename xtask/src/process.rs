//! Other programs, run so that standard output stays free for what xtask's own child prints.

use std::io::{self, BufRead as _, BufReader, IsTerminal as _};
use std::panic::resume_unwind;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, bail};

/// A progress line.
pub(crate) fn say(line: impl AsRef<str>) {
    eprintln!("xtask: {}", line.as_ref());
}

/// The cargo that runs xtask.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs to the end, its output on standard error.
///
/// # Errors
/// It cannot be started, or fails; the message names the command.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    command.stdout(Stdio::from(io::stderr()));
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", line(command));
    }
    Ok(())
}

/// What a command printed, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Printed {
    /// It ended with 0.
    pub success: bool,
    /// Standard output.
    pub output: String,
    /// Standard error.
    pub error: String,
}

/// Runs a command, and shows what it prints as it comes.
///
/// # Errors
/// It cannot be started.
pub(crate) fn run_and_read(command: &mut Command) -> anyhow::Result<Printed> {
    let cannot = |command: &Command| format!("cannot run {}", line(command));
    if io::stderr().is_terminal() {
        // cargo writes to a pipe here, and would do without.
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cannot(command))?;
    let (output, error) = (child.stdout.take(), child.stderr.take());
    let (output, error) = thread::scope(|scope| {
        let error = scope.spawn(|| error.map_or(Ok(String::new()), show));
        let output = output.map_or(Ok(String::new()), show);
        (
            output,
            error.join().unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    let status = child.wait().with_context(|| cannot(command))?;
    Ok(Printed {
        success: status.success(),
        output: output.with_context(|| cannot(command))?,
        error: error.with_context(|| cannot(command))?,
    })
}

/// Shows a stream line by line on standard error, and gives all of it.
fn show(stream: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    for line in BufReader::new(stream).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Whether this process may do what only root may.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command as one would type it, without the folder of the program.
pub(crate) fn line(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_as_typed() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c exit 3 failed (exit status: 3)");
    }

    #[test]
    fn both_streams_are_read_to_their_ends() {
        // More than a pipe holds, on the one that is not read first.
        let script =
            "echo out; i=0; while [ $i -lt 9000 ]; do echo error-$i >&2; i=$((i+1)); done; exit 3";
        let printed = run_and_read(Command::new("/bin/sh").args(["-c", script])).unwrap();
        assert_eq!((printed.success, &*printed.output), (false, "out\n"));
        assert_eq!(printed.error.lines().count(), 9000);
    }
}
