//! Skips: each is told at the end, and where the surroundings are meant to be complete, one that is not
//! on the list fails the run.

use super::output::Told;
use anyhow::Context as _;
use serde::Deserialize;
use std::path::Path;

/// Skips that are known where the tests run for every change, each with its reason.
const LIST: &str = "../tests/skips.toml";

/// What a continuous-integration service sets to `true`.
const CI: &str = "CI";

/// One that is known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    /// The name of the test.
    test: String,
    /// What its reason holds.
    says: String,
    /// Why it cannot be otherwise.
    because: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    skip: Vec<Known>,
}

/// Whether everything that the tests need is meant to be here.
pub(crate) fn must_be_complete() -> bool {
    std::env::var(CI).is_ok_and(|value| value == "true")
}

/// The list.
///
/// # Errors
/// It cannot be read.
pub(super) fn known() -> anyhow::Result<Vec<Known>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(LIST);
    let text = std::fs::read_to_string(&path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| format!("{}", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Vec<Known>> {
    Ok(toml::from_str::<List>(text)?.skip)
}

/// Those that are not on the list.
pub(super) fn unknown<'a>(skipped: &'a [Told], known: &[Known]) -> Vec<&'a Told> {
    let is_known = |told: &Told| known.iter().any(|known| is(known, told));
    skipped.iter().filter(|told| !is_known(told)).collect()
}

/// Entries of the list that nothing was skipped by, in words.
pub(super) fn stale(skipped: &[Told], known: &[Known]) -> Vec<String> {
    let unused = |known: &&Known| !skipped.iter().any(|told| is(known, told));
    let words = |known: &Known| format!("{}: {} ({})", known.test, known.says, known.because);
    known.iter().filter(unused).map(words).collect()
}

fn is(known: &Known, told: &Told) -> bool {
    known.test == told.test && told.why.contains(&known.says)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(test: &str, why: &str) -> Told {
        Told {
            test: test.to_owned(),
            why: why.to_owned(),
        }
    }

    #[test]
    fn a_skip_is_known_by_its_test_and_its_words() {
        let known = parse(
            "[[skip]]\ntest = \"a::b\"\nsays = \"no java\"\nbecause = \"not in every machine\"\n",
        )
        .unwrap();
        let all = [
            told("a::b", "no java here"),
            told("a::b", "no gdb here"),
            told("a::c", "no java here"),
        ];
        assert_eq!(unknown(&all, &known), [&all[1], &all[2]]);
        assert!(stale(&all, &known).is_empty());
        assert_eq!(stale(&all[1..], &known).len(), 1);
    }

    #[test]
    fn the_list_can_be_read_and_gives_reasons() {
        let list = known().unwrap();
        assert!(list.iter().all(|known| !known.because.trim().is_empty()));
        assert!(parse("[[skip]]\ntest = \"a\"\nsays = \"b\"\n").is_err());
    }
}
