//! The version of an interpreter without `Py_Version` (3.8 to 3.10), by the constants of its file:
//! paths like `lib/python3.9` say the minor version many times, `PY_VERSION` the whole once. The
//! linker may have made it the end of a longer text (`…/versions/3.9.18`).

use super::pieces::pieces;
use crate::maps::Content;
use crate::python::Version;
use std::ops::Range;
use std::path::Path;

/// Constants that are looked at, in bytes.
const MAX_BYTES: u64 = 64 << 20;
/// The longest text that is looked for is shorter, in bytes.
const OVERLAP: usize = 64;
/// In front of a minor version in paths and names.
const PREFIX: &[u8] = b"python3.";
/// Minor versions are below.
const MINORS: usize = 32;

/// How often each minor version is named, and the whole version texts that were seen.
#[derive(Default)]
struct Votes {
    minors: [u32; MINORS],
    /// The distinct micro versions that stand with each, two at the most: two are one too many.
    micros: [Vec<u8>; MINORS],
}

/// The version that the file's constants name most, or else its path.
pub(super) fn version(
    content: &Content,
    constants: impl Iterator<Item = Range<u64>>,
    path: &Path,
) -> Option<Version> {
    let mut votes = Votes::default();
    let mut left = MAX_BYTES;
    for range in constants {
        let end = range.end.min(range.start.saturating_add(left));
        left -= end.saturating_sub(range.start);
        // A file that ends earlier has no more to say.
        let _ = pieces(content, range.start..end, OVERLAP, |_, piece| {
            votes.count(piece);
        });
    }
    if votes.minors.iter().all(|count| *count == 0) {
        votes.count(path.file_name()?.as_encoded_bytes());
    }
    votes.winner()
}

impl Votes {
    fn count(&mut self, bytes: &[u8]) {
        for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'3') {
            let in_front = &bytes[..at];
            let Some((minor, rest)) = after(&bytes[at..], b"3.") else {
                continue;
            };
            if in_front.ends_with(&PREFIX[..PREFIX.len() - 2]) {
                self.minors[minor] = self.minors[minor].saturating_add(1);
            } else if in_front.last().is_none_or(|byte| !is_number(*byte))
                && let Some((micro, rest)) = after(rest, b".")
                && is_end(rest)
            {
                self.micros[minor].push(u8::try_from(micro).unwrap_or(u8::MAX));
                self.micros[minor].dedup();
                self.micros[minor].truncate(2);
            }
        }
    }

    fn winner(&self) -> Option<Version> {
        let votes = self.minors.iter().enumerate();
        let (minor, _) = votes
            .filter(|(_, count)| **count > 0)
            .max_by_key(|(_, count)| **count)?;
        let micro = match self.micros[minor][..] {
            [micro] => Some(micro),
            _ => None,
        };
        Some(Version {
            major: 3,
            minor: u8::try_from(minor).ok()?,
            micro,
        })
    }
}

/// The number below [`MINORS`] behind `prefix`, and what follows it.
fn after<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<(usize, &'a [u8])> {
    let bytes = bytes.strip_prefix(prefix)?;
    let digits = bytes
        .iter()
        .take(3)
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number: usize = std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()?;
    (number < MINORS).then_some((number, &bytes[digits..]))
}

/// A byte that makes what follows the end of a longer number.
fn is_number(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'.'
}

/// The end of `PY_VERSION`: a NUL, or `+`, `a1`, `b2`, `rc3` of a version that is no release.
fn is_end(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(0 | b'+' | b'a' | b'b' | b'r'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::python::find::pieces::PIECE;

    fn version_in(text: &[u8], path: &str) -> Option<String> {
        let content = Content::Bytes(text.into());
        let all = std::iter::once(0..text.len() as u64);
        version(&content, all, Path::new(path)).map(|version| version.to_string())
    }

    #[test]
    fn the_minor_that_is_named_most_wins() {
        let text = b"\0lib/python3.9\0python3.9/config\0python3.8\x003.8.11\0/v/3.9.18\x0013.9.7\0";
        assert_eq!(version_in(text, "/x"), Some("3.9.18".into()));
    }

    #[test]
    fn a_version_of_something_else_is_no_version() {
        assert_eq!(
            version_in(b"\x003.8.11\x003.40.1\0", "/usr/bin/uwsgi"),
            None
        );
    }

    #[test]
    fn the_name_of_the_file_helps_out() {
        let found = version_in(b"nothing", "/usr/lib/libpython3.10.so.1.0");
        assert_eq!(found, Some("3.10".into()));
    }

    #[test]
    fn a_text_across_two_pieces_is_found() {
        let mut text = vec![b' '; PIECE * 2];
        text[PIECE - 4..PIECE + 5].copy_from_slice(b"python3.9");
        assert_eq!(version_in(&text, "/x"), Some("3.9".into()));
    }
}
