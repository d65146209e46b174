//! The kernel's own description of its types, BTF, as far as remora needs it: where members are,
//! how many arguments a tracepoint passes, which functions and enumerators there are.
//!
//! Written by hand because no crate serves: `aya_obj::btf::Btf` does not publish members and their
//! offsets, and `btf-rs` is under the LGPL.
//!
//! A [`Btf`] borrows the blob (some 6 MB) and adds 4 bytes for each type and 8 for each that is
//! asked for by name; names are compared in place. What is read is not trusted: each reference is
//! checked when it is followed, chains of modifiers have a limit, and a search visits each struct
//! once, so that work is bounded by the size of the input whatever the input says.
//!
//! Format: `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h` of the kernel.

#[cfg(test)]
mod hostile;
mod raw;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) mod writer;

use raw::{Field, Kind, Sections, Type, u32_at};
use std::collections::HashSet;

/// Names from this length on are not indexed (the kernel's `KSYM_NAME_LEN`).
const NAME_BYTES: usize = 512;
/// Typedefs and qualifiers in a row: the kernel's own limit is 32 (`MAX_RESOLVE_DEPTH`).
const MODIFIERS: usize = 64;

/// Why BTF could not be read, or does not have what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    /// It does not start like BTF.
    #[error("not BTF: it starts with {magic:#06x}")]
    NotBtf {
        /// The two bytes that should have been `0xeb9f`.
        magic: u16,
    },
    /// BTF of a big-endian machine.
    #[error("BTF of a big-endian kernel, which is not supported")]
    BigEndian,
    /// A version of the format that nobody has defined yet.
    #[error("BTF version {version} is not known, only version 1")]
    Version {
        /// The version.
        version: u8,
    },
    /// It ends within this.
    #[error("BTF is cut short in its {what}")]
    Truncated {
        /// Which part.
        what: &'static str,
    },
    /// Names do not begin and end where they should.
    #[error("BTF names are not terminated")]
    Strings,
    /// A kind of type whose length is not known, so that nothing behind it can be read.
    #[error("BTF type {id} is of the unknown kind {kind}: this kernel is newer than remora")]
    UnknownKind {
        /// Its number.
        kind: u8,
        /// The type.
        id: u32,
    },
    /// A type's name lies outside the names.
    #[error("the name of BTF type {id} is out of range")]
    NameOutOfRange {
        /// The type.
        id: u32,
    },
    /// A reference to a type that is not there.
    #[error("BTF refers to type {id}, which does not exist")]
    NoType {
        /// The type referred to.
        id: u32,
    },
    /// Typedefs or qualifiers that lead nowhere.
    #[error("BTF type {id} refers to itself")]
    Cycle {
        /// Where the chain began.
        id: u32,
    },
    /// Offsets that add up to more than a struct can be long.
    #[error("the BTF offset of {member} is out of range")]
    OffsetOutOfRange {
        /// Name of the member.
        member: String,
    },
    /// The kernel has no struct or union of this name.
    #[error("this kernel has no struct {name}")]
    NoStruct {
        /// The name.
        name: String,
    },
    /// The struct has no such member.
    #[error("this kernel's struct {owner} has no member {path}")]
    NoMember {
        /// The struct.
        owner: String,
        /// The path that was looked for.
        path: String,
    },
    /// The path goes through a member that is not a struct or union itself (a pointer, for one).
    #[error("{path} of struct {owner} goes through a member that is not a struct")]
    NotAStruct {
        /// The struct.
        owner: String,
        /// The path that was looked for.
        path: String,
    },
}

/// Where a member is in its struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Byte that holds its first bit.
    pub byte_offset: u32,
    /// That bit in the byte, from the least significant one: 0 to 7, 0 for a plain member.
    pub bit_offset: u8,
    /// Length of a bit field in bits, 0 for a plain member.
    pub bits: u8,
}

/// BTF of a kernel, with its types and names indexed.
pub struct Btf<'a> {
    sections: Sections<'a>,
    /// Where type `id` begins: element `id - 1`.
    starts: Vec<u32>,
    /// Hash of the name and id of each type that [`is_indexed`] and has a name, sorted.
    names: Vec<(u32, u32)>,
}

impl<'a> Btf<'a> {
    /// Reads the blob once from end to end and indexes it.
    ///
    /// # Errors
    /// When the header, a type record or a name's position contradicts the length of the data, or
    /// a kind is not known. References between types are checked when they are followed.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        let mut btf = Self {
            sections: Sections::of(data)?,
            starts: Vec::new(),
            names: Vec::new(),
        };
        let mut at = 0;
        while at < btf.sections.types.len() {
            // Both fit: a section's length is a 32-bit number, and a type is longer than a byte.
            let id = btf.starts.len() as u32 + 1;
            btf.starts.push(at as u32);
            let (found, next) = Type::read(btf.sections.types, at, id)?;
            let name = btf
                .name(found.name)
                .ok_or(BtfError::NameOutOfRange { id })?;
            if is_indexed(found.kind) && !name.is_empty() && name.len() < NAME_BYTES {
                btf.names.push((hash(name), id));
            }
            at = next;
        }
        btf.names.sort_unstable();
        Ok(btf)
    }

    /// Where `path` is in struct (or union) `owner`: member names with dots between them, through
    /// nested structs; anonymous ones in between are not named. Pointers are not followed.
    ///
    /// # Errors
    /// When there is no such struct or member, or BTF contradicts itself on the way.
    pub fn member(&self, owner: &str, path: &str) -> Result<Member, BtfError> {
        let mut id = self.aggregate_id(owner)?;
        let (mut bit, mut bits) = (0_u32, 0);
        for name in path.split('.') {
            let (resolved, parent) = self.unmodified(id)?;
            if !parent.is_aggregate() {
                return Err(BtfError::NotAStruct {
                    owner: owner.into(),
                    path: path.into(),
                });
            }
            let field = self
                .field(resolved, name)?
                .ok_or_else(|| BtfError::NoMember {
                    owner: owner.into(),
                    path: path.into(),
                })?;
            bit = bit
                .checked_add(field.bit_offset)
                .ok_or_else(|| out_of_range(name))?;
            (id, bits) = (field.type_id, field.bits);
        }
        Ok(Member {
            byte_offset: bit / 8,
            bit_offset: (bit % 8) as u8,
            bits,
        })
    }

    /// Size of a struct or union in bytes.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn size_of(&self, name: &str) -> Result<u32, BtfError> {
        Ok(self.read(self.aggregate_id(name)?)?.size_or_type)
    }

    /// Arguments that tracepoint `name` passes to a program; `None` when there is no such
    /// tracepoint.
    ///
    /// Read from the typedef `btf_trace_NAME`, a pointer to the prototype of the probe, whose
    /// first parameter `void *__data` is not passed on (`include/trace/bpf_probe.h`).
    pub fn tracepoint_args(&self, name: &str) -> Option<usize> {
        let typedef = self.find(&format!("btf_trace_{name}"), |kind| kind == Kind::Typedef)?;
        let (_, pointer) = self.unmodified(typedef).ok()?;
        if pointer.kind != Kind::Ptr {
            return None;
        }
        let (_, prototype) = self.unmodified(pointer.size_or_type).ok()?;
        let parameters = prototype.elements.len() / 8;
        if prototype.kind == Kind::FuncProto {
            parameters.checked_sub(1)
        } else {
            None
        }
    }

    /// Whether BTF describes a function of exactly this name, as fentry programs need it.
    ///
    /// The symbol of such a function can still differ: see
    /// [`finish_task_switch_symbol`](super::finish_task_switch_symbol).
    pub fn has_function(&self, name: &str) -> bool {
        // Half of all types are functions, and one or two of them are asked for: no index.
        (1..=self.starts.len() as u32).any(|id| {
            self.read(id)
                .is_ok_and(|it| it.kind == Kind::Func && self.is_named(it.name, name))
        })
    }

    /// Value of an enumerator; `None` when there is no such enumeration or enumerator.
    ///
    /// An unsigned 64-bit value beyond `i64::MAX` comes back negative.
    pub fn enum_value(&self, enumeration: &str, enumerator: &str) -> Option<i64> {
        let id = self.find(enumeration, |kind| {
            matches!(kind, Kind::Enum | Kind::Enum64)
        })?;
        let found = self.read(id).ok()?;
        let bytes = if found.kind == Kind::Enum64 { 12 } else { 8 };
        let element = found
            .elements
            .chunks_exact(bytes)
            .find(|element| u32_at(element, 0).is_some_and(|at| self.is_named(at, enumerator)))?;
        let low = u32_at(element, 4)?;
        Some(match (u32_at(element, 8), found.flag) {
            (Some(high), _) => (i64::from(high) << 32) | i64::from(low),
            (None, true) => i64::from(low.cast_signed()),
            (None, false) => i64::from(low),
        })
    }

    /// Finds member `name` of struct `id`, in its anonymous structs and unions too.
    fn field(&self, id: u32, name: &str) -> Result<Option<Field>, BtfError> {
        let mut pending = vec![(id, 0_u32)];
        // A struct that did not have the member need not be asked twice.
        let mut seen = HashSet::new();
        while let Some((id, base)) = pending.pop() {
            let (resolved, found) = self.unmodified(id)?;
            if !found.is_aggregate() || !seen.insert(resolved) {
                continue;
            }
            for field in found.fields() {
                let anonymous = self.is_named(field.name, "");
                if !anonymous && !self.is_named(field.name, name) {
                    continue;
                }
                let bit_offset = base
                    .checked_add(field.bit_offset)
                    .ok_or_else(|| out_of_range(name))?;
                if !anonymous {
                    return Ok(Some(Field {
                        bit_offset,
                        ..field
                    }));
                }
                pending.push((field.type_id, bit_offset));
            }
        }
        Ok(None)
    }

    /// The type behind typedefs, qualifiers and type tags, and its id.
    fn unmodified(&self, id: u32) -> Result<(u32, Type<'a>), BtfError> {
        let mut at = id;
        for _ in 0..MODIFIERS {
            let found = self.read(at)?;
            match found.kind {
                Kind::Typedef | Kind::Volatile | Kind::Const | Kind::Restrict | Kind::TypeTag => {
                    at = found.size_or_type;
                }
                _ => return Ok((at, found)),
            }
        }
        Err(BtfError::Cycle { id })
    }

    fn aggregate_id(&self, name: &str) -> Result<u32, BtfError> {
        self.find(name, |kind| matches!(kind, Kind::Struct | Kind::Union))
            .ok_or_else(|| BtfError::NoStruct { name: name.into() })
    }

    /// The first type of this name whose kind will do.
    fn find(&self, name: &str, will_do: impl Fn(Kind) -> bool) -> Option<u32> {
        let key = hash(name.as_bytes());
        let from = self.names.partition_point(|(hash, _)| *hash < key);
        self.names[from..]
            .iter()
            .take_while(|(hash, _)| *hash == key)
            .map(|(_, id)| *id)
            .find(|id| {
                self.read(*id)
                    .is_ok_and(|it| will_do(it.kind) && self.is_named(it.name, name))
            })
    }

    fn read(&self, id: u32) -> Result<Type<'a>, BtfError> {
        let missing = BtfError::NoType { id };
        let index = (id as usize).checked_sub(1).ok_or(missing.clone())?;
        let start = self.starts.get(index).ok_or(missing)?;
        Ok(Type::read(self.sections.types, *start as usize, id)?.0)
    }

    /// The name that begins at `at`, or its first [`NAME_BYTES`] bytes.
    fn name(&self, at: u32) -> Option<&'a [u8]> {
        let rest = self
            .sections
            .strings
            .get(at as usize..)
            .filter(|rest| !rest.is_empty())?;
        let window = &rest[..rest.len().min(NAME_BYTES)];
        let end = window
            .iter()
            .position(|byte| *byte == 0)
            .unwrap_or(window.len());
        Some(&window[..end])
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let rest = self.sections.strings.get(at as usize..);
        rest.and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|rest| rest.first() == Some(&0))
    }
}

fn out_of_range(member: &str) -> BtfError {
    BtfError::OffsetOutOfRange {
        member: member.into(),
    }
}

/// Kinds that are asked for by name again and again.
fn is_indexed(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Typedef
    )
}

/// FNV-1a, 32 bits.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}
