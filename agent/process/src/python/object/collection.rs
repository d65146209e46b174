//! `set`, `list`, `tuple`, `deque`, weak references; elements by key.

use super::layout::{VAR_ITEMS, VAR_SIZE};
use super::{Objects, word_at};
use crate::memory::Memory;

/// Slots of a set's table that are read at the most.
const MAX_SLOTS: u64 = 1 << 18;
/// Elements of a sequence that are looked at for one.
const MAX_ITEMS: usize = 1 << 14;
/// Attempts to read a set that is rebuilt meanwhile.
const ATTEMPTS: usize = 4;
/// `PySetObject.used`, `.mask`, `.table`: three words.
const SET_USED: u64 = 24;
/// Words of a `setentry`: key, hash.
const SLOT_WORDS: usize = 2;
/// The hash of a deleted slot.
const DELETED: u64 = u64::MAX;
/// `dequeobject`: `leftblock` and `leftindex`, behind its size; items in a block, and where they and the next block
/// stand in it.
const DEQUE_LEFT_BLOCK: u64 = 24;
const DEQUE_LEFT_INDEX: u64 = 40;
const BLOCK_ITEMS: u64 = 64;
const BLOCK_FIRST: u64 = 8;
const BLOCK_NEXT: u64 = 8 + 8 * BLOCK_ITEMS;
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

    /// The members of a `collections.deque`, the first `most`.
    pub fn deque(&self, object: u64, most: usize) -> Option<Vec<u64>> {
        if !self.type_of(object)?.is_a("collections.deque") {
            return None;
        }
        let count = self.memory.u64(object.checked_add(VAR_SIZE)?)?;
        let mut block = self.memory.u64(object.checked_add(DEQUE_LEFT_BLOCK)?)?;
        let mut index = self.memory.u64(object.checked_add(DEQUE_LEFT_INDEX)?)?;
        let mut items = Vec::new();
        for _ in 0..count.min(most as u64) {
            if index >= BLOCK_ITEMS {
                block = self.memory.u64(block.checked_add(BLOCK_NEXT)?)?;
                index = 0;
            }
            let place = block.checked_add(BLOCK_FIRST + 8 * index)?;
            items.push(self.memory.u64(place)?);
            index += 1;
        }
        Some(items)
    }

    /// The element of a `list`, `tuple` or `dict` at a key that is a number or a string, or the very key.
    pub fn element(&self, object: u64, key: u64) -> Option<u64> {
        if self.type_of(object)?.is_a("dict") {
            let pairs = self.dict(object)?;
            let text = self.text(key);
            let number = self.unsigned(key);
            let mut pairs = pairs.into_iter();
            let is_key = |other: u64| {
                let same_text = || text.as_ref().is_some_and(|text| self.text_is(other, text));
                let same_number = || number.is_some() && self.unsigned(other) == number;
                other == key || same_text() || same_number()
            };
            return pairs
                .find(|(other, _)| is_key(*other))
                .map(|(_, value)| value);
        }
        let index = usize::try_from(self.unsigned(key)?).ok()?;
        let items = self.sequence(object, index.checked_add(1)?.min(MAX_ITEMS))?;
        items.get(index).copied()
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
