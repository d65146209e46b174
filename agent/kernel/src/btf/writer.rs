//! Writes BTF for tests: what no machine here has (another architecture, an older kernel, a
//! contradiction) is built by hand.

use super::raw::Kind;

/// A member to write: name, type id, bit offset, length of the bit field (0 for none).
pub(crate) type FieldSpec<'a> = (&'a str, u32, u32, u8);

/// BTF in the making. Each method that adds a type returns its id.
pub(crate) struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    last_id: u32,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
            last_id: 0,
        }
    }

    /// The finished blob.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let lengths = [self.types.len() as u32, self.strings.len() as u32];
        let mut out = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, lengths[0], lengths[0], lengths[1]] {
            out.extend(u32::to_le_bytes(word));
        }
        out.extend(&self.types);
        out.extend(&self.strings);
        out
    }

    /// Any record at all: `info` as it stands, then words.
    pub(super) fn record(&mut self, name: &str, info: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        let name = self.name(name);
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend(word.to_le_bytes());
        }
        self.last_id += 1;
        self.last_id
    }

    pub(crate) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.record(name, info(Kind::Int, false, 0), bytes, &[bytes * 8])
    }

    /// A type that refers to one other and has no more to say: pointer, typedef, qualifier.
    pub(super) fn refer(&mut self, kind: Kind, name: &str, to: u32) -> u32 {
        self.record(name, info(kind, false, 0), to, &[])
    }

    /// The id that the next record will have: to refer to what is yet to be written.
    pub(crate) fn next_id(&self) -> u32 {
        self.last_id + 1
    }

    /// A struct, written with bit-field sizes if any member has one.
    pub(crate) fn structure(&mut self, name: &str, bytes: u32, fields: &[FieldSpec<'_>]) -> u32 {
        self.aggregate(Kind::Struct, name, bytes, fields)
    }

    pub(super) fn aggregate(
        &mut self,
        kind: Kind,
        name: &str,
        bytes: u32,
        fields: &[FieldSpec<'_>],
    ) -> u32 {
        let flag = fields.iter().any(|(.., bits)| *bits != 0);
        let mut rest = Vec::new();
        for (name, type_id, bit_offset, bits) in fields {
            let place = bit_offset | u32::from(*bits) << 24;
            rest.extend([self.name(name), *type_id, place]);
        }
        self.record(name, info(kind, flag, fields.len()), bytes, &rest)
    }

    pub(crate) fn enumeration(&mut self, name: &str, values: &[(&str, i32)]) -> u32 {
        let mut rest = Vec::new();
        for (name, value) in values {
            rest.extend([self.name(name), value.cast_unsigned()]);
        }
        let signed = values.iter().any(|(_, value)| *value < 0);
        self.record(name, info(Kind::Enum, signed, values.len()), 4, &rest)
    }

    pub(crate) fn enumeration64(&mut self, name: &str, values: &[(&str, u64)]) -> u32 {
        let mut rest = Vec::new();
        for (name, value) in values {
            rest.extend([self.name(name), *value as u32, (value >> 32) as u32]);
        }
        self.record(name, info(Kind::Enum64, false, values.len()), 8, &rest)
    }

    /// A function of this name with so many parameters.
    pub(crate) fn function(&mut self, name: &str, parameters: usize) -> u32 {
        let prototype = self.prototype(parameters);
        self.refer(Kind::Func, name, prototype)
    }

    /// What the kernel emits for a tracepoint: typedef, pointer, prototype, `__data` first.
    pub(crate) fn tracepoint(&mut self, name: &str, args: usize) -> u32 {
        let prototype = self.prototype(args + 1);
        let pointer = self.refer(Kind::Ptr, "", prototype);
        self.refer(Kind::Typedef, &format!("btf_trace_{name}"), pointer)
    }

    fn prototype(&mut self, parameters: usize) -> u32 {
        self.record(
            "",
            info(Kind::FuncProto, false, parameters),
            0,
            &vec![0; 2 * parameters],
        )
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes());
        self.strings.push(0);
        at
    }
}

/// The second word of a type record.
pub(super) fn info(kind: Kind, flag: bool, count: usize) -> u32 {
    u32::from(flag) << 31 | (kind as u32) << 24 | count as u32
}
