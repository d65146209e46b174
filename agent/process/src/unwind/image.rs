//! The parts of an ELF file that say how to unwind it, read into memory.
//!
//! The file may be hostile and may change or shrink meanwhile: it is read, never mapped, and what
//! is read is bounded. Sections are found by their headers; a file that was stripped of those still
//! has a program header for `.eh_frame_hdr`, and that points to `.eh_frame`.

use super::{CompileError, Limits, inflate};
use crate::maps::{Content, Cursor};
use gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};
use object::elf::{
    self, DT_NEEDED, EM_AARCH64, EM_X86_64, FileHeader64, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME,
    PT_LOAD, ProgramHeader64, SHF_COMPRESSED, SHT_NOBITS, SectionHeader64,
};
use object::read::ReadCache;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, LittleEndian as Little};
use remora_common::unwind::Machine;

/// More program headers than any linker writes.
const MAX_SEGMENTS: usize = 128;
/// More sections than any linker writes into a program or a library.
const MAX_SECTIONS: usize = 4096;
/// Bytes of `.eh_frame_hdr` that are read: its beginning has the pointer.
const MAX_HEADER: u64 = 64;
/// Bytes of `.dynamic` that are read.
const MAX_DYNAMIC: u64 = 64 << 10;
/// Bytes of one PLT section at the most: 16 a function that is called.
const MAX_PLT: u64 = 4 << 20;
/// PLT sections at the most: linkers write three.
const MAX_PLTS: usize = 8;

type Elf = FileHeader64<Endianness>;
type Cache<'a> = ReadCache<Cursor<'a>>;

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub offset: u64,
    pub address: u64,
    pub size: u64,
    pub executable: bool,
}

/// A piece of the file that is loaded at an address.
#[derive(Debug)]
pub(super) struct Piece {
    pub address: u64,
    pub bytes: Vec<u8>,
}

/// An `.eh_frame`.
#[derive(Debug)]
pub(super) struct EhFrame {
    pub bytes: Vec<u8>,
    pub bases: BaseAddresses,
    /// Where it ends is not known: a terminator does.
    pub until_zero: bool,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Image {
    pub machine: Machine,
    pub segments: Vec<Segment>,
    pub eh_frame: Option<EhFrame>,
    pub debug_frame: Option<Vec<u8>>,
    /// The procedure linkage tables.
    pub plts: Vec<Piece>,
    /// It needs no other library: a libc, the vDSO, or a static program.
    pub stands_alone: bool,
    /// A section was there and could not be read.
    pub damaged: bool,
}

impl Image {
    pub(super) fn read(content: &Content, limits: &Limits) -> Result<Self, CompileError> {
        let cache = ReadCache::new(Cursor::new(content));
        let header = Elf::parse(&cache)?;
        let endian = header.endian()?;
        let machine = match header.e_machine(endian) {
            EM_X86_64 => Machine::X86_64,
            EM_AARCH64 => Machine::ARM64,
            _ => return Err(CompileError::Machine),
        };
        if header.is_big_endian() {
            return Err(CompileError::Machine);
        }
        if header.phnum(endian, &cache)? > MAX_SEGMENTS {
            return Err(CompileError::TooLarge("program headers"));
        }
        let programs = header.program_headers(endian, &cache)?;
        let mut reader = Reader {
            content,
            endian,
            limits,
            damaged: false,
        };
        let mut image = Self {
            machine,
            segments: programs
                .iter()
                .filter_map(|one| segment(one, endian))
                .collect(),
            eh_frame: None,
            debug_frame: None,
            plts: Vec::new(),
            stands_alone: reader.stands_alone(programs),
            damaged: false,
        };
        // Without usable section headers the program headers serve.
        if image.sections(header, &cache, &mut reader).is_err() {
            reader.damaged = true;
        }
        let eh_frame_hdr = programs
            .iter()
            .find(|one| one.p_type(endian) == PT_GNU_EH_FRAME);
        if let Some(header) = eh_frame_hdr {
            image.eh_frame_hdr(header, &mut reader);
        }
        image.damaged = reader.damaged;
        Ok(image)
    }

    /// Segments that hold code.
    pub(super) fn code(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.executable)
    }

    fn sections(
        &mut self,
        header: &Elf,
        cache: &Cache<'_>,
        reader: &mut Reader<'_>,
    ) -> Result<(), CompileError> {
        let endian = reader.endian;
        if header.shnum(endian, cache)? > MAX_SECTIONS {
            return Err(CompileError::TooLarge("section headers"));
        }
        let sections = header.section_headers(endian, cache)?;
        let names = header.section_strings(endian, cache, sections)?;
        let text = sections
            .iter()
            .find(|one| one.name(endian, names) == Ok(b".text"));
        for section in sections {
            if section.sh_type(endian) == SHT_NOBITS {
                continue;
            }
            match section.name(endian, names).unwrap_or_default() {
                b".eh_frame" if self.eh_frame.is_none() => {
                    let bases = BaseAddresses::default().set_eh_frame(section.sh_addr(endian));
                    let bases = match text {
                        Some(text) => bases.set_text(text.sh_addr(endian)),
                        None => bases,
                    };
                    self.eh_frame = reader.section(section)?.map(|bytes| EhFrame {
                        bytes,
                        bases,
                        until_zero: false,
                    });
                }
                b".debug_frame" if self.debug_frame.is_none() => {
                    self.debug_frame = reader.section(section)?;
                }
                b".plt" | b".plt.sec" | b".plt.got" | b".plt.bnd" | b".iplt"
                    if self.plts.len() < MAX_PLTS =>
                {
                    let (offset, size) = (section.sh_offset(endian), section.sh_size(endian));
                    self.plts
                        .extend(reader.read(offset, size.min(MAX_PLT)).map(|bytes| Piece {
                            address: section.sh_addr(endian),
                            bytes,
                        }));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes the address of `.eh_frame_hdr`, and reads the `.eh_frame` that it points to unless
    /// that has been found.
    fn eh_frame_hdr(&mut self, header: &ProgramHeader64<Endianness>, reader: &mut Reader<'_>) {
        let address = header.p_vaddr(reader.endian);
        if let Some(eh_frame) = &mut self.eh_frame {
            eh_frame.bases = eh_frame.bases.clone().set_eh_frame_hdr(address);
            return;
        }
        let size = header.p_filesz(reader.endian).min(MAX_HEADER);
        let Some(bytes) = reader.read(header.p_offset(reader.endian), size) else {
            return;
        };
        let bases = BaseAddresses::default().set_eh_frame_hdr(address);
        let Some(start) = eh_frame_pointer(&bytes, &bases) else {
            return;
        };
        let segment = self.segments.iter().find(|segment| {
            let inside = start.checked_sub(segment.address);
            inside.is_some_and(|inside| inside < segment.size)
        });
        let Some(segment) = segment else { return };
        let inside = start - segment.address;
        let size = (segment.size - inside).min(reader.limits.section_bytes);
        let bytes = reader.read(segment.offset.saturating_add(inside), size);
        self.eh_frame = bytes.map(|bytes| EhFrame {
            bytes,
            bases: bases.set_eh_frame(start),
            until_zero: true,
        });
    }
}

/// The pointer in an `.eh_frame_hdr`.
fn eh_frame_pointer(header: &[u8], bases: &BaseAddresses) -> Option<u64> {
    let parsed = EhFrameHdr::new(header, LittleEndian).parse(bases, 8).ok()?;
    match parsed.eh_frame_ptr() {
        Pointer::Direct(address) => Some(address),
        Pointer::Indirect(_) => None,
    }
}

fn segment(header: &ProgramHeader64<Endianness>, endian: Endianness) -> Option<Segment> {
    let (address, size) = (header.p_vaddr(endian), header.p_filesz(endian));
    let loaded = header.p_type(endian) == PT_LOAD && address.checked_add(size).is_some();
    loaded.then(|| Segment {
        offset: header.p_offset(endian),
        address,
        size,
        executable: header.p_flags(endian) & PF_X != 0,
    })
}

struct Reader<'a> {
    content: &'a Content,
    endian: Endianness,
    limits: &'a Limits,
    damaged: bool,
}

impl Reader<'_> {
    /// The bytes of a section, unpacked.
    fn section(
        &mut self,
        section: &SectionHeader64<Endianness>,
    ) -> Result<Option<Vec<u8>>, CompileError> {
        let size = section.sh_size(self.endian);
        let limit = self.limits.section_bytes.min(u32::MAX.into());
        if size > limit {
            return Err(CompileError::TooLarge("call frame information"));
        }
        let Some(bytes) = self.read(section.sh_offset(self.endian), size) else {
            return Ok(None);
        };
        if section.sh_flags(self.endian) & u64::from(SHF_COMPRESSED) == 0 {
            return Ok(Some(bytes));
        }
        let unpacked = inflate::section(&bytes, limit);
        self.damaged |= unpacked.is_none();
        Ok(unpacked)
    }

    fn read(&mut self, offset: u64, size: u64) -> Option<Vec<u8>> {
        let bytes = read(self.content, offset, size);
        self.damaged |= bytes.is_none();
        bytes
    }

    fn stands_alone(&mut self, programs: &[ProgramHeader64<Endianness>]) -> bool {
        let endian = self.endian;
        let dynamic = programs.iter().find(|one| one.p_type(endian) == PT_DYNAMIC);
        let Some(dynamic) = dynamic else { return true };
        let size = dynamic.p_filesz(endian).min(MAX_DYNAMIC);
        let bytes = self
            .read(dynamic.p_offset(endian), size)
            .unwrap_or_default();
        let count = bytes.len() / size_of::<elf::Dyn64<Little>>();
        let entries = object::pod::slice_from_bytes::<elf::Dyn64<Little>>(&bytes, count);
        entries.is_ok_and(|(entries, _)| {
            let mut tags = entries.iter().map(|entry| entry.d_tag(Little));
            !tags.any(|tag| tag == DT_NEEDED)
        })
    }
}

/// Bytes of a file; `None` when it has fewer.
pub(super) fn read(content: &Content, offset: u64, size: u64) -> Option<Vec<u8>> {
    if offset.checked_add(size)? > content.len().ok()? {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    content.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}
