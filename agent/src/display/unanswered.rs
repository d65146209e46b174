//! What did not answer in time, for the verdict and its note.

use crate::model::Capture;

/// Things that are named in a headline.
const NAMED: usize = 2;

/// `no answer in time: memory map of feed (4711), function names of file system /mnt/feed`; `None` where all came.
pub fn note(capture: &Capture) -> Option<String> {
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
    use crate::model::{Unanswered, fixture::Builder};

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
