//! What became of all programs, in words and in Markdown.

use super::{Look, Program};
use std::fmt::Write as _;
use std::time::Duration;

/// What became of a program.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What its version command printed.
    pub version: String,
    /// At rest, unless it was looked at once, at work.
    pub rest: Option<Result<Look, String>>,
    /// At work, where it can be given some.
    pub work: Option<Result<Look, String>>,
}

impl Outcome {
    /// Its looks, with what it did.
    pub fn looks(&self) -> impl Iterator<Item = (&'static str, &Result<Look, String>)> {
        let rest = self.rest.iter().map(|look| ("at rest", look));
        let work = self.work.iter().map(|look| ("at work", look));
        rest.chain(work)
    }

    /// Whether remora was silent.
    pub fn is_right(&self) -> bool {
        self.looks()
            .all(|(_, look)| look.as_ref().is_ok_and(Look::is_right))
    }
}

/// The table: programs that ran, then those that could not.
pub fn markdown(
    ran: &[(Program, Result<Outcome, String>)],
    length: Duration,
    command: &str,
) -> String {
    let mut text = format!(
        "`{command}`\n\n| program | version | threads | at rest, {0} s | at work, {0} s |\n| --- | --- | --- | --- | --- |\n",
        length.as_secs()
    );
    for (program, outcome) in ran {
        let Ok(outcome) = outcome else { continue };
        let seen = outcome.looks().filter_map(|(_, look)| look.as_ref().ok());
        let threads = seen.map(|look| look.threads).max().unwrap_or(0);
        let [rest, work] =
            [&outcome.rest, &outcome.work].map(|look| look.as_ref().map_or("", cell));
        let row = writeln!(
            text,
            "| {} | {} | {threads} | {rest} | {work} |",
            program.name,
            escape(&outcome.version),
        );
        row.expect("a string takes everything");
    }
    let skipped = ran
        .iter()
        .filter_map(|(program, outcome)| Some((program, outcome.as_ref().err()?)));
    for (program, why) in skipped {
        let line = writeln!(text, "\nSkipped: {}: {}", program.name, escape(why));
        line.expect("a string takes everything");
    }
    text
}

fn cell(look: &Result<Look, String>) -> &str {
    look.as_ref().map_or("not seen", |look| &look.verdict)
}

/// Versions are other people's text.
fn escape(text: &str) -> String {
    text.chars()
        .take(60)
        .collect::<String>()
        .replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(verdict: &str, said: &[&str]) -> Look {
        Look {
            verdict: verdict.to_owned(),
            said: said.iter().map(ToString::to_string).collect(),
            watched: Duration::from_secs(3),
            threads: 2,
        }
    }

    #[test]
    fn one_is_right_when_remora_is_silent_at_rest_and_at_work() {
        let outcome = |rest, work| Outcome {
            version: "1".to_owned(),
            rest: Some(rest),
            work,
        };
        let silent = || Ok(look("idle", &[]));
        assert!(outcome(silent(), Some(Ok(look("healthy", &[])))).is_right());
        assert!(!outcome(silent(), Some(Ok(look("unclear", &["?"])))).is_right());
        assert!(!outcome(silent(), Some(Err("no answer".to_owned()))).is_right());
        assert!(!outcome(Ok(look("starved", &["!"])), None).is_right());
    }
}
