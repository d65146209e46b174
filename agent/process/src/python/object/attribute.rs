//! Attributes of instances: from their dict, their shared keys, or their slots.

use super::layout::{Attributes, type_object};
use super::{Objects, Type};
use crate::memory::Memory;

/// Three and four words before an object (`MANAGED_DICT_OFFSET`, 3.11's `_PyObject_ValuesPointer`).
const DICT_BEFORE: u64 = 24;
const VALUES_BEFORE: u64 = 32;
/// `PyMemberDescrObject.d_member`, `PyMemberDef.offset`.
const DESCRIPTOR_MEMBER: u64 = 40;
const MEMBER_OFFSET: u64 = 16;
/// `PyDictValues.valid` (3.13): the values still are those of the object.
const VALUES_VALID: u64 = 3;
/// Slots whose places are remembered.
const MAX_SLOTS: usize = 1024;
/// Size of an object that a slot can lie in.
const MAX_INSTANCE: u64 = 1 << 16;

/// Where an instance's attributes are.
enum Place {
    /// In a dict.
    Dict(u64),
    /// In values, in the order of the type's shared keys.
    Values(u64),
}

impl<M: Memory> Objects<'_, M> {
    /// The attribute of an instance in its `__dict__`, made or not.
    pub fn attribute(&self, object: u64, name: &str) -> Option<u64> {
        let kind = self.type_of(object)?;
        match self.place(object, &kind)? {
            Place::Dict(dict) => self.dict_value(dict, name),
            Place::Values(values) => {
                let pairs = self.pairs(kind.cached_keys, values)?;
                let found = pairs.into_iter().find(|(key, _)| self.text_is(*key, name));
                found.map(|(_, value)| value)
            }
        }
    }

    /// The values of all attributes in an instance's `__dict__`, made or not.
    pub fn attributes(&self, object: u64) -> Option<Vec<u64>> {
        let kind = self.type_of(object)?;
        let pairs = match self.place(object, &kind)? {
            Place::Dict(dict) => self.dict(dict)?,
            Place::Values(values) => self.pairs(kind.cached_keys, values)?,
        };
        Some(pairs.into_iter().map(|(_, value)| value).collect())
    }

    /// The attribute of an object by whatever way Python finds it without a call: of the instance, in a slot, of
    /// its type, or where it is a type itself, of that.
    pub fn named(&self, object: u64, name: &str) -> Option<u64> {
        if let Some(found) = self.attribute(object, name) {
            return Some(found);
        }
        let address = self.type_address(object)?;
        let kind = self.type_at(address)?;
        if kind.is_a("type") {
            return self.dict_value(self.type_at(object)?.dict, name);
        }
        match self.slot_offset(address, name) {
            Some(offset) => self.memory.u64(object.checked_add(offset)?),
            None => self.dict_value(kind.dict, name),
        }
    }

    fn place(&self, object: u64, kind: &Type) -> Option<Place> {
        let managed = kind.flags & type_object::MANAGED_DICT != 0;
        if !managed || self.layout.attributes == Attributes::Dict {
            let offset = u64::try_from(kind.dict_offset).ok().filter(|at| *at > 0)?;
            return self.dict_at(object.checked_add(offset)?);
        }
        let before = object.checked_sub(DICT_BEFORE)?;
        match self.layout.attributes {
            Attributes::Dict => None,
            Attributes::ValuesBefore => {
                match self.memory.u64(object.checked_sub(VALUES_BEFORE)?)? {
                    0 => self.dict_at(before),
                    values => Some(Place::Values(values)),
                }
            }
            Attributes::Tagged => match self.memory.u64(before)? {
                // Values are stored as their address less one.
                odd if odd % 2 == 1 => Some(Place::Values(odd.checked_add(1)?)),
                dict => (dict != 0).then_some(Place::Dict(dict)),
            },
            Attributes::ValuesBehind => self.dict_at(before).or_else(|| {
                let values = object.checked_add(kind.basic_size)?;
                let valid: [u8; 1] = self.memory.bytes(values.checked_add(VALUES_VALID)?)?;
                let inline = kind.flags & type_object::INLINE_VALUES != 0 && valid == [1];
                inline.then_some(Place::Values(values))
            }),
        }
    }

    fn dict_at(&self, address: u64) -> Option<Place> {
        let dict = self.memory.u64(address)?;
        (dict != 0).then_some(Place::Dict(dict))
    }

    /// The attribute of an instance that its own type, not a base, keeps in a slot (`__slots__`).
    pub fn slot(&self, object: u64, name: &'static str) -> Option<u64> {
        let kind = self.type_address(object)?;
        let known = self.slots.borrow().get(&(kind, name)).copied();
        let offset = known.unwrap_or_else(|| {
            let offset = self.slot_offset(kind, name);
            let mut slots = self.slots.borrow_mut();
            if slots.len() < MAX_SLOTS {
                slots.insert((kind, name), offset);
            }
            offset
        })?;
        self.memory.u64(object.checked_add(offset)?)
    }

    fn slot_offset(&self, kind: u64, name: &str) -> Option<u64> {
        let descriptor = self.dict_value(self.type_at(kind)?.dict, name)?;
        if self.type_of(descriptor)?.name != "member_descriptor" {
            return None;
        }
        let member = descriptor.checked_add(DESCRIPTOR_MEMBER)?;
        let member = self.memory.u64(member)?;
        let offset = self.memory.u64(member.checked_add(MEMBER_OFFSET)?)?;
        (offset < MAX_INSTANCE).then_some(offset)
    }
}
