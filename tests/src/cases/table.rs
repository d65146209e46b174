//! What became of all cases, in Markdown: by kind, then a row a case.

use super::{Case, Expect, Outcome, due};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A case, and what became of it, or why it could not run.
pub type Ran = (Case, Result<Outcome, String>);

/// What was counted of all of them.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    sick: usize,
    found: usize,
    /// Of those, in time.
    in_time: usize,
    /// The latest end of a look after it was due.
    latest: Duration,
    healthy: usize,
    silent: usize,
    /// Together on all healthy ones.
    watched: Duration,
    least_watched: Option<Duration>,
    skipped: usize,
    /// By kind: sick, found, false alarms.
    kinds: BTreeMap<String, (usize, usize, usize)>,
}

impl Sum {
    /// Of these.
    pub fn of(ran: &[Ran]) -> Self {
        let mut sum = Self::default();
        for (case, outcome) in ran {
            match outcome {
                Err(_) => sum.skipped += 1,
                Ok(outcome) => sum.add(case, outcome),
            }
        }
        sum
    }

    fn add(&mut self, case: &Case, outcome: &Outcome) {
        let Expect::Sick { kind, .. } = case.expect else {
            self.healthy += 1;
            self.silent += usize::from(outcome.right);
            self.watched += outcome.watched;
            if let Expect::Healthy = case.expect {
                let least = self.least_watched.unwrap_or(outcome.watched);
                self.least_watched = Some(least.min(outcome.watched));
            }
            for kind in &outcome.kinds {
                self.kinds.entry(kind.clone()).or_default().2 += 1;
            }
            return;
        };
        let of_kind = self.kinds.entry(kind.to_owned()).or_default();
        of_kind.0 += 1;
        self.sick += 1;
        if outcome.right {
            of_kind.1 += 1;
            self.found += 1;
            self.in_time += usize::from(outcome.ended <= due::due(case));
            let late = outcome.ended.saturating_sub(due::due(case));
            self.latest = self.latest.max(late);
        }
    }

    /// Cases that could not run here.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether everything that could run is as it must be.
    pub fn is_right(&self) -> bool {
        (self.found, self.silent) == (self.sick, self.healthy)
    }

    /// In a sentence.
    pub fn words(&self) -> String {
        let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
        let late = match self.found - self.in_time {
            0 => String::new(),
            late => format!(
                " ({late} of them by a look that ended up to {:.1} s later)",
                self.latest.as_secs_f64()
            ),
        };
        format!(
            "{} of {} sick ones found, {} within threshold + 2 s{late}; {} of {} healthy ones silent, each watched \
             for {:.0} s or longer, together for {:.0} min; {} could not run here",
            self.found,
            self.sick,
            self.in_time,
            self.silent,
            self.healthy,
            seconds(self.least_watched),
            self.watched.as_secs_f64() / 60.0,
            self.skipped
        )
    }
}

/// The whole page; `how` it was made: the command.
pub fn markdown(ran: &[Ran], how: &str) -> String {
    let sum = Sum::of(ran);
    let mut text = format!(
        "# Specimens\n\n\
         What `remora triage` says of programs that are sick in a known way, and of healthy ones that look like them. Made by\n\
         `{how}`.\n\n\
         **{}.**\n\n\
         *Found* means: this kind, in the worst incident, about this thread where the kind is about one, with the function to blame in its\n\
         stack and what else has to be said; and exit code 10. The state begins with the program's ready line; the look ends at the\n\
         later of threshold and length of the look (3 s, for trends longer), and 2 s more: *seen after* is when it did end.\n\
         *Silent* means: no finding of any kind, and exit code 0.\n\n",
        sum.words()
    );
    text.push_str("| kind | found | false alarms on healthy ones |\n| --- | --- | --- |\n");
    for (kind, (sick, found, alarms)) in &sum.kinds {
        row(
            &mut text,
            &[
                &format!("`{kind}`"),
                &format!("{found} of {sick}"),
                &alarms.to_string(),
            ],
        );
    }
    row(
        &mut text,
        &[
            "all",
            &format!("{} of {}", sum.found, sum.sick),
            &(sum.healthy - sum.silent).to_string(),
        ],
    );
    let is_sick = |ran: &&Ran| matches!(ran.0.expect, Expect::Sick { .. });
    text.push_str("\n## Sick\n\n| specimen | what it does | found | threshold | seen after |\n| --- | --- | --- | --- | --- |\n");
    ran.iter()
        .filter(is_sick)
        .for_each(|ran| sick(&mut text, ran));
    text.push_str("\n## Healthy\n\n| specimen | what it does | said | watched for |\n| --- | --- | --- | --- |\n");
    ran.iter()
        .filter(|ran| !is_sick(ran))
        .for_each(|ran| healthy(&mut text, ran));
    text
}

fn sick(text: &mut String, (case, outcome): &Ran) {
    let Expect::Sick { kind, .. } = case.expect else {
        return;
    };
    let (found, after) = match outcome {
        Err(_) => ("could not run".to_owned(), String::new()),
        Ok(outcome) if outcome.right => (format!("`{kind}`"), seconds(outcome.ended)),
        Ok(outcome) => (
            format!("**`{}`**, not `{kind}`", outcome.verdict),
            seconds(outcome.ended),
        ),
    };
    let threshold = match due::threshold(case) {
        Duration::ZERO => "of the look".to_owned(),
        threshold => format!("{} s", threshold.as_secs()),
    };
    row(
        text,
        &[
            &format!("`{}`", case.name),
            case.about,
            &found,
            &threshold,
            &after,
        ],
    );
}

fn healthy(text: &mut String, (case, outcome): &Ran) {
    let (said, watched) = match outcome {
        Err(_) => ("could not run".to_owned(), String::new()),
        Ok(outcome) if outcome.right => ("nothing".to_owned(), seconds(outcome.watched)),
        Ok(outcome) => (
            format!("**`{}`**", outcome.kinds.join("`, `")),
            seconds(outcome.watched),
        ),
    };
    row(
        text,
        &[&format!("`{}`", case.name), case.about, &said, &watched],
    );
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn row(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    let _never_fails = writeln!(text, "| {} |", cells.join(" | "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(is_sick: bool, right: bool, kinds: &[&str]) -> Ran {
        let wanted = |case: &&Case| matches!(case.expect, Expect::Sick { .. }) == is_sick;
        let all = super::super::all();
        let case = *all.iter().find(wanted).expect("some");
        let outcome = Outcome {
            right,
            verdict: kinds.first().unwrap_or(&"healthy").to_string(),
            words: String::new(),
            watched: Duration::from_secs(60),
            ended: Duration::from_secs(4),
            answered: Duration::from_secs(4),
            kinds: kinds.iter().map(ToString::to_string).collect(),
        };
        (case, Ok(outcome))
    }

    #[test]
    fn what_was_missed_and_what_was_cried_in_vain_is_counted_by_kind() {
        let all = [
            ran(true, true, &["deadlock"]),
            ran(true, false, &[]),
            ran(false, true, &[]),
            ran(false, false, &["feed_gap"]),
        ];
        let sum = Sum::of(&all);
        assert!(!sum.is_right());
        assert_eq!(sum.kinds["deadlock"], (2, 1, 0));
        assert_eq!(sum.kinds["feed_gap"], (0, 0, 1));
        let words = sum.words();
        assert!(
            words.starts_with("1 of 2 sick ones found, 1 within"),
            "{words}"
        );
        assert!(
            words.contains("1 of 2 healthy ones silent, each watched for 60 s"),
            "{words}"
        );
        let page = markdown(&all, "cargo xtask specimens");
        assert!(page.contains("| `deadlock` | 1 of 2 | 0 |"), "{page}");
        assert!(page.contains("| all | 1 of 2 | 1 |"), "{page}");
        assert!(Sum::of(&all[2..3]).is_right());
    }
}
