//! A test that measures time may be disturbed by other work on the machine. That is not there a second
//! time; a defect is. So a test that failed is run once more, and what needs that is limited.

use super::output::Told;

/// Tests that may need a second try. Where more do, it is not chance.
const MOST: usize = 2;

/// What became of the tests that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// They needed a second try, each with the reason why the first failed.
    pub recovered: Vec<Told>,
    /// They failed for good, in words.
    pub failed: Vec<Told>,
}

/// Tries again what failed; `again` runs the tests of these names and gives those that failed.
///
/// What passes the second time is run a third time: a test that would need a second try twice in a row is
/// not one that was disturbed. No record of earlier runs is needed for that, so it holds in a fresh checkout.
///
/// # Errors
/// The tests cannot be run.
pub(super) fn try_again<E>(
    first: Vec<Told>,
    mut again: impl FnMut(&[String]) -> Result<Vec<Told>, E>,
) -> Result<Tries, E> {
    if first.is_empty() || first.len() > MOST {
        let failed = first.into_iter();
        let why = |told: Told| after("not tried again, as too many failed", told);
        let failed = failed.map(why).collect();
        return Ok(Tries {
            recovered: Vec::new(),
            failed,
        });
    }
    let second = again(&names(&first))?;
    let is_in = |list: &[Told], told: &Told| list.iter().any(|other| other.test == told.test);
    let (twice, passed): (Vec<_>, Vec<_>) = first.into_iter().partition(|it| is_in(&second, it));
    let third = if passed.is_empty() {
        Vec::new()
    } else {
        again(&names(&passed))?
    };
    let (unsteady, recovered): (Vec<_>, Vec<_>) =
        passed.into_iter().partition(|it| is_in(&third, it));
    let twice = twice.into_iter().map(|told| after("failed twice", told));
    let unsteady = unsteady
        .into_iter()
        .map(|told| after("failed, passed, and failed again", told));
    Ok(Tries {
        recovered,
        failed: twice.chain(unsteady).collect(),
    })
}

fn after(what: &str, told: Told) -> Told {
    Told {
        why: format!("{what}: {}", told.why),
        ..told
    }
}

fn names(told: &[Told]) -> Vec<String> {
    told.iter().map(|told| told.test.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    fn told(names: &[&str]) -> Vec<Told> {
        let told = |name: &&str| Told {
            test: (*name).to_owned(),
            why: "it was late".to_owned(),
        };
        names.iter().map(told).collect()
    }

    /// The tests that fail in each further run, by name; which tests each was asked for.
    fn tried(first: &[&str], further: &[&[&str]]) -> (Tries, Vec<Vec<String>>) {
        let mut asked = Vec::new();
        let mut further = further.iter();
        let again = |names: &[String]| {
            asked.push(names.to_vec());
            Ok::<_, Infallible>(told(further.next().expect("one run more than told")))
        };
        let Ok(tries) = try_again(told(first), again);
        (tries, asked)
    }

    fn words(tries: &Tries) -> Vec<(&str, &str)> {
        let failed = tries.failed.iter();
        failed.map(|told| (&*told.test, &*told.why)).collect()
    }

    #[test]
    fn nothing_failed_nothing_is_tried() {
        assert_eq!(tried(&[], &[]), (Tries::default(), Vec::new()));
    }

    #[test]
    fn what_was_disturbed_passes_twice_and_is_told() {
        let (tries, asked) = tried(&["a"], &[&[], &[]]);
        assert_eq!((tries.recovered, tries.failed), (told(&["a"]), Vec::new()));
        assert_eq!(asked, [["a"], ["a"]]);
    }

    #[test]
    fn what_fails_again_fails_the_run() {
        let (tries, asked) = tried(&["a", "b"], &[&["b"], &[]]);
        assert_eq!(tries.recovered, told(&["a"]));
        assert_eq!(words(&tries), [("b", "failed twice: it was late")]);
        assert_eq!(asked, [vec!["a", "b"], vec!["a"]]);
        let (tries, _) = tried(&["a"], &[&[], &["a"]]);
        let unsteady = "failed, passed, and failed again: it was late";
        assert_eq!(words(&tries), [("a", unsteady)]);
        assert!(tries.recovered.is_empty());
    }

    #[test]
    fn more_than_two_fail_the_run_at_once() {
        let (tries, asked) = tried(&["a", "b", "c"], &[]);
        assert_eq!((tries.failed.len(), asked.len()), (3, 0));
    }
}
