//! The parts of an ELF file that say how to unwind it, read into memory.
//!
//! The file may be hostile and may change or shrink meanwhile: it is read, never mapped, and what
//! is read is bounded. Sections are found by their headers; a file that was stripped of those still
//! has a program header for `.eh_frame_hdr`, and that points to `.eh_frame`.

use super::{CompileError, Limits};
use crate::elf::{self, Elf, needs_libraries};
use crate::maps::Content;
use gimli::{BaseAddresses, EhFrameHdr, LittleEndian, Pointer};
use object::Endianness;
use object::elf::{EM_AARCH64, EM_X86_64, PT_DYNAMIC, PT_GNU_EH_FRAME};
use remora_common::unwind::Machine;

/// Bytes of `.eh_frame_hdr` that are read: its beginning has the pointer.
const MAX_HEADER: u64 = 64;
/// Bytes of `.dynamic` that are read.
const MAX_DYNAMIC: u64 = 64 << 10;
/// Bytes of one PLT section at the most: 16 a function that is called.
const MAX_PLT: u64 = 4 << 20;
/// PLT sections at the most: linkers write three.
const MAX_PLTS: usize = 8;

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
        let elf = Elf::open_64(content)?;
        let machine = match elf.machine() {
            EM_X86_64 => Machine::X86_64,
            EM_AARCH64 => Machine::ARM64,
            _ => return Err(CompileError::Machine),
        };
        if elf.endian() != Endianness::Little {
            return Err(CompileError::Machine);
        }
        let programs = elf.segments()?;
        let mut reader = Reader {
            content,
            elf,
            limits,
            damaged: false,
        };
        let mut image = Self {
            machine,
            segments: programs.iter().filter_map(segment).collect(),
            eh_frame: None,
            debug_frame: None,
            plts: Vec::new(),
            stands_alone: reader.stands_alone(&programs),
            damaged: false,
        };
        // Without usable section headers the program headers serve.
        if image.sections(&mut reader).is_err() {
            reader.damaged = true;
        }
        let eh_frame_hdr = programs.iter().find(|one| one.kind == PT_GNU_EH_FRAME);
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

    fn sections(&mut self, reader: &mut Reader<'_>) -> Result<(), CompileError> {
        let sections = reader.elf.named_sections()?;
        let text = sections.iter().find(|(name, _)| name == b".text");
        for (name, section) in &sections {
            if section.is_empty() {
                continue;
            }
            match &name[..] {
                b".eh_frame" if self.eh_frame.is_none() => {
                    let bases = BaseAddresses::default().set_eh_frame(section.address);
                    let bases = match text {
                        Some((_, text)) => bases.set_text(text.address),
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
                    let (offset, size) = section.range;
                    self.plts
                        .extend(reader.read(offset, size.min(MAX_PLT)).map(|bytes| Piece {
                            address: section.address,
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
    fn eh_frame_hdr(&mut self, header: &elf::Segment, reader: &mut Reader<'_>) {
        let address = header.address;
        if let Some(eh_frame) = &mut self.eh_frame {
            eh_frame.bases = eh_frame.bases.clone().set_eh_frame_hdr(address);
            return;
        }
        let size = header.size.min(MAX_HEADER);
        let Some(bytes) = reader.read(header.offset, size) else {
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

fn segment(header: &elf::Segment) -> Option<Segment> {
    let (address, size) = (header.address, header.size);
    let loaded = header.is_loaded() && address.checked_add(size).is_some();
    loaded.then(|| Segment {
        offset: header.offset,
        address,
        size,
        executable: header.is_executable(),
    })
}

struct Reader<'a> {
    content: &'a Content,
    elf: Elf<'a>,
    limits: &'a Limits,
    damaged: bool,
}

impl Reader<'_> {
    /// The bytes of a section, unpacked.
    fn section(&mut self, section: &elf::Section) -> Result<Option<Vec<u8>>, CompileError> {
        let (offset, size) = section.range;
        let limit = self.limits.section_bytes.min(u32::MAX.into());
        if size > limit {
            return Err(CompileError::TooLarge("call frame information"));
        }
        let Some(bytes) = self.read(offset, size) else {
            return Ok(None);
        };
        if !section.is_compressed() {
            return Ok(Some(bytes));
        }
        let unpacked = self.elf.unpack(&bytes, limit);
        self.damaged |= unpacked.is_none();
        Ok(unpacked)
    }

    fn read(&mut self, offset: u64, size: u64) -> Option<Vec<u8>> {
        let bytes = elf::read(self.content, (offset, size), size);
        self.damaged |= bytes.is_none();
        bytes
    }

    fn stands_alone(&mut self, programs: &[elf::Segment]) -> bool {
        let dynamic = programs.iter().find(|one| one.kind == PT_DYNAMIC);
        let Some(dynamic) = dynamic else { return true };
        let size = dynamic.size.min(MAX_DYNAMIC);
        let bytes = self.read(dynamic.offset, size).unwrap_or_default();
        !needs_libraries(&bytes)
    }
}
