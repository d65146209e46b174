//! `str`.

use super::{Objects, word_at};
use crate::memory::Memory;
use crate::python::layout::Unicode;

/// Characters read of a string; longer ones end with `…`.
const MAX_CHARS: usize = 1024;
/// Bits of the state behind those of `kind` (`Include/cpython/unicodeobject.h`).
const KIND_MASK: u32 = 7;
const COMPACT: u32 = 1 << 3;
const ASCII: u32 = 1 << 4;
/// Bytes that hold the head and most names: one read.
const FIRST: usize = 128;

/// How the characters of a string are stored.
struct Form {
    chars: usize,
    /// Bytes of a character: 1, 2 or 4.
    width: usize,
    compact: bool,
    ascii: bool,
}

impl<M: Memory> Objects<'_, M> {
    /// The text of a `str`, or of an instance of a class derived from it; cut after 1,024
    /// characters.
    pub fn text(&self, object: u64) -> Option<String> {
        let (kind, head) = self.typed::<FIRST>(object)?;
        if !kind.is_a("str") {
            return None;
        }
        let form = form(&self.unicode, &head)?;
        let chars = form.chars.min(MAX_CHARS);
        let bytes = self.characters(object, &head, &form, chars * form.width)?;
        let mut text = decode(&bytes, form.width)?;
        if chars < form.chars {
            text.push('…');
        }
        Some(text)
    }

    /// The first `len` bytes of a string's characters, from its head where they are in it.
    fn characters(&self, object: u64, head: &[u8], form: &Form, len: usize) -> Option<Vec<u8>> {
        let behind = if form.compact && form.ascii {
            self.unicode.ascii_data
        } else {
            self.unicode.compact_data
        };
        if form.compact
            && let Some(bytes) = head.get(behind.into()..usize::from(behind) + len)
        {
            return Some(bytes.to_vec());
        }
        let mut start = object.checked_add(behind.into())?;
        if !form.compact {
            // Elsewhere, as for derived classes: a pointer follows the head.
            start = self.memory.u64(start)?;
        }
        let mut bytes = vec![0; len];
        self.memory.read(start, &mut bytes)?;
        Some(bytes)
    }

    /// Whether a `str` has this ASCII text.
    pub fn text_is(&self, object: u64, text: &str) -> bool {
        let start = usize::from(self.unicode.ascii_data);
        let mut bytes = [0_u8; FIRST];
        let Some(bytes) = bytes.get_mut(..start + text.len()) else {
            return self.text(object).is_some_and(|found| found == text);
        };
        self.memory.read(object, bytes).is_some()
            && form(&self.unicode, bytes)
                .is_some_and(|form| form.compact && form.ascii && form.chars == text.len())
            && &bytes[start..] == text.as_bytes()
    }
}

fn form(unicode: &Unicode, head: &[u8]) -> Option<Form> {
    let state = word_at(head, unicode.state.into()) as u32;
    let states = unicode.kind_shifts.iter().map(|shift| state >> shift);
    // Where none is compact, the first place is the only one that there was.
    let state = states
        .clone()
        .find(|state| state & COMPACT != 0)
        .or_else(|| states.clone().next())?;
    Some(Form {
        chars: usize::try_from(word_at(head, unicode.length.into())).ok()?,
        width: match state & KIND_MASK {
            1 => 1,
            2 => 2,
            4 => 4,
            _ => return None,
        },
        compact: state & COMPACT != 0,
        ascii: state & ASCII != 0,
    })
}

/// Latin-1, UCS-2 or UCS-4, by the bytes of a character; `None` for what is no character. Lone
/// surrogates, which Python allows, become replacement characters.
fn decode(bytes: &[u8], width: usize) -> Option<String> {
    bytes
        .chunks_exact(width)
        .map(|chunk| {
            let mut word = [0; 4];
            word[..width].copy_from_slice(chunk);
            match u32::from_le_bytes(word) {
                0xd800..=0xdfff => Some(char::REPLACEMENT_CHARACTER),
                code => char::from_u32(code),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn all_widths_are_decoded_and_nonsense_is_none() {
        assert_eq!(decode(b"a\xe9", 1).as_deref(), Some("aé"));
        assert_eq!(decode(&[0x3c, 0x04, 0x21, 0], 2).as_deref(), Some("м!"));
        assert_eq!(decode(&[0, 0xd8], 2).as_deref(), Some("\u{fffd}"));
        assert_eq!(
            decode(&[0x00, 0xf6, 0x01, 0], 4).as_deref(),
            Some("\u{1f600}")
        );
        assert_eq!(decode(&[0, 0, 0x11, 0], 4), None);
    }
}
