//! Types: a name, what they derive from, where their instances keep things.

use super::layout::{OBJECT_TYPE, type_object};
use super::{Objects, word_at};
use crate::memory::Memory;
use std::rc::Rc;

/// Types kept at the most; a program has some thousand, a look at tasks meets a few dozen.
const MAX_TYPES: usize = 4096;
/// Bases followed upwards.
const MAX_BASES: usize = 32;
/// Bytes of a name.
const MAX_NAME: usize = 256;

/// A type of the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// `tp_name`: with its module for types of C (`_asyncio.Task`), without for others.
    pub name: String,
    /// The types that it derives from by `tp_base`, nearest first: name, and bytes of an instance.
    bases: Vec<(String, u64)>,
    /// Bytes of an instance (`tp_basicsize`).
    pub(super) basic_size: u64,
    pub(super) flags: u64,
    pub(super) dict_offset: i64,
    /// Key table that its instances share, 0 = none.
    pub(super) cached_keys: u64,
    pub(super) dict: u64,
}

impl Type {
    /// Whether it has this name or derives from a type that has.
    pub fn is_a(&self, name: &str) -> bool {
        self.size_of(name).is_some()
    }

    /// Bytes of an instance of the type of this name, which it is or derives from.
    pub fn size_of(&self, name: &str) -> Option<u64> {
        let mut bases = self.bases.iter();
        if self.name == name {
            return Some(self.basic_size);
        }
        bases.find(|base| base.0 == name).map(|base| base.1)
    }

    /// Its name without the module.
    pub fn short_name(&self) -> &str {
        self.name
            .rsplit_once('.')
            .map_or(&self.name, |(_, name)| name)
    }
}

impl<M: Memory> Objects<'_, M> {
    /// The name of the type at an address, with its module where that is not `builtins`, and the bytes of
    /// an instance.
    pub fn full_name(&self, address: u64) -> Option<(String, u64)> {
        let kind = self.type_at(address)?;
        // Types of C have their module in their name.
        let named = kind.flags & type_object::HEAP == 0 || kind.name.contains('.');
        let module = (!named).then(|| self.dict_value(kind.dict, "__module__"));
        let module = module.flatten().and_then(|module| self.text(module));
        let name = match module {
            Some(module) if module != "builtins" => format!("{module}.{}", kind.name),
            _ => kind.name.clone(),
        };
        Some((name, kind.basic_size))
    }

    /// The type at an address. Types outlive what is looked at: each is read once.
    pub(super) fn type_at(&self, address: u64) -> Option<Rc<Type>> {
        if let Some(known) = self.types.borrow().get(&address) {
            return known.clone();
        }
        let read = self.read_type(address).map(Rc::new);
        let mut types = self.types.borrow_mut();
        if types.len() < MAX_TYPES {
            types.insert(address, read.clone());
        }
        read
    }

    fn read_type(&self, address: u64) -> Option<Type> {
        let bytes = self.type_bytes(address)?;
        let mut bases = Vec::new();
        let mut base = word_at(&bytes, type_object::BASE);
        while base != 0 && bases.len() < MAX_BASES {
            let bytes = self.type_bytes(base)?;
            let size = word_at(&bytes, type_object::BASIC_SIZE);
            bases.push((self.name_of(&bytes)?, size));
            base = word_at(&bytes, type_object::BASE);
        }
        let flags = word_at(&bytes, type_object::FLAGS);
        let cached_keys = if flags & type_object::HEAP != 0 {
            let at = address.checked_add(self.layout.cached_keys)?;
            self.memory.u64(at)?
        } else {
            0
        };
        Some(Type {
            name: self.name_of(&bytes)?,
            bases,
            flags,
            basic_size: word_at(&bytes, type_object::BASIC_SIZE),
            dict_offset: word_at(&bytes, type_object::DICT_OFFSET).cast_signed(),
            cached_keys,
            dict: word_at(&bytes, type_object::DICT),
        })
    }

    /// The bytes of what is a type: the type of its type says that its instances are types.
    fn type_bytes(&self, address: u64) -> Option<[u8; type_object::SIZE]> {
        if address == 0 || !address.is_multiple_of(8) {
            return None;
        }
        let bytes: [u8; type_object::SIZE] = self.memory.bytes(address)?;
        let metatype = word_at(&bytes, OBJECT_TYPE as usize);
        let at = metatype.checked_add(type_object::FLAGS as u64)?;
        (self.memory.u64(at)? & type_object::TYPE_SUBCLASS != 0).then_some(bytes)
    }

    fn name_of(&self, bytes: &[u8]) -> Option<String> {
        let name = self
            .memory
            .up_to(word_at(bytes, type_object::NAME), MAX_NAME);
        let end = name.iter().position(|byte| *byte == 0)?;
        let name = std::str::from_utf8(&name[..end]).ok()?;
        (!name.is_empty()).then(|| name.to_owned())
    }
}
