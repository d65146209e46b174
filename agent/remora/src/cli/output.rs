//! Standard output and error: a reader that went away is no failure, colours are for terminals.

use remora_process::deadline::{self, Subject};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    time::{Duration, Instant},
};

/// How long standard error may be full before a line is left away.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};
/// What the result gets at the least to be written when the user is in a hurry.
const LEAST: Duration = Duration::from_millis(500);
/// How often a wait for a reader looks whether the user is in a hurry.
const LOOK: Duration = Duration::from_millis(50);

/// One line on standard error, under our name; none where nobody takes it.
pub(super) fn complain(line: &str) {
    tell(&format!("remora: {line}\n"));
}

/// Writes to standard error, where there is room: a line fits whole into what a pipe that is ready takes.
fn tell(text: &str) {
    let error = io::stderr();
    let mut ready = [PollFd::new(&error, PollFlags::OUT)];
    if poll(&mut ready, Some(&PATIENCE)).is_ok_and(|ready| ready > 0) {
        let _nobody_listens = error.lock().write_all(text.as_bytes());
    }
}

/// Writes to standard output; a closed pipe counts as success. A reader may take its time, until the user is in a hurry.
///
/// # Errors
/// The system's; `TimedOut` when nobody reads and the user's time is over.
pub(super) fn print(bytes: &[u8]) -> io::Result<()> {
    let (give, given) = sync_channel(1);
    let whole = bytes.to_vec();
    let begun = deadline::begin(Subject::Host, move || {
        drop(give.send(write(&whole)));
    });
    match begun {
        true => await_reader(&given),
        false => write(bytes),
    }
}

fn await_reader(written: &Receiver<io::Result<()>>) -> io::Result<()> {
    let until = Instant::now() + LEAST;
    loop {
        match written.recv_timeout(LOOK) {
            Ok(written) => return written,
            Err(RecvTimeoutError::Disconnected) => return Err(ErrorKind::Interrupted.into()),
            Err(RecvTimeoutError::Timeout) => {
                if deadline::left(LOOK).is_zero() && Instant::now() > until {
                    return Err(io::Error::new(ErrorKind::TimedOut, "nobody reads it"));
                }
            }
        }
    }
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Whether standard output wants colours: a terminal, whose user did not object.
pub(super) fn wants_colour() -> bool {
    io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the locale writes UTF-8: by the first of these variables that is set.
pub(super) fn wants_unicode() -> bool {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut set = variables.into_iter().filter_map(std::env::var_os);
    let locale = set.find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_uppercase();
    locale.contains("UTF-8") || locale.contains("UTF8")
}

/// Columns of the terminal behind standard output, if it is one.
pub(super) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// A line on a terminal's standard error that the next one overwrites; nothing elsewhere.
pub(super) struct Status {
    terminal: bool,
    shown: bool,
}

impl Status {
    /// For standard error.
    pub(super) fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Shows `text` in place of what was shown before.
    pub(super) fn show(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            tell(&format!("\r\x1b[2K{text}"));
        }
    }

    /// Takes it away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            tell("\r\x1b[2K");
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.clear();
    }
}
