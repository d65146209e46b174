//! Small ELF files, made by hand: what no compiler here writes, and what none should.

/// Where the code of an image is loaded.
pub(crate) const BASE: u64 = 0x40_1000;
/// Where it lies in the file; what comes before is loaded at the same addresses as offsets.
const CODE: usize = 0x1000;
/// Where `.eh_frame_hdr` lies, and `.eh_frame` behind it.
const HEADER: usize = 0x200;

const X86_64: u16 = 62;
const ARM64: u16 = 183;

/// `DW_CFA_def_cfa rsp, 8; DW_CFA_offset rip, 1`: how functions of x86-64 begin.
pub(crate) const CALLED: &[u8] = &[0x0c, 7, 8, 0x90, 1];

/// An image in the making.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    machine: u16,
    code: Vec<u8>,
    eh_frame: Vec<u8>,
    common: usize,
    sections: Vec<(&'static str, u64, u64, Vec<u8>)>,
}

impl Builder {
    pub(crate) fn x86_64() -> Self {
        Self::new(X86_64)
    }

    pub(crate) fn arm64() -> Self {
        Self::new(ARM64)
    }

    fn new(machine: u16) -> Self {
        Self {
            machine,
            code: vec![0xcc; 0x1000],
            eh_frame: Vec::new(),
            common: 0,
            sections: Vec::new(),
        }
    }

    /// Writes instructions at an offset of the code.
    pub(crate) fn code(mut self, at: usize, bytes: &[u8]) -> Self {
        self.code[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// A common entry that the functions after it have. Factors 1 and -8.
    pub(crate) fn common(mut self, augmentation: &str, initial: &[u8]) -> Self {
        self.common = self.eh_frame.len();
        let ra = if self.machine == ARM64 { 30 } else { 16 };
        let mut body = vec![0, 0, 0, 0, 1];
        body.extend(augmentation.bytes().chain([0, 1, 0x78, ra]));
        // The length of the augmentation, and `DW_EH_PE_pcrel | DW_EH_PE_sdata4`.
        body.extend([1, 0x1b]);
        body.extend(initial);
        self.entry(&body);
        self
    }

    /// A function at an offset of the code.
    pub(crate) fn function(mut self, at: u32, len: u32, instructions: &[u8]) -> Self {
        let here = HEADER + 8 + self.eh_frame.len();
        let common = (self.eh_frame.len() + 4 - self.common) as u32;
        let start = (BASE as i64 + i64::from(at) - (here as i64 + 8)) as i32;
        let mut body = common.to_le_bytes().to_vec();
        body.extend(start.to_le_bytes());
        body.extend(len.to_le_bytes());
        body.push(0);
        body.extend(instructions);
        self.entry(&body);
        self
    }

    /// Four bytes of zero, which end the section.
    pub(crate) fn terminator(mut self) -> Self {
        self.eh_frame.extend([0; 4]);
        self
    }

    fn entry(&mut self, body: &[u8]) {
        let len = body.len().next_multiple_of(4);
        self.eh_frame.extend((len as u32).to_le_bytes());
        self.eh_frame.extend(body);
        self.eh_frame
            .resize(self.eh_frame.len() + len - body.len(), 0);
    }

    /// A section with a header, with its flags and address.
    pub(crate) fn section(
        mut self,
        name: &'static str,
        flags: u64,
        address: u64,
        bytes: Vec<u8>,
    ) -> Self {
        self.sections.push((name, flags, address, bytes));
        self
    }

    /// The file.
    pub(crate) fn build(self) -> Vec<u8> {
        let mut file = vec![0; HEADER];
        // Version 1, a relative pointer to what follows, no search table.
        file.extend([1, 0x1b, 0xff, 0xff, 4, 0, 0, 0]);
        file.extend(&self.eh_frame);
        assert!(file.len() <= CODE, "the code begins there");
        file.resize(CODE, 0);
        file.extend(&self.code);
        let segments = [
            (1, 4, 0, 0, CODE),
            (1, 5, CODE, BASE, self.code.len()),
            (0x6474_e550, 4, HEADER, HEADER as u64, 8),
        ];
        let (table, count) = sections(&mut file, &self.sections);
        let header = header(self.machine, segments.len() as u16, table, count);
        file[..64].copy_from_slice(&header);
        for (place, (kind, flags, offset, address, size)) in segments.into_iter().enumerate() {
            let mut program = Vec::new();
            program.extend(u32::to_le_bytes(kind));
            program.extend(u32::to_le_bytes(flags));
            for word in [
                offset as u64,
                address,
                address,
                size as u64,
                size as u64,
                0x1000,
            ] {
                program.extend(word.to_le_bytes());
            }
            file[64 + place * 56..][..56].copy_from_slice(&program);
        }
        file
    }
}

/// Appends sections, their names and headers; returns where the headers are and how many.
fn sections(file: &mut Vec<u8>, sections: &[(&str, u64, u64, Vec<u8>)]) -> (u64, u16) {
    if sections.is_empty() {
        return (0, 0);
    }
    let mut names = vec![0];
    let mut headers = vec![0; 64];
    let mut header = |name: usize, kind: u32, flags: u64, address: u64, at: usize, size: usize| {
        headers.extend((name as u32).to_le_bytes());
        headers.extend(kind.to_le_bytes());
        for word in [flags, address, at as u64, size as u64, 0, 1, 0] {
            headers.extend(u64::to_le_bytes(word));
        }
        headers.resize(headers.len().next_multiple_of(64), 0);
    };
    for (name, flags, address, bytes) in sections {
        header(names.len(), 1, *flags, *address, file.len(), bytes.len());
        names.extend(name.bytes().chain([0]));
        file.extend(bytes);
    }
    header(0, 3, 0, 0, file.len(), names.len());
    file.extend(names);
    let table = file.len() as u64;
    file.extend(headers);
    (table, sections.len() as u16 + 2)
}

/// The file header: 64 bits, little-endian, a shared object.
fn header(machine: u16, segments: u16, section_table: u64, sections: u16) -> [u8; 64] {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(16, 0);
    header.extend(3_u16.to_le_bytes());
    header.extend(machine.to_le_bytes());
    header.extend(1_u32.to_le_bytes());
    for word in [BASE, 64, section_table] {
        header.extend(word.to_le_bytes());
    }
    header.extend(0_u32.to_le_bytes());
    for half in [64, 56, segments, 64, sections, sections.saturating_sub(1)] {
        header.extend(u16::to_le_bytes(half));
    }
    header.try_into().unwrap()
}

/// A `.debug_frame` with one common entry and functions at offsets of the code, each with
/// instructions that follow [`CALLED`].
pub(crate) fn debug_frame(functions: &[(u64, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut entry = |body: &[u8]| {
        let len = body.len().next_multiple_of(8) as u32 + 4;
        bytes.extend(len.to_le_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len() + len as usize - body.len(), 0);
    };
    entry(&[&[0xff, 0xff, 0xff, 0xff, 3, 0, 1, 0x78, 16], CALLED].concat());
    for (at, len, instructions) in functions {
        let mut body = vec![0; 4];
        body.extend((BASE + at).to_le_bytes());
        body.extend(len.to_le_bytes());
        body.extend(*instructions);
        entry(&body);
    }
    bytes
}
