//! What was not seen: what did not answer in time, and a capture that was ended at once. For the verdict and its note.

use crate::{Capture, End};
use std::time::Duration;

/// A capture that the user ended before this says nothing of what a process does.
const SHORTEST: Duration = Duration::from_millis(500);

/// Things that are named in a headline.
const NAMED: usize = 2;

/// `no answer in time: memory map of feed (4711), function names of file system /mnt/feed`; `None` where all came.
pub fn note(capture: &Capture) -> Option<String> {
    let ended = capture.end == End::Interrupted && capture.duration < SHORTEST;
    let ended = ended.then(|| {
        format!(
            "interrupted after {:.1} s of watching",
            capture.duration.as_secs_f64()
        )
    });
    let notes: Vec<_> = ended.into_iter().chain(no_answer(capture)).collect();
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn no_answer(capture: &Capture) -> Option<String> {
    let all = &capture.unanswered;
    if all.is_empty() {
        return None;
    }
    let named = all.iter().take(NAMED);
    let named: Vec<_> = named
        .map(|it| format!("{} of {}", it.missing, it.of))
        .collect();
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!("no answer in time: {}{more}", named.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Unanswered, fixture::Builder};

    #[test]
    fn a_capture_that_was_ended_at_once_says_so() {
        let mut capture = Builder::new(1, "feed").finish();
        capture.end = End::Interrupted;
        capture.duration = Duration::from_millis(30);
        assert_eq!(
            note(&capture).as_deref(),
            Some("interrupted after 0.0 s of watching")
        );
        capture.duration = SHORTEST;
        assert_eq!(note(&capture), None);
    }

    #[test]
    fn the_first_are_named_and_the_rest_counted() {
        let mut capture = Builder::new(1, "feed").finish();
        assert_eq!(note(&capture), None);
        for of in ["feed (1)", "file system /mnt", "feed (2)"] {
            capture.unanswered.push(Unanswered {
                missing: "memory map".to_owned(),
                of: of.to_owned(),
                count: 1,
            });
        }
        assert_eq!(
            note(&capture).as_deref(),
            Some(
                "no answer in time: memory map of feed (1), memory map of file system /mnt and 1 more"
            )
        );
    }
}
