//! The one place where strings that a target chose become fit for a report.
//!
//! A function name is free text: it may hold the separator of folded stacks, a newline, an escape
//! sequence for a terminal, or a megabyte. Equal strings are kept once: a batch holds thousands of
//! frames with few names.

use std::collections::HashSet;
use std::sync::Arc;

/// Longer names are cut, in characters: C++ names with nested templates reach some thousands.
pub(super) const MAX_CHARS: usize = 4096;

/// Cleaned strings, each once.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    /// The cleaned form of `raw`.
    pub(super) fn clean(&mut self, raw: &str) -> Arc<str> {
        let clean = clean(raw);
        if let Some(known) = self.0.get(clean.as_str()) {
            return known.clone();
        }
        let name: Arc<str> = clean.into();
        self.0.insert(name.clone());
        name
    }
}

/// Replaces what a line of a report must not hold and cuts what is too long.
pub(crate) fn clean(raw: &str) -> String {
    let mut clean: String = raw.trim().chars().take(MAX_CHARS).map(harmless).collect();
    if raw.trim().chars().nth(MAX_CHARS).is_some() {
        clean.push('…');
    }
    clean
}

fn harmless(character: char) -> char {
    match character {
        // Separates the frames of a folded stack; Rust writes it in array types. As inferno does.
        ';' => ':',
        // Marks that change the direction of what follows, and those that XML forbids.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        '\u{2028}' | '\u{2029}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn separators_and_control_characters_are_replaced() {
        assert_eq!(clean("<[u8; 4]>::f"), "<[u8: 4]>::f");
        assert_eq!(clean("a\nb\x1b[31m"), "a\u{fffd}b\u{fffd}[31m");
        assert_eq!(
            clean(&"x".repeat(MAX_CHARS + 1)).chars().count(),
            MAX_CHARS + 1
        );
    }

    #[test]
    fn equal_names_are_one() {
        let mut names = Names::default();
        assert!(Arc::ptr_eq(&names.clean("a;"), &names.clean("a:")));
    }

    proptest! {
        #[test]
        fn a_clean_name_is_one_frame_on_one_line(raw in any::<String>()) {
            let clean = clean(&raw);
            prop_assert!(!clean.contains([';', '\n', '\r', '\0']));
            prop_assert!(clean.chars().count() <= MAX_CHARS + 1);
        }
    }
}
