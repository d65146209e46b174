//! Known places: what it means that a thread waits in a function.
//!
//! A futex says that a thread waits for another one, not for what. Its stack does: whether it leads through the
//! slow path of a lock, the `result` of a future, or the loop in which a pool's worker fetches work. Which function
//! means what is data, one file an ecosystem in `data/`, that anybody can extend: `docs/places.md` says how.
//! [`read`] puts the frames of one stack together.

mod function;
mod parse;
mod reading;

pub use reading::{Reading, read};

use super::{Frame, FrameKind};
use parse::{Language, Rule};
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a function on the way from a wait to the thread's start says of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meaning {
    /// Nothing: it only leads somewhere.
    Pass,
    /// Nothing: the thread's first functions.
    Start,
    /// The loop in which a worker fetches its work: who waits right here is at rest.
    Home,
    /// It runs a job: who waits further in waits on behalf of that job.
    Job,
    /// A lock.
    Lock,
    /// A condition variable, an event, a barrier, a park.
    Condition,
    /// A semaphore, or a lock that cannot be told from one.
    Semaphore,
    /// The end of a thread.
    Join,
    /// Others that have to arrive or to finish: a latch, a barrier.
    Latch,
    /// The next element of a queue, or room in one.
    Queue,
    /// What another thread computes.
    Future,
    /// A runtime drives a future on this thread.
    Runtime,
    /// A connection is agreed on (TLS, log-in).
    Handshake,
    /// The answer of a peer to a request.
    Answer,
    /// A free slot of a pool.
    Slot,
    /// The end of a child process.
    Child,
    /// Some time.
    Timer,
}

impl Meaning {
    /// All of them, with the word for each in the files.
    const WORDS: [(&'static str, Self); 17] = [
        ("pass", Self::Pass),
        ("start", Self::Start),
        ("home", Self::Home),
        ("job", Self::Job),
        ("lock", Self::Lock),
        ("condition", Self::Condition),
        ("semaphore", Self::Semaphore),
        ("join", Self::Join),
        ("latch", Self::Latch),
        ("queue", Self::Queue),
        ("future", Self::Future),
        ("runtime", Self::Runtime),
        ("handshake", Self::Handshake),
        ("answer", Self::Answer),
        ("slot", Self::Slot),
        ("child", Self::Child),
        ("timer", Self::Timer),
    ];

    fn of_word(word: &str) -> Option<Self> {
        let mut words = Self::WORDS.iter();
        words.find(|(name, _)| *name == word).map(|(_, it)| *it)
    }
}

/// The files, one an ecosystem.
const FILES: [(&str, &str); 12] = [
    ("glibc", include_str!("data/glibc.places")),
    ("musl", include_str!("data/musl.places")),
    ("libstdcxx", include_str!("data/libstdcxx.places")),
    ("rust", include_str!("data/rust.places")),
    ("tokio", include_str!("data/tokio.places")),
    ("go", include_str!("data/go.places")),
    ("python", include_str!("data/python.places")),
    (
        "python-libraries",
        include_str!("data/python-libraries.places"),
    ),
    ("tls", include_str!("data/tls.places")),
    ("databases", include_str!("data/databases.places")),
    ("jvm", include_str!("data/jvm.places")),
    ("runtimes", include_str!("data/runtimes.places")),
];

/// All rules, by how they are found.
#[derive(Debug, Default)]
struct Table {
    /// By the last part of the function's name.
    exact: HashMap<(Language, &'static str), Vec<Rule>>,
    /// Those that say how a name begins, by its first byte, the longest first.
    prefixes: HashMap<u8, Vec<Rule>>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    // That every line is understood is a test's business: see `parse`.
    let rules = FILES.iter().flat_map(|(_, text)| parse::rules(text));
    Table::of(rules.flatten())
});

impl Table {
    fn of(rules: impl Iterator<Item = Rule>) -> Self {
        let mut table = Self::default();
        for rule in rules {
            match rule.name.strip_suffix('*') {
                Some(beginning) => {
                    let first = beginning.bytes().next().unwrap_or_default();
                    table.prefixes.entry(first).or_default().push(rule);
                }
                None => {
                    let key = (rule.language, last(rule.language, rule.name));
                    table.exact.entry(key).or_default().push(rule);
                }
            }
        }
        for rules in table.prefixes.values_mut() {
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.name.len()));
        }
        // Rules that name a file are asked before those that do not.
        for rules in table.exact.values_mut() {
            rules.sort_by_key(|rule| std::cmp::Reverse((rule.file.is_some(), rule.name.len())));
        }
        table
    }

    fn meaning(&self, frame: &Frame) -> Option<Meaning> {
        let language = match frame.kind {
            FrameKind::Python => Language::Python,
            FrameKind::Kernel => return None,
            FrameKind::Native | FrameKind::Inlined | FrameKind::Jit => Language::Native,
        };
        let name = match language {
            Language::Python => function::python(&frame.name),
            Language::Native | Language::Java => function::native(&frame.name),
        };
        let file = match language {
            Language::Python => frame.file.as_deref(),
            Language::Native | Language::Java => frame.module.as_deref(),
        };
        let exact = self.exact.get(&(language, last(language, &name)));
        let mut exact = exact.into_iter().flatten();
        let found = exact.find(|rule| rule.is_of(&name, file));
        let first = name.bytes().next().unwrap_or_default();
        let begins = || {
            let of_letter = self.prefixes.get(&first).into_iter().flatten();
            // `*` alone: every function of a module.
            let of_module = self.prefixes.get(&0).into_iter().flatten();
            of_letter
                .chain(of_module)
                .find(|rule| rule.begins(&name, language, file))
        };
        found.or_else(begins).map(|rule| rule.meaning)
    }

    fn class(&self, name: &str) -> Option<Meaning> {
        let rules = self.exact.get(&(Language::Java, name))?;
        rules.first().map(|rule| rule.meaning)
    }
}

/// The last part of a name, by which rules are found.
fn last(language: Language, name: &str) -> &str {
    let parts = match language {
        Language::Python => ".",
        Language::Native => "::",
        Language::Java => return name,
    };
    name.rsplit(parts).next().unwrap_or(name)
}

/// What is known of a frame.
pub fn meaning(frame: &Frame) -> Option<Meaning> {
    TABLE.meaning(frame)
}

/// What it means that a thread of Java's is parked on an object of these classes, its own first and then its parents.
pub fn parked_on(classes: &[String]) -> Option<Meaning> {
    classes.iter().find_map(|class| TABLE.class(class))
}

#[cfg(test)]
mod tests;
