//! A file that has the header of an ELF file, and what is in it.

use super::cursor::{Cursor, Range};
use super::{ElfError, MAX_SECTIONS, Section, Segment, inflate, notes, sections, segments};
use crate::maps::Content;
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::FileHeader;
use object::read::{ReadCache, ReadRef};

pub(super) type Cache<'a> = ReadCache<Cursor<'a>>;
pub(super) type Header32 = FileHeader32<Endianness>;
pub(super) type Header64 = FileHeader64<Endianness>;

/// Calls a function for the file's class, with a new cache.
macro_rules! of_class {
    ($elf:expr, $($read:ident)::+) => {
        if $elf.is_64 {
            $($read)::+::<Header64>(&$elf.cache())
        } else {
            $($read)::+::<Header32>(&$elf.cache())
        }
    };
}

/// An ELF file. Nothing but its header has been read.
#[derive(Clone, Copy, Debug)]
pub struct Elf<'a> {
    content: &'a Content,
    is_64: bool,
    endian: Endianness,
    machine: u16,
}

/// Where a file's own headers lie, which any parser of it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Header, program headers, section headers.
    pub ranges: [Range; 3],
    /// Number of the section with the names of sections.
    pub names_index: usize,
}

impl<'a> Elf<'a> {
    /// Reads its header.
    ///
    /// # Errors
    /// When it has none.
    pub fn open(content: &'a Content) -> Result<Self, ElfError> {
        let cache = ReadCache::new(Cursor::new(content));
        match (&cache).read_bytes_at(0, 5).unwrap_or_default() {
            b"\x7fELF\x01" => Self::of_class::<Header32>(content, &cache, false),
            // Anything else fails in there, with the right words.
            _ => Self::of_class::<Header64>(content, &cache, true),
        }
    }

    /// The same for files of 64 bits alone.
    ///
    /// # Errors
    /// When it has no header, or another.
    pub fn open_64(content: &'a Content) -> Result<Self, ElfError> {
        let cache = ReadCache::new(Cursor::new(content));
        Self::of_class::<Header64>(content, &cache, true)
    }

    fn of_class<H: FileHeader<Endian = Endianness>>(
        content: &'a Content,
        data: &Cache<'_>,
        is_64: bool,
    ) -> Result<Self, ElfError> {
        let header = H::parse(data)?;
        let endian = header.endian()?;
        Ok(Self {
            content,
            is_64,
            endian,
            machine: header.e_machine(endian),
        })
    }

    fn cache(&self) -> Cache<'a> {
        ReadCache::new(Cursor::new(self.content))
    }

    /// The order of its bytes.
    pub fn endian(&self) -> Endianness {
        self.endian
    }

    /// What it was made for: `EM_…`.
    pub fn machine(&self) -> u16 {
        self.machine
    }

    /// Bytes of a pointer.
    pub fn pointer_size(&self) -> u64 {
        if self.is_64 { 8 } else { 4 }
    }

    /// Its segments.
    ///
    /// # Errors
    /// When there are more than [`super::MAX_SEGMENTS`], or they cannot be read.
    pub fn segments(&self) -> Result<Vec<Segment>, ElfError> {
        of_class!(self, segments::segments)
    }

    /// Its sections, without their names.
    ///
    /// # Errors
    /// When there are more than [`MAX_SECTIONS`], or they cannot be read.
    pub fn sections(&self) -> Result<Vec<Section>, ElfError> {
        of_class!(self, sections::sections)
    }

    /// Its sections with their names; a name that cannot be read is empty.
    ///
    /// # Errors
    /// As [`Self::sections`], and when there is no table of names.
    pub fn named_sections(&self) -> Result<Vec<(Vec<u8>, Section)>, ElfError> {
        of_class!(self, sections::named)
    }

    /// The GNU build id.
    pub fn build_id(&self) -> Option<Box<[u8]>> {
        of_class!(self, notes::build_id)
    }

    /// Where its own headers lie.
    ///
    /// # Errors
    /// When their numbers cannot be read, or are above [`MAX_SECTIONS`].
    pub fn tables(&self) -> Result<Tables, ElfError> {
        of_class!(self, tables)
    }

    /// What a section with a compression header unpacks to, if that is what the header says and not
    /// above `limit` bytes.
    pub fn unpack(&self, section: &[u8], limit: u64) -> Option<Vec<u8>> {
        inflate::unpack(self.is_64, self.endian, section, limit)
    }

    /// How many bytes [`Self::unpack`] would give, at the cost of its time, without its memory.
    pub fn unpacked_size(&self, section: &[u8], limit: u64) -> Option<u64> {
        inflate::unpacked_size(self.is_64, self.endian, section, limit)
    }
}

fn tables<H: FileHeader<Endian = Endianness>>(data: &Cache<'_>) -> Result<Tables, ElfError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let sections = header.shnum(endian, data)?;
    if sections > MAX_SECTIONS {
        return Err(ElfError::TooMany("section headers"));
    }
    let segments = header.phnum(endian, data)?.min(MAX_SECTIONS);
    let segment_bytes = (segments * size_of::<H::ProgramHeader>()) as u64;
    let section_bytes = (sections * size_of::<H::SectionHeader>()) as u64;
    Ok(Tables {
        ranges: [
            (0, size_of::<H>() as u64),
            (header.e_phoff(endian).into(), segment_bytes),
            (header.e_shoff(endian).into(), section_bytes),
        ],
        names_index: header.shstrndx(endian, data)? as usize,
    })
}
