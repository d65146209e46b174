//! The fields of a class: which name, of which type, at which offset of its objects.
//!
//! Up to JDK 20 a field is six numbers of 16 bits (`oops/fieldInfo.hpp`). From 21 on all of them are a stream of packed
//! numbers (`UNSIGNED5`, `utilities/unsigned5.hpp`; `FieldInfoStream`, `oops/fieldInfo.hpp`). Names are numbers of
//! symbols in the class's constants.

use super::Tables;

/// Fields of a class that are looked at: a class file has 65,535 at the most, those of the library a few dozen.
pub(super) const MAX_FIELDS: usize = 1024;

/// Numbers that make a field.
pub(super) const SLOTS: usize = 6;
/// The two lowest bits of an offset say what it is.
const TAG_BITS: u32 = 2;
/// It is an offset.
const TAG_OFFSET: u32 = 1;

/// A field, its name and type as numbers of constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: u32,
    pub(super) kind: u32,
    pub(super) offset: u32,
}

/// Whether the tables describe six numbers in the order that [`words`] takes them to have.
pub(super) fn words_are_known(tables: &Tables) -> bool {
    let expected = [
        ("FieldInfo::name_index_offset", 1),
        ("FieldInfo::signature_index_offset", 2),
        ("FieldInfo::low_packed_offset", 4),
        ("FieldInfo::high_packed_offset", 5),
        ("FieldInfo::field_slots", SLOTS as u64),
        ("FIELDINFO_TAG_SIZE", TAG_BITS.into()),
        ("FIELDINFO_TAG_OFFSET", TAG_OFFSET.into()),
    ];
    let mut expected = expected.into_iter();
    expected.all(|(name, value)| tables.constant(name) == Some(value))
}

/// Fields in the form of numbers.
pub(super) fn words(words: &[u16]) -> Vec<Field> {
    let all = words.chunks_exact(SLOTS).take(MAX_FIELDS);
    let all = all.filter_map(|field| match field {
        [_, name, kind, _, low, high] => {
            let packed = u32::from(*high) << 16 | u32::from(*low);
            let is_offset = packed & ((1 << TAG_BITS) - 1) == TAG_OFFSET;
            is_offset.then_some(Field {
                name: (*name).into(),
                kind: (*kind).into(),
                offset: packed >> TAG_BITS,
            })
        }
        _ => None,
    });
    all.collect()
}

/// Flags of a field in a stream: which numbers follow.
const INITIALIZED: u32 = 1;
/// It is the machine's own, and its name no constant.
const INJECTED: u32 = 1 << 1;
/// See [`INITIALIZED`].
const GENERIC: u32 = 1 << 2;
/// See [`INITIALIZED`].
const CONTENDED: u32 = 1 << 4;

/// Fields in the form of a stream; those in front of the first place that makes no sense.
pub(super) fn stream(bytes: &[u8]) -> Vec<Field> {
    let mut numbers = Numbers(bytes);
    let mut fields = Vec::new();
    let Some(count) = numbers.next() else {
        return fields;
    };
    // How many are the machine's own; they come last.
    if numbers.next().is_none() {
        return fields;
    }
    for _ in 0..usize::try_from(count).unwrap_or(MAX_FIELDS).min(MAX_FIELDS) {
        match field(&mut numbers) {
            Some((field, flags)) if flags & INJECTED == 0 => fields.push(field),
            Some(_) => {}
            None => break,
        }
    }
    fields
}

/// A field and its flags.
fn field(numbers: &mut Numbers<'_>) -> Option<(Field, u32)> {
    let field = Field {
        name: numbers.next()?,
        kind: numbers.next()?,
        offset: numbers.next()?,
    };
    let _access = numbers.next()?;
    let flags = numbers.next()?;
    for follows in [INITIALIZED, GENERIC, CONTENDED] {
        if flags & follows != 0 {
            numbers.next()?;
        }
    }
    Some((field, flags))
}

/// Numbers of 32 bits in one to five bytes. The byte 0 is none; a byte of 192 or more is not the last.
struct Numbers<'a>(&'a [u8]);

/// Bits that a byte adds.
const BITS: u32 = 6;
/// Values of a byte, less the 0, that end a number.
const LOW: u32 = 191;
/// Bytes of a number.
const LONGEST: u32 = 5;

impl Iterator for Numbers<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let mut sum = 0_u32;
        for at in 0..LONGEST {
            let (byte, rest) = self.0.split_first()?;
            let value = u32::from(byte.checked_sub(1)?);
            self.0 = rest;
            sum = sum.wrapping_add(value << (at * BITS));
            if value < LOW {
                return Some(sum);
            }
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A number as `UNSIGNED5::write_uint` writes it.
    fn packed(number: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut left = number;
        for at in 0..LONGEST {
            if left < LOW || at == LONGEST - 1 {
                bytes.push(u8::try_from(left + 1).expect("low"));
                return bytes;
            }
            left -= LOW;
            bytes.push(u8::try_from(1 + LOW + left % 64).expect("high"));
            left >>= BITS;
        }
        bytes
    }

    fn stream_of(fields: &[(Field, u32)]) -> Vec<u8> {
        let mut bytes = packed(u32::try_from(fields.len()).expect("few"));
        bytes.extend(packed(0));
        for (field, flags) in fields {
            for number in [field.name, field.kind, field.offset, 0x19, *flags] {
                bytes.extend(packed(number));
            }
            for follows in [INITIALIZED, GENERIC, CONTENDED] {
                if flags & follows != 0 {
                    bytes.extend(packed(77));
                }
            }
        }
        bytes.push(0);
        bytes
    }

    #[test]
    fn numbers_of_the_jdk_s_own_comment() {
        // `utilities/unsigned5.hpp`: examples of encodings.
        for (number, bytes) in [
            (0, &[1][..]),
            (190, &[191]),
            (191, &[192, 1]),
            (192, &[193, 1]),
            (12414, &[255, 191]),
        ] {
            assert_eq!(Numbers(bytes).next(), Some(number), "{bytes:?}");
            assert_eq!(packed(number), bytes, "{number}");
        }
        assert_eq!(Numbers(&[0]).next(), None);
        assert_eq!(Numbers(&[255]).next(), None);
    }

    #[test]
    fn six_numbers_are_a_field_if_it_has_an_offset() {
        let numbers = [
            0x19,
            7,
            8,
            0,
            12 << 2 | 1,
            0, // at 12
            0x19,
            9,
            10,
            0,
            0b10,
            0, // no offset
            0x19,
            3,
            4,
            0,
            1,
            1, // at 16384
            1,
            2,
        ];
        let fields = words(&numbers);
        let seen: Vec<_> = fields.iter().map(|it| (it.name, it.offset)).collect();
        assert_eq!(seen, [(7, 12), (3, 1 << 14)]);
    }

    fn any_field() -> impl Strategy<Value = (Field, u32)> {
        let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), 0_u32..32);
        numbers.prop_map(|(name, kind, offset, flags)| {
            let field = Field { name, kind, offset };
            (field, flags & !INJECTED)
        })
    }

    proptest! {
        #[test]
        fn a_number_comes_back(number: u32) {
            prop_assert_eq!(Numbers(&packed(number)).next(), Some(number));
        }

        #[test]
        fn a_stream_comes_back(fields in proptest::collection::vec(any_field(), 0..40)) {
            let expected: Vec<Field> = fields.iter().map(|it| it.0).collect();
            prop_assert_eq!(stream(&stream_of(&fields)), expected);
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(stream(&bytes).len() <= bytes.len());
            let numbers: Vec<u16> = bytes.iter().map(|it| u16::from(*it) << 3).collect();
            prop_assert!(words(&numbers).len() <= bytes.len() / SLOTS);
        }
    }
}
