//! What test programs print, read: what passed, what failed and why, what was skipped and why.

use std::collections::BTreeMap;

/// Begins the line by which a test says that it, or a part of it, cannot run here.
const SKIPPED: &str = "skipped: ";

/// Lines of a failed test's message that are told.
const REASON_LINES: usize = 3;

/// A test, and why it did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The name of the test.
    pub test: String,
    /// In words.
    pub why: String,
}

/// What a run of test programs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Output {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed, each name once.
    pub failed: Vec<Told>,
    /// Tests that passed without doing all that they do elsewhere: one for each part.
    pub skipped: Vec<Told>,
    /// Tests that run only when somebody asks for them.
    pub ignored: Vec<Told>,
    /// Test programs that began and gave no result.
    pub broken_off: usize,
}

impl Output {
    /// Reads both streams of `cargo test`.
    ///
    /// Skips come by standard error, which the test harness does not hold back, see
    /// `tests/src/gate.rs`.
    pub(super) fn read(output: &str, error: &str) -> Self {
        let began = output.lines().filter(|line| is_beginning(line)).count();
        let results: Vec<usize> = output.lines().filter_map(passed).collect();
        Self {
            passed: results.iter().sum(),
            failed: failed(output),
            skipped: error.lines().filter_map(skipped).collect(),
            ignored: output.lines().filter_map(ignored).collect(),
            broken_off: began.saturating_sub(results.len()),
        }
    }

    /// Adds another run's.
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        self.ignored.extend(other.ignored);
        self.broken_off += other.broken_off;
    }
}

/// `running 3 tests`.
fn is_beginning(line: &str) -> bool {
    let count = line
        .strip_prefix("running ")
        .and_then(|rest| rest.split_once(" test"));
    count.is_some_and(|(count, _)| count.parse::<usize>().is_ok())
}

/// N of `test result: ok. N passed; …`.
fn passed(line: &str) -> Option<usize> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    counts.split_once(" passed")?.0.parse().ok()
}

/// `skipped: TEST: WHY`.
fn skipped(line: &str) -> Option<Told> {
    let (test, why) = line.strip_prefix(SKIPPED)?.split_once(": ")?;
    Some(Told {
        test: test.to_owned(),
        why: why.to_owned(),
    })
}

/// `test TEST ... ignored, WHY`.
fn ignored(line: &str) -> Option<Told> {
    let (test, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let why = rest.strip_prefix(", ").unwrap_or("no reason is given");
    Some(Told {
        test: test.to_owned(),
        why: why.to_owned(),
    })
}

/// The names in the lists that each test program ends with: `failures:`, then one a line, indented;
/// and before them, what each printed.
fn failed(output: &str) -> Vec<Told> {
    let mut reasons = reasons(output);
    let mut failed: Vec<Told> = Vec::new();
    let mut listed = false;
    for line in output.lines() {
        match line.strip_prefix("    ") {
            Some(name) if listed && !name.contains(' ') => {
                if failed.iter().all(|told| told.test != name) {
                    let why = reasons.remove(name);
                    failed.push(Told {
                        test: name.to_owned(),
                        why: why.unwrap_or_else(|| "it does not say why".to_owned()),
                    });
                }
            }
            _ => listed = line == "failures:",
        }
    }
    failed
}

/// By test, the first lines of its panic, from `---- TEST stdout ----` on.
fn reasons(output: &str) -> BTreeMap<String, String> {
    let mut reasons = BTreeMap::new();
    let mut lines = output.lines().peekable();
    while let Some(line) = lines.next() {
        let test = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"));
        let Some(test) = test else { continue };
        let mut own = Vec::new();
        while let Some(line) = lines.next_if(|line| !ends_section(line)) {
            own.push(line);
        }
        if let Some(reason) = panic_of(&own) {
            reasons.insert(test.to_owned(), reason);
        }
    }
    reasons
}

fn ends_section(line: &str) -> bool {
    line.starts_with("---- ") || line == "failures:"
}

/// The message of the first panic in a test's output, on one line.
fn panic_of(lines: &[&str]) -> Option<String> {
    let at = lines
        .iter()
        .position(|line| line.contains("panicked at "))?;
    let place = lines.get(at)?.split_once("panicked at ")?.1;
    let message = lines.get(at + 1..)?.iter();
    let is_trace =
        |line: &&&str| line.starts_with("note: run with") || **line == "stack backtrace:";
    let message = message.take_while(|line| !is_trace(line));
    let message = message.map(|line| line.trim());
    let message = message.filter(|line| !line.is_empty()).take(REASON_LINES);
    let words: Vec<&str> = [place].into_iter().chain(message).collect();
    Some(words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 4 tests
test a ... ok
test b ... FAILED
test d ... ignored, ten minutes
test module::c ... FAILED

failures:

---- b stdout ----

thread 'b' (77) panicked at tests/x.rs:3:5:
assertion failed: nobody is late
  left: 1
stack backtrace:
   0: rust_begin_unwind

---- module::c stdout ----
    at line 3


failures:
    b
    module::c

test result: FAILED. 1 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test e ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s
";

    #[test]
    fn what_failed_is_in_the_list_at_the_end_and_why_before_it() {
        let output = Output::read(OUTPUT, "");
        assert_eq!((output.passed, output.broken_off), (2, 0));
        let names: Vec<&str> = output.failed.iter().map(|it| &*it.test).collect();
        assert_eq!(names, ["b", "module::c"]);
        let b = "tests/x.rs:3:5: assertion failed: nobody is late left: 1";
        assert_eq!(output.failed[0].why, b);
        assert_eq!(output.failed[1].why, "it does not say why");
        assert_eq!(output.ignored[0].test, "d");
        assert_eq!(output.ignored[0].why, "ten minutes");
        assert!(
            Output::read(
                "running 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0\n",
                ""
            )
            .failed
            .is_empty()
        );
    }

    #[test]
    fn a_skip_is_a_line_of_standard_error() {
        let error = "warning: skipped: x\nskipped: a::b: no gdb: install it\nskipped: no reason\n";
        let output = Output::read("skipped: c: said where nobody looks\n", error);
        let told = Told {
            test: "a::b".to_owned(),
            why: "no gdb: install it".to_owned(),
        };
        assert_eq!(output.skipped, [told]);
    }

    #[test]
    fn a_test_program_that_breaks_off_is_counted() {
        let end = OUTPUT.find("test result: ok").unwrap();
        assert_eq!(Output::read(&OUTPUT[..end], "").broken_off, 1);
    }
}
