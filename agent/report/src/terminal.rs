//! The summary on the terminal, for someone who is tired: first the verdict, then where the report is, where each
//! thread's time went, the stacks behind it, and how good the data are.

mod heap;
mod memory;
mod sections;
mod sentence;
mod signals;
mod sockets;
mod table;
mod verdict;

pub use verdict::verdict;

use super::shares::Shares;
use super::text::{clean, fit};
use crate::Written;
use anstyle::{AnsiColor, Style};
use remora_model::Report;
use std::borrow::Cow;
use std::fmt::Display;

/// How a verdict or summary is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Columns; no line of ours but a path is wider.
    pub width: usize,
    /// Escape sequences for colours: only for a terminal whose user did not object (`NO_COLOR`).
    pub colour: bool,
    /// The locale shows `≥`; else it is written `>=`.
    pub unicode: bool,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            width: 100,
            colour: false,
            unicode: true,
        }
    }
}

/// Narrowest width that the tables are made for, in columns; a narrower terminal wraps.
const MIN_WIDTH: usize = 72;

const HEADING: Style = Style::new().bold();
const QUIET: Style = Style::new().dimmed();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// What the report says, in words and tables. `written` is where the files went.
pub fn summary(report: &Report, written: Option<&Written>, options: RenderOptions) -> String {
    let capture = &report.capture;
    let options = RenderOptions {
        width: options.width.max(MIN_WIDTH),
        ..options
    };
    let shares = Shares::of_threads(capture);
    let mut page = Page {
        options,
        text: String::new(),
    };
    verdict::write(&mut page, report);
    match &report.judgement {
        // Without a finding the verdict has it already.
        Some(judgement) if judgement.incidents.is_empty() => {}
        Some(_) => {
            page.plain("");
            sentence::load(&mut page, capture);
        }
        None => sentence::load(&mut page, capture),
    }
    page.plain("");
    sections::header(&mut page, capture);
    if let Some(written) = written {
        sections::files(&mut page, written);
    }
    table::threads(&mut page, capture, &shares);
    sections::held_up(&mut page, report);
    sections::top_on_cpu(&mut page, capture);
    sections::top_off_cpu(&mut page, capture);
    signals::loops(&mut page, capture);
    signals::locks(&mut page, capture);
    memory::grown(&mut page, capture);
    heap::outstanding(&mut page, capture);
    sections::asyncio(&mut page, capture);
    sockets::sockets(&mut page, capture);
    sections::quality(&mut page, capture, &shares);
    page.text
}

/// The text in the making.
struct Page {
    options: RenderOptions,
    text: String,
}

impl Page {
    /// A line in a style, cut to the width.
    fn line(&mut self, style: Style, line: &str) {
        let cut = fit(line.trim_end(), self.options.width).into_owned();
        self.uncut(style, &cut);
    }

    /// A line that has to be whole to be of use: a path, a warning.
    fn uncut(&mut self, style: Style, line: &str) {
        let line = &*self.in_charset(line);
        if self.options.colour && style != Style::new() && !line.is_empty() {
            self.text.push_str(&format!("{style}{line}{style:#}"));
        } else {
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    /// The line with signs that an ASCII locale cannot show in words of its own.
    fn in_charset<'l>(&self, line: &'l str) -> Cow<'l, str> {
        if self.options.unicode || line.is_ascii() {
            return Cow::Borrowed(line);
        }
        let mut plain = String::with_capacity(line.len());
        for c in line.chars() {
            match c {
                '≥' => plain.push_str(">="),
                '≤' => plain.push_str("<="),
                '…' => plain.push_str("..."),
                '×' => plain.push('x'),
                '–' | '−' => plain.push('-'),
                'µ' => plain.push('u'),
                other => plain.push(other),
            }
        }
        Cow::Owned(plain)
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

    /// Text behind a head, broken at blanks; later lines stand under its first word.
    fn hanging(&mut self, style: Style, head: &str, text: &str) {
        use unicode_width::UnicodeWidthStr;
        let indent = " ".repeat(head.width());
        let mut line = head.to_owned();
        let mut is_empty = true;
        for word in words(text) {
            if !is_empty && line.width() + 1 + word.width() > self.options.width {
                self.uncut(style, &line);
                line.clone_from(&indent);
                is_empty = true;
            }
            if !is_empty {
                line.push(' ');
            }
            line.push_str(word);
            is_empty = false;
        }
        self.uncut(style, &line);
    }

    /// A paragraph broken at blanks, later lines indented.
    fn paragraph(&mut self, style: Style, text: &str) {
        use unicode_width::UnicodeWidthStr;
        let mut line = String::new();
        for word in text.split(' ') {
            if !line.trim().is_empty() && line.width() + 1 + word.width() > self.options.width {
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

/// The words of a text; a unit stays with its figure.
fn words(text: &str) -> Vec<&str> {
    const UNITS: [&str; 9] = ["%", "s", "ms", "µs", "min", "h", "KiB", "MiB", "GiB"];
    let is_unit = |word: &str| UNITS.contains(&word.trim_end_matches([',', ';', '.', ')']));
    let mut words: Vec<&str> = Vec::new();
    let mut start = 0;
    for (at, _) in text.match_indices(' ') {
        let rest = &text[at + 1..];
        let next = rest.split(' ').next().unwrap_or_default();
        if !is_unit(next) {
            words.push(&text[start..at]);
            start = at + 1;
        }
    }
    words.push(&text[start..]);
    words
}

/// A path that is safe to print.
fn path(path: impl Display) -> String {
    clean(&path.to_string()).into_owned()
}
