//! What a guest said: its tests, each between two marks.

use std::collections::BTreeMap;

/// Begins a line of the guest's first process.
const MARK: &str = "@@ ";
/// Lines of one test that are kept; a report that is printed whole has some thousand.
const MOST_LINES: usize = 20_000;

/// What the guest's first process says of its progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It is up, with this kernel.
    Boot(String),
    /// A test begins.
    Begin(String),
    /// The test ended.
    End(String),
    /// All did.
    Done,
}

/// One test, or another program of the guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ran {
    /// Its exit code; `None` while it runs.
    pub code: Option<i32>,
    /// What it printed.
    pub lines: Vec<String>,
    /// How long it took, by the guest's clock.
    pub seconds: f64,
    /// How often it was begun: what failed is tried once more.
    pub attempts: u32,
    /// When it began, by the guest's clock.
    pub began_s: f64,
}

impl Ran {
    /// All lines.
    pub(super) fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The reasons for which the test says that it, or a part of it, is skipped; see
    /// `tests/src/gate.rs`.
    pub(super) fn skips(&self) -> Vec<&str> {
        // The runner's own line may stand before it: `test NAME ... skipped: NAME: WHY`.
        let lines = self.lines.iter();
        let said = lines.filter_map(|line| line.split_once("skipped: "));
        let reasons = said.filter_map(|(_, said)| said.split_once(": "));
        reasons.map(|(_test, why)| why).collect()
    }

    /// Whether the runner says that this one test ran and passed.
    pub(super) fn passed(&self) -> bool {
        let said = |line: &String| line.starts_with("test result: ok. 1 passed;");
        self.code == Some(0) && self.lines.iter().any(said)
    }
}

/// All that the guest said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Transcript {
    /// `uname -r`.
    pub release: String,
    /// By name.
    pub ran: BTreeMap<String, Ran>,
    current: Option<String>,
    done: bool,
}

impl Transcript {
    /// Takes a line in.
    pub(super) fn read(&mut self, line: &str) -> Option<Mark> {
        // A test may leave its last line without an end.
        let (before, mark) = match line.split_once(MARK) {
            Some((before, mark)) => (before, Some(mark)),
            None => (line, None),
        };
        if let Some(ran) = self
            .current
            .as_ref()
            .and_then(|name| self.ran.get_mut(name))
            && (mark.is_none() || !before.is_empty())
            && ran.lines.len() < MOST_LINES
        {
            ran.lines.push(before.to_owned());
        }
        self.mark(mark?)
    }

    fn mark(&mut self, mark: &str) -> Option<Mark> {
        let words: Vec<&str> = mark.split_whitespace().collect();
        match *words.as_slice() {
            ["boot", release, _] => {
                release.clone_into(&mut self.release);
                Some(Mark::Boot(release.to_owned()))
            }
            ["begin", name, up] => {
                let began_s = up.parse().ok()?;
                let before = self.ran.get(name).map_or(0, |ran| ran.attempts);
                let ran = Ran {
                    began_s,
                    attempts: before + 1,
                    ..Ran::default()
                };
                self.ran.insert(name.to_owned(), ran);
                self.current = Some(name.to_owned());
                Some(Mark::Begin(name.to_owned()))
            }
            ["end", code, up] => {
                let name = self.current.take()?;
                let ran = self.ran.get_mut(&name)?;
                ran.code = code.parse().ok();
                ran.seconds = up.parse::<f64>().ok()? - ran.began_s;
                Some(Mark::End(name))
            }
            ["done", _] => {
                self.done = true;
                Some(Mark::Done)
            }
            _ => None,
        }
    }

    /// Whether the guest came to its end.
    pub(super) fn is_complete(&self) -> bool {
        self.done
    }

    /// What it is at, and what that has printed.
    pub(super) fn place(&self) -> (&str, String) {
        match &self.current {
            Some(name) => (name, self.ran.get(name).map(Ran::text).unwrap_or_default()),
            None if self.release.is_empty() => ("its boot", String::new()),
            None => ("between two tests", String::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        for line in text.lines() {
            transcript.read(line);
        }
        transcript
    }

    const TEXT: &str = "\
@@ boot 6.1.0-56-cloud-amd64 2.10
@@ begin a::works 2.20
running 1 test
test works ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 4.74s
@@ end 0 7.20
@@ begin a::leaves_out 7.20
test leaves_out ... skipped: leaves_out: python3.9 is not installed
skipped: leaves_out: python3.10 is not installed
ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 4.74s
@@ end 0 8.00
@@ begin a::gone 8.00
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out; finished in 0.00s
@@ end 0 8.10
@@ begin a::breaks 8.10
unended line@@ end 101 9.00
@@ done 9.1
";

    #[test]
    fn tests_are_told_apart_by_their_marks() {
        let heard = heard(TEXT);
        assert!(heard.is_complete());
        assert_eq!(heard.release, "6.1.0-56-cloud-amd64");
        let ran = |name: &str| &heard.ran[name];
        assert!(ran("a::works").passed() && ran("a::works").skips().is_empty());
        assert!((ran("a::works").seconds - 5.0).abs() < 1e-9);
        let skips = ran("a::leaves_out").skips();
        let expected = ["python3.9 is not installed", "python3.10 is not installed"];
        assert_eq!(skips, expected);
        // No test of that name: the runner is content with that.
        assert!(!ran("a::gone").passed());
        let broken = ran("a::breaks");
        assert_eq!(
            (broken.code, broken.text()),
            (Some(101), "unended line".to_owned())
        );
    }

    #[test]
    fn the_last_attempt_counts() {
        let text = TEXT.replace("a::breaks", "a::works");
        let heard = heard(&text);
        let again = &heard.ran["a::works"];
        assert_eq!((again.attempts, again.code), (2, Some(101)));
        assert_eq!(heard.ran["a::gone"].attempts, 1);
    }

    #[test]
    fn a_guest_that_stops_says_where() {
        let half = heard("@@ boot 7 1\n@@ begin a::b 2\nlast words\n");
        assert!(!half.is_complete());
        assert_eq!(half.place(), ("a::b", "last words".to_owned()));
        assert_eq!(heard("").place().0, "its boot");
        assert_eq!(
            heard("@@ end 0 1\n@@ begin a::b x\n@@ nonsense").place().0,
            "its boot"
        );
    }
}
