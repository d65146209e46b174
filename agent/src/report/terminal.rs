//! The summary on the terminal, for someone who is tired: first one plain sentence, then where each
//! thread's time went, what holds it up now, the stacks behind it, and what to trust of all that.

mod heap;
mod memory;
mod sections;
mod sentence;
mod signals;
mod sockets;
mod table;
mod verdict;

pub use verdict::verdict;

use super::folder::Written;
use super::shares::Shares;
use super::text::{clean, fit};
use crate::model::Capture;
use anstyle::{AnsiColor, Style};
use std::fmt::Display;

/// How the summary looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns; no line of ours but a path is wider.
    pub width: usize,
    /// Escape sequences for colours: only for a terminal whose user did not object (`NO_COLOR`).
    pub colour: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            width: 100,
            colour: false,
        }
    }
}

/// Narrowest width that the tables are made for, in columns; a narrower terminal wraps.
const MIN_WIDTH: usize = 72;

const HEADING: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// What the report says, in words and tables. `written` is where the files went.
pub fn summary(capture: &Capture, written: Option<&Written>, look: Look) -> String {
    let look = Look {
        width: look.width.max(MIN_WIDTH),
        ..look
    };
    let shares = Shares::of_threads(capture);
    let mut page = Page {
        look,
        text: String::new(),
    };
    verdict::write(&mut page, capture);
    match &capture.judgement {
        // The verdict has the sentence already.
        Some(judgement) if judgement.incidents.is_empty() => {}
        Some(_) => {
            page.plain("");
            sentence::write(&mut page, capture, &shares);
        }
        None => sentence::write(&mut page, capture, &shares),
    }
    sections::header(&mut page, capture);
    table::threads(&mut page, capture, &shares);
    sections::held_up(&mut page, capture);
    sections::top_on_cpu(&mut page, capture);
    sections::top_off_cpu(&mut page, capture);
    signals::loops(&mut page, capture);
    signals::locks(&mut page, capture);
    memory::grown(&mut page, capture);
    heap::outstanding(&mut page, capture);
    sections::asyncio(&mut page, capture);
    sockets::sockets(&mut page, capture);
    sections::trust(&mut page, capture, &shares);
    if let Some(written) = written {
        sections::files(&mut page, written);
    }
    page.text
}

/// The text in the making.
struct Page {
    look: Look,
    text: String,
}

impl Page {
    /// A line in a style, cut to the width.
    fn line(&mut self, style: Style, line: &str) {
        let cut = fit(line.trim_end(), self.look.width).into_owned();
        self.uncut(style, &cut);
    }

    /// A line that has to be whole to be of use: a path, a warning.
    fn uncut(&mut self, style: Style, line: &str) {
        if self.look.colour && style != Style::new() && !line.is_empty() {
            self.text.push_str(&format!("{style}{line}{style:#}"));
        } else {
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    /// A heading, with room before it.
    fn heading(&mut self, heading: &str) {
        self.line(Style::new(), "");
        self.line(HEADING, heading);
    }

    /// A plain line.
    fn plain(&mut self, line: &str) {
        self.line(Style::new(), line);
    }

    /// A paragraph broken at blanks, later lines indented.
    fn paragraph(&mut self, style: Style, text: &str) {
        use unicode_width::UnicodeWidthStr;
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.trim().is_empty() && line.width() + 1 + word.width() > self.look.width {
                self.uncut(style, &line);
                "   ".clone_into(&mut line);
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        self.uncut(style, &line);
    }
}

/// A path that is safe to print.
fn path(path: impl Display) -> String {
    clean(&path.to_string()).into_owned()
}
