//! `set`, `list`, `tuple`, weak references.

use super::layout::{VAR_ITEMS, VAR_SIZE};
use super::{Objects, word_at};
use crate::memory::Memory;

/// Slots of a set's table that are read at the most.
const MAX_SLOTS: u64 = 1 << 18;
/// Attempts to read a set that is rebuilt meanwhile.
const ATTEMPTS: usize = 4;
/// `PySetObject.used`, `.mask`, `.table`: three words.
const SET_USED: u64 = 24;
/// Words of a `setentry`: key, hash.
const SLOT_WORDS: usize = 2;
/// The hash of a deleted slot.
const DELETED: u64 = u64::MAX;
/// `PyWeakReference.wr_object`.
const REFERENT: usize = 16;

/// The members of a set, read while it may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Addresses, in the order of the table.
    pub items: Vec<u64>,
    /// The table was replaced or resized each time that it was read.
    pub torn: bool,
    /// Members or slots beyond the bounds, not read.
    pub cut: u64,
}

impl<M: Memory> Objects<'_, M> {
    /// Members of a `set` or `frozenset`, the first `most` of them.
    pub fn set(&self, object: u64, most: usize) -> Option<Members> {
        let kind = self.type_of(object)?;
        if !kind.is_a("set") && !kind.is_a("frozenset") {
            return None;
        }
        let head = object.checked_add(SET_USED)?;
        let mut members = None;
        for _ in 0..ATTEMPTS {
            let before: [u64; 3] = self.words(head)?;
            members = self.slots(before, most).or(members);
            let [_, mask, table] = self.words(head)?;
            if members.is_some() && [mask, table] == before[1..] {
                return members;
            }
        }
        members.map(|members| Members {
            torn: true,
            ..members
        })
    }

    fn slots(&self, [used, mask, table]: [u64; 3], most: usize) -> Option<Members> {
        let slots = mask.checked_add(1)?.min(MAX_SLOTS);
        let words = self.word_list(table, slots as usize * SLOT_WORDS)?;
        let mut items: Vec<u64> = words
            .chunks_exact(SLOT_WORDS)
            .filter(|slot| slot[0] != 0 && slot[1] != DELETED)
            .map(|slot| slot[0])
            .collect();
        items.truncate(most);
        let cut = if items.len() == most || slots <= mask {
            used.saturating_sub(items.len() as u64)
        } else {
            0
        };
        Some(Members {
            items,
            torn: false,
            cut,
        })
    }

    /// The members of a `list` or `tuple`, the first `most`.
    pub fn sequence(&self, object: u64, most: usize) -> Option<Vec<u64>> {
        let kind = self.type_of(object)?;
        let (size, first) = (
            object.checked_add(VAR_SIZE)?,
            object.checked_add(VAR_ITEMS)?,
        );
        let count = usize::try_from(self.memory.u64(size)?).ok()?.min(most);
        if kind.is_a("tuple") {
            self.word_list(first, count)
        } else if kind.is_a("list") && count > 0 {
            self.word_list(self.memory.u64(first)?, count)
        } else {
            kind.is_a("list").then(Vec::new)
        }
    }

    /// What a weak reference refers to; `None` when that is gone.
    pub fn referent(&self, object: u64) -> Option<u64> {
        let (kind, head) = self.typed::<24>(object)?;
        // Up to 3.9, and from then on.
        if !["weakref", "weakref.ReferenceType"]
            .iter()
            .any(|name| kind.is_a(name))
        {
            return None;
        }
        let referent = word_at(&head, REFERENT);
        (self.type_of(referent)?.name != "NoneType").then_some(referent)
    }
}
