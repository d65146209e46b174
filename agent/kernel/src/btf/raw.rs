//! The bytes of BTF: header, kinds, and how long each record is.
//!
//! Layouts are those of `include/uapi/linux/btf.h`. Fields are read one by one from wherever they
//! stand, so nothing here depends on alignment, and every read can say that there is nothing.

use super::BtfError;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// `BTF_VERSION`.
const VERSION: u8 = 1;
/// Bytes of the oldest `struct btf_header`; newer ones only append.
const HEADER_BYTES: usize = 24;
/// Bytes of `struct btf_type`, before what its kind appends.
const TYPE_BYTES: usize = 12;

/// The two sections of a BTF blob that matter here.
pub(super) struct Sections<'a> {
    /// Type records, one after another; the first has id 1.
    pub types: &'a [u8],
    /// NUL-terminated names; starts and ends with a NUL.
    pub strings: &'a [u8],
}

impl<'a> Sections<'a> {
    /// Reads the header and cuts out the sections.
    pub(super) fn of(data: &'a [u8]) -> Result<Self, BtfError> {
        let short = BtfError::Truncated { what: "header" };
        let header = data.get(..HEADER_BYTES).ok_or(short.clone())?;
        match u16::from_le_bytes([header[0], header[1]]) {
            MAGIC => {}
            other if other == MAGIC.swap_bytes() => return Err(BtfError::BigEndian),
            other => return Err(BtfError::NotBtf { magic: other }),
        }
        if header[2] != VERSION {
            return Err(BtfError::Version { version: header[2] });
        }
        let word = |at: usize| u32_at(header, at).map(|value| value as usize);
        let (Some(length), Some(types), Some(types_len), Some(strings), Some(strings_len)) =
            (word(4), word(8), word(12), word(16), word(20))
        else {
            return Err(short);
        };
        if length < HEADER_BYTES {
            return Err(short);
        }
        let body = data.get(length..).ok_or(short)?;
        let strings = section(body, strings, strings_len, "string section")?;
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(BtfError::Strings);
        }
        Ok(Self {
            types: section(body, types, types_len, "type section")?,
            strings,
        })
    }
}

fn section<'a>(
    body: &'a [u8],
    start: usize,
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], BtfError> {
    body.get(start..)
        .and_then(|rest| rest.get(..len))
        .ok_or(BtfError::Truncated { what })
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal;)*) => {
        /// `BTF_KIND_*`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Kind {
            $($(#[$doc])* $name = $number,)*
        }

        impl Kind {
            fn of(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    Int = 1;
    Ptr = 2;
    Array = 3;
    Struct = 4;
    Union = 5;
    Enum = 6;
    Fwd = 7;
    Typedef = 8;
    Volatile = 9;
    Const = 10;
    Restrict = 11;
    Func = 12;
    FuncProto = 13;
    Var = 14;
    Datasec = 15;
    Float = 16;
    DeclTag = 17;
    TypeTag = 18;
    Enum64 = 19;
}

impl Kind {
    /// Bytes after `struct btf_type`: once, and for each of its `vlen` elements.
    const fn tail(self) -> (usize, usize) {
        match self {
            Self::Int | Self::Var | Self::DeclTag => (4, 0),
            Self::Array => (12, 0),
            Self::Struct | Self::Union | Self::Datasec | Self::Enum64 => (0, 12),
            Self::Enum | Self::FuncProto => (0, 8),
            Self::Ptr
            | Self::Fwd
            | Self::Typedef
            | Self::Volatile
            | Self::Const
            | Self::Restrict
            | Self::Func
            | Self::Float
            | Self::TypeTag => (0, 0),
        }
    }
}

/// One type record: `struct btf_type` and where its elements are.
#[derive(Clone, Copy)]
pub(super) struct Type<'a> {
    pub kind: Kind,
    /// `kind_flag`: members carry bit-field sizes; an enumeration is signed.
    pub flag: bool,
    /// Offset of the name in the string section; the name there may be empty.
    pub name: u32,
    /// Size in bytes, or the id of the type that this one refers to.
    pub size_or_type: u32,
    /// Members, parameters or enumerators, and nothing else.
    pub elements: &'a [u8],
}

impl<'a> Type<'a> {
    /// Reads the record at byte `at` and says where the next one begins. `id` is for the error.
    pub(super) fn read(types: &'a [u8], at: usize, id: u32) -> Result<(Self, usize), BtfError> {
        let truncated = BtfError::Truncated { what: "type" };
        let record = types.get(at..).ok_or(truncated.clone())?;
        let (Some(name), Some(info), Some(size_or_type)) =
            (u32_at(record, 0), u32_at(record, 4), u32_at(record, 8))
        else {
            return Err(truncated);
        };
        // The newest kernels give the count 24 bits and the kind 7; in older ones, which had 16
        // and 5, the bits in between are zero.
        let count = (info & 0x00ff_ffff) as usize;
        let number = (info >> 24) as u8 & 0x7f;
        let kind = Kind::of(number).ok_or(BtfError::UnknownKind { kind: number, id })?;
        let (once, each) = kind.tail();
        let end = TYPE_BYTES + once + each * count;
        let elements = record.get(TYPE_BYTES + once..end).ok_or(truncated)?;
        Ok((
            Self {
                kind,
                flag: info >> 31 == 1,
                name,
                size_or_type,
                elements,
            },
            at + end,
        ))
    }

    /// Whether this is a struct or a union.
    pub(super) fn is_aggregate(&self) -> bool {
        matches!(self.kind, Kind::Struct | Kind::Union)
    }

    /// The members of a struct or union, in their order.
    pub(super) fn fields(&self) -> impl Iterator<Item = Field> + use<'a> {
        let flag = self.flag;
        self.elements.chunks_exact(12).filter_map(move |member| {
            let (name, kind, place) = (u32_at(member, 0)?, u32_at(member, 4)?, u32_at(member, 8)?);
            let (bit_offset, bits) = if flag {
                (place & 0x00ff_ffff, (place >> 24) as u8)
            } else {
                (place, 0)
            };
            Some(Field {
                name,
                type_id: kind,
                bit_offset,
                bits,
            })
        })
    }
}

/// One member of a struct or union (`struct btf_member`).
pub(super) struct Field {
    /// Offset of the name in the string section.
    pub name: u32,
    pub type_id: u32,
    /// From the start of the struct.
    pub bit_offset: u32,
    /// Length of a bit field, 0 for a plain member.
    pub bits: u8,
}

/// The little-endian word at byte `at`.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*word))
}
