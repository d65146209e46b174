//! `dict`, in all its layouts: with one table, split between instances of a class, with string keys
//! only.

use super::layout::Keys;
use super::{Objects, word_at};
use crate::memory::Memory;

/// Entries of one dict that are read at the most.
const MAX_ENTRIES: usize = 1 << 17;
/// `PyDictObject.ma_keys`, `.ma_values`.
const MA_KEYS: u64 = 32;
/// Words of an entry with its hash, and without.
const WITH_HASH: usize = 3;
const WITHOUT_HASH: usize = 2;
/// `DICT_KEYS_GENERAL`: entries have a hash (3.11 on).
const GENERAL: u8 = 0;

/// Where the entries of a dict's keys stand.
struct Table {
    entries: u64,
    /// Entries in use, deleted ones among them.
    count: usize,
    words: usize,
}

impl<M: Memory> Objects<'_, M> {
    /// The (key, value) pairs of a dict, in order; those beyond a bound of 131,072 are left out.
    pub fn dict(&self, object: u64) -> Option<Vec<(u64, u64)>> {
        if !self.type_of(object)?.is_a("dict") {
            return None;
        }
        let [keys, values] = self.words(object.checked_add(MA_KEYS)?)?;
        self.pairs(keys, values)
    }

    /// The value of a string key of a dict.
    pub fn dict_value(&self, object: u64, key: &str) -> Option<u64> {
        let pairs = self.dict(object)?;
        let found = pairs.into_iter().find(|(name, _)| self.text_is(*name, key));
        found.map(|(_, value)| value)
    }

    /// Pairs of a table of keys; `values` 0: they are in it, else where they are.
    pub(super) fn pairs(&self, keys: u64, values: u64) -> Option<Vec<(u64, u64)>> {
        let table = self.table(keys)?;
        let words = self.word_list(table.entries, table.count * table.words)?;
        // Key and value end an entry.
        let pairs = words
            .chunks_exact(table.words)
            .map(|entry| (entry[table.words - 2], entry[table.words - 1]));
        if values == 0 {
            return Some(pairs.filter(|(_, value)| *value != 0).collect());
        }
        let at = values.checked_add(self.layout.values_head)?;
        let values = self.word_list(at, table.count)?;
        let split = pairs.zip(values).map(|((key, _), value)| (key, value));
        Some(split.filter(|(_, value)| *value != 0).collect())
    }

    fn table(&self, keys: u64) -> Option<Table> {
        let head: [u8; 40] = self.memory.bytes(keys)?;
        let (indices, count, start, words) = match self.layout.keys {
            Keys::Sized => {
                let size = word_at(&head, 8);
                // `DK_IXSIZE`: bytes of an index.
                let index = match size {
                    0..=0xff => 1,
                    0x100..=0xffff => 2,
                    0x1_0000..=0xffff_ffff => 4,
                    _ => return None,
                };
                (size * index, word_at(&head, 32), 40, WITH_HASH)
            }
            Keys::Logarithmic => {
                let [_, log2_index_bytes, kind] = [head[8], head[9], head[10]];
                let indices = 1_u64.checked_shl(log2_index_bytes.into())?;
                let words = if kind == GENERAL {
                    WITH_HASH
                } else {
                    WITHOUT_HASH
                };
                (indices, word_at(&head, 24), 32, words)
            }
        };
        Some(Table {
            entries: keys.checked_add(start)?.checked_add(indices)?,
            count: usize::try_from(count).ok()?.min(MAX_ENTRIES),
            words,
        })
    }
}
