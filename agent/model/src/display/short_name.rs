//! Names that a person can read at a glance: what stands in a box of a picture and in a line of a
//! table, where the name in full does not fit.
//!
//! Template arguments, generics and parameters become `…` unless they are short; a return type
//! goes; paths in a qualified type lose their folders: `<alloc::vec::Vec<T> as core::iter::Iterator>`
//! is `<Vec<T> as Iterator>`, and so do Go's packages and Node's scripts. What only looks like a bracket stays: `operator<`, `->`, Go's
//! `(*T).Method`, `(anonymous namespace)`. Names of other languages, and of the kernel, have no such
//! parts. It is one pass, and it takes any text: brackets of a hostile name need not match.

use crate::FrameKind;
use std::borrow::Cow;

/// What stands in brackets is kept up to this length, in bytes.
const KEPT: usize = 16;
/// Names in a report are shorter; the short form of a longer one ends here, in bytes.
const MAX_READ: usize = 8 << 10;
/// Hexadecimal digits of the tag in the name of a BPF program.
const BPF_TAG: usize = 16;
/// C++ operators that look like brackets, longest first where one begins with another.
const OPERATORS: [&str; 13] = [
    "()", "[]", "->*", "->", "<=>", "<<=", ">>=", "<<", ">>", "<=", ">=", "<", ">",
];

/// The short form of a function's name.
pub fn short(name: &str, kind: FrameKind) -> Cow<'_, str> {
    let short = match kind {
        FrameKind::Native | FrameKind::Inlined => shorten(name),
        FrameKind::Jit if name.starts_with("JS:") => without_folders(name),
        // Java's have parameters.
        FrameKind::Jit if name.ends_with(')') => shorten(name),
        FrameKind::Kernel => without_tag(name),
        _ => return Cow::Borrowed(name),
    };
    match short {
        Some(short) if !short.is_empty() => Cow::Owned(short),
        _ => Cow::Borrowed(name),
    }
}

/// `bpf_prog_6deef7357e7b4530_name` without the tag, which is a checksum.
fn without_tag(name: &str) -> Option<String> {
    let (tag, rest) = name.strip_prefix("bpf_prog_")?.split_once('_')?;
    let is_tag = tag.len() == BPF_TAG && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_tag.then(|| format!("bpf_prog_{rest}"))
}

/// Node's `JS:*function /path/of/script.js:1:14` without the folders.
fn without_folders(name: &str) -> Option<String> {
    let path = name.find(" /").or_else(|| name.find(" file://"))? + 1;
    let script = name[path..].rfind('/')? + path + 1;
    Some(format!("{}{}", &name[..path], &name[script..]))
}

/// Go's `example.org/project/package.Function` without the folders of the package.
fn without_package(name: &str) -> &str {
    let end = name.find(['(', '[', '<', '{', ' ', ':']);
    let path = &name[..end.unwrap_or(name.len())];
    let package = path.rfind('/').map_or(0, |slash| slash + 1);
    // What follows a path of Go's is a package, a point and a function.
    match path[package..].contains('.') && !path.starts_with('/') {
        true => &name[package..],
        false => name,
    }
}

fn shorten(name: &str) -> Option<String> {
    let name = without_package(name);
    let ends = 0..=name.len().min(MAX_READ);
    let end = ends.rev().find(|at| name.is_char_boundary(*at))?;
    let name = &name[..end];
    // Most names have nothing to shorten.
    if !name.contains(['<', '(', '[', '{']) {
        return Some(name.to_owned());
    }
    let mut shortener = Shortener {
        name: name.as_bytes(),
        at: 0,
        short: Vec::with_capacity(name.len()),
        open: Vec::new(),
        path: 0,
        function: 0,
        has_parameters: false,
        is_operator: false,
        keeps_front: false,
    };
    shortener.run();
    // Only whole characters were copied.
    String::from_utf8(shortener.finish()).ok()
}

/// A bracket whose content is shortened, not dropped.
struct Open {
    closer: u8,
    /// Where its content begins in the short name, if it may be dropped in the end.
    droppable: Option<usize>,
}

struct Shortener<'a> {
    name: &'a [u8],
    at: usize,
    short: Vec<u8>,
    open: Vec<Open>,
    /// Where the path begins in the short name that is being copied.
    path: usize,
    /// Where the function's name begins in the short name: behind its return type.
    function: usize,
    has_parameters: bool,
    /// The name goes on behind a blank: `operator bool`.
    is_operator: bool,
    /// What stands in front is no type: `guard variable for f()::x`.
    keeps_front: bool,
}

impl Shortener<'_> {
    fn run(&mut self) {
        while let Some(byte) = self.name.get(self.at).copied() {
            match byte {
                b'o' if self.is_word(b"operator") => self.copy_operator(),
                b'<' => self.angle(),
                b'(' => self.round(),
                b'[' if self.follows_name() => self.drop_content(b']'),
                b'[' => self.open(b']', false),
                b'{' => self.open(b'}', false),
                b'>' if self.short.last() == Some(&b'-') => self.copy(),
                b'>' | b')' | b']' | b'}' => self.close(byte),
                b':' if self.rest().starts_with(b"::") => self.separator(),
                b' ' => self.blank(),
                _ => self.copy(),
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.has_parameters && !self.keeps_front {
            self.short.drain(..self.function);
        }
        self.short
    }

    fn rest(&self) -> &[u8] {
        &self.name[self.at..]
    }

    /// Copies one byte; the next path begins behind all but a letter.
    fn copy(&mut self) {
        let byte = self.name[self.at];
        self.short.push(byte);
        self.at += 1;
        if !is_letter(byte) {
            self.path = self.short.len();
        }
    }

    /// Whether `word` stands here, and is no part of a longer one.
    fn is_word(&self, word: &[u8]) -> bool {
        let ends = |byte: Option<&u8>| byte.is_none_or(|byte| !is_letter(*byte));
        let before = self.at.checked_sub(1).and_then(|at| self.name.get(at));
        self.rest().starts_with(word) && ends(before) && ends(self.name.get(self.at + word.len()))
    }

    fn follows_name(&self) -> bool {
        self.short.last().is_some_and(|byte| is_letter(*byte))
    }

    fn copy_operator(&mut self) {
        let word = b"operator".len();
        let rest = &self.rest()[word..];
        let symbol = OPERATORS
            .iter()
            .find(|symbol| rest.starts_with(symbol.as_bytes()));
        let end = self.at + word + symbol.map_or(0, |symbol| symbol.len());
        self.short.extend_from_slice(&self.name[self.at..end]);
        self.at = end;
        self.path = self.short.len();
        if self.open.is_empty() {
            self.is_operator = true;
        }
        // Arguments of a template stand behind a blank there.
        if self.rest().starts_with(b" <") {
            self.short.push(b' ');
            self.at += 1;
            self.drop_content(b'>');
        }
        if self.rest().starts_with(b"(") {
            self.parameters();
        }
    }

    fn angle(&mut self) {
        if self.follows_name() {
            return self.drop_content(b'>');
        }
        // `f::<T>` is generic, `f::<impl A for B>` and `<A as B>` say whose function it is.
        let generic = self.short.ends_with(b"::") && !self.rest().starts_with(b"<impl ");
        self.open(b'>', generic);
    }

    fn round(&mut self) {
        let in_braces = self.open.last().is_some_and(|open| open.closer == b'}');
        let is_list = match self.short.last() {
            Some(b'>' | b'}' | b']') => true,
            Some(byte) => is_letter(*byte) && !self.short.ends_with(b"decltype"),
            None => false,
        };
        if is_list && (!in_braces || self.short.ends_with(b"lambda")) {
            self.parameters();
        } else {
            self.open(b')', false);
        }
    }

    fn parameters(&mut self) {
        self.has_parameters |= self.open.is_empty();
        self.drop_content(b')');
    }

    /// Copies a bracket, and goes on inside.
    fn open(&mut self, closer: u8, droppable: bool) {
        self.copy();
        self.open.push(Open {
            closer,
            droppable: droppable.then_some(self.short.len()),
        });
    }

    fn close(&mut self, closer: u8) {
        if self.open.last().is_some_and(|open| open.closer == closer)
            && let Some(Open {
                droppable: Some(content),
                ..
            }) = self.open.pop()
            && self.short.len() - content > KEPT
        {
            self.short.truncate(content);
            self.short.extend_from_slice("…".as_bytes());
        }
        self.copy();
    }

    /// Copies the brackets that begin here, and their content if it is short.
    fn drop_content(&mut self, closer: u8) {
        let inside = self.at + 1;
        let end = self.end_of_brackets();
        let closed = self.name.get(end) == Some(&closer);
        let content = &self.name[inside..end];
        self.short.push(self.name[self.at]);
        if content.len() <= KEPT && closed {
            self.short.extend_from_slice(content);
        } else {
            self.short.extend_from_slice("…".as_bytes());
        }
        self.at = end;
        if closed {
            self.short.push(closer);
            self.at += 1;
        }
        self.path = self.short.len();
    }

    /// Where the brackets end that begin here: at their closer, or with the name.
    fn end_of_brackets(&self) -> usize {
        let mut closers = Vec::new();
        let mut at = self.at;
        while let Some(byte) = self.name.get(at) {
            match byte {
                b'<' => closers.push(b'>'),
                b'(' => closers.push(b')'),
                b'[' => closers.push(b']'),
                b'{' => closers.push(b'}'),
                // An arrow, or a comparison inside of parentheses.
                b'>' if self.name[at - 1] == b'-' || closers.last() != Some(&b'>') => {}
                b'>' => drop(closers.pop()),
                b')' | b']' | b'}' => {
                    // A comparison in between opened nothing.
                    while closers.len() > 1 && closers.last() == Some(&b'>') && *byte != b'>' {
                        closers.pop();
                    }
                    if closers.last() == Some(byte) {
                        closers.pop();
                    }
                }
                _ => {}
            }
            if closers.is_empty() {
                return at;
            }
            at += 1;
        }
        at
    }

    /// `::` in a qualified type takes the folder before it away.
    fn separator(&mut self) {
        let in_type = self.open.iter().any(|open| open.closer == b'>');
        let folder = &self.short[self.path..];
        if in_type && !folder.is_empty() && folder.iter().all(|byte| is_letter(*byte)) {
            self.short.truncate(self.path);
        } else {
            self.short.extend_from_slice(b"::");
            if !in_type {
                self.path = self.short.len();
            }
        }
        self.at += 2;
    }

    fn blank(&mut self) {
        let front = self.open.is_empty() && !self.has_parameters && !self.is_operator;
        if front {
            let word = self.short[self.function..].to_vec();
            self.keeps_front |= matches!(&word[..], b"to" | b"for");
        }
        self.copy();
        if front {
            self.function = self.short.len();
        }
    }
}

/// Whether a byte is part of an identifier in some language.
fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'~' | 0x80..)
}

#[cfg(test)]
mod tests;
