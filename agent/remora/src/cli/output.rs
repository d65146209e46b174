//! Standard output and error: a reader that went away is no failure, colours are for terminals.

use std::io::{self, ErrorKind, IsTerminal, Write};

/// One line on standard error, under our name.
pub fn complain(line: &str) {
    let _nobody_listens = writeln!(io::stderr(), "remora: {line}");
}

/// Writes to standard output; a closed pipe counts as success.
pub fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

/// Whether standard output wants colours: a terminal, whose user did not object.
pub fn wants_colour() -> bool {
    io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether the locale writes UTF-8: by the first of these variables that is set.
pub fn wants_unicode() -> bool {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut set = variables.into_iter().filter_map(std::env::var_os);
    let locale = set.find(|value| !value.is_empty()).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_uppercase();
    locale.contains("UTF-8") || locale.contains("UTF8")
}

/// Columns of the terminal behind standard output, if it is one.
pub fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// A line on a terminal's standard error that the next one overwrites; nothing elsewhere.
pub struct Status {
    terminal: bool,
    shown: bool,
}

impl Status {
    /// For standard error.
    pub fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            shown: false,
        }
    }

    /// Shows `text` in place of what was shown before.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            let _nobody_looks = write!(io::stderr(), "\r\x1b[2K{text}");
        }
    }

    /// Takes it away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let _nobody_looks = write!(io::stderr(), "\r\x1b[2K");
        }
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.clear();
    }
}
