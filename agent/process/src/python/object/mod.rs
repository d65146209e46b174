//! Objects of a CPython interpreter, read from outside while it runs.
//!
//! Nothing here trusts what it reads: an object may be freed and its memory used for another while
//! it is looked at. So each address is first asked whether a living object of a known kind stands
//! there (a plausible reference count, a type whose own type is a type), every length is bounded,
//! and every read goes through an allowance ([`Metered`]). What cannot be read is `None`. Whether
//! several reads belong together is for the caller to check: read twice, compare.

mod attribute;
mod collection;
mod dict;
pub mod layout;
mod number;
#[cfg(test)]
mod tests;
mod text;
mod types;

pub use crate::metered::Metered;
pub use layout::{OBJECT_TYPE, ObjectLayout};
pub use types::Type;

use super::layout::{Layout, Unicode};
use crate::memory::Memory;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Beyond this a reference count is none: freed blocks hold a pointer there, or zero. Immortal
/// objects have up to 2^32 - 1 (`_Py_IMMORTAL_REFCNT`).
const MAX_REFERENCES: u64 = 1 << 33;

/// A reader of objects.
#[derive(Debug)]
pub struct Objects<'m, M> {
    memory: Metered<'m, M>,
    unicode: Unicode,
    layout: ObjectLayout,
    types: RefCell<HashMap<u64, Option<Rc<Type>>>>,
    slots: RefCell<HashMap<(u64, &'static str), Option<u64>>>,
}

impl<'m, M: Memory> Objects<'m, M> {
    /// Reads objects of CPython 3.`minor`, `allowance` bytes at the most; `None` when it is not known
    /// how they are laid out there.
    pub fn new(memory: &'m M, layout: &Layout, minor: u8, allowance: u64) -> Option<Self> {
        if layout.free_threaded {
            return None;
        }
        Some(Self {
            memory: Metered::new(memory, allowance),
            unicode: layout.unicode,
            layout: ObjectLayout::of(minor)?,
            types: RefCell::default(),
            slots: RefCell::default(),
        })
    }

    /// The memory, within the allowance.
    pub fn memory(&self) -> &Metered<'m, M> {
        &self.memory
    }

    /// The type of the living object at an address; `None` when there is none.
    pub fn type_of(&self, object: u64) -> Option<Rc<Type>> {
        self.type_at(self.type_address(object)?)
    }

    /// Address of the type of what looks like a living object.
    pub fn type_address(&self, object: u64) -> Option<u64> {
        self.head::<16>(object).map(|head| word_at(&head, 8))
    }

    /// The type of the living object at an address, and `N` bytes from there on, read at once: in
    /// place of a read for each member. Those behind the end of readable memory are 0.
    pub fn typed<const N: usize>(&self, object: u64) -> Option<(Rc<Type>, [u8; N])> {
        let head = self.head(object)?;
        let kind = self.type_at(word_at(&head, OBJECT_TYPE as usize))?;
        Some((kind, head))
    }

    fn head<const N: usize>(&self, object: u64) -> Option<[u8; N]> {
        if object == 0 || !object.is_multiple_of(8) {
            return None;
        }
        let mut head = [0; N];
        if self.memory.read(object, &mut head).is_none() {
            let readable = self.memory.up_to(object, N);
            head.get_mut(..readable.len())?.copy_from_slice(&readable);
        }
        let references = word_at(&head, 0);
        (1..MAX_REFERENCES).contains(&references).then_some(head)
    }

    /// `N` words of 8 bytes, read at once.
    pub fn words<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        self.memory
            .read(address, bytemuck::cast_slice_mut(&mut words))?;
        Some(words)
    }

    /// `count` words of 8 bytes.
    fn word_list(&self, address: u64, count: usize) -> Option<Vec<u64>> {
        let mut words = vec![0_u64; count];
        self.memory
            .read(address, bytemuck::cast_slice_mut(&mut words))?;
        Some(words)
    }
}

/// The pointer at an offset of bytes that were read; 0 beyond their end.
pub fn word_at(bytes: &[u8], offset: usize) -> u64 {
    bytes
        .get(offset..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |word| u64::from_ne_bytes(*word))
}
