//! Segments: what of a file is loaded, and where.

use super::header::Cache;
use super::{ElfError, MAX_SEGMENTS};
use object::Endianness;
use object::elf::{PF_X, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// A segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `PT_…`.
    pub kind: u32,
    /// `PF_…`.
    pub flags: u32,
    /// Where it lies in the file.
    pub offset: u64,
    /// Its address.
    pub address: u64,
    /// Its bytes in the file.
    pub size: u64,
}

impl Segment {
    /// It becomes memory.
    pub fn is_loaded(&self) -> bool {
        self.kind == PT_LOAD
    }

    /// It holds code.
    pub fn is_executable(&self) -> bool {
        self.flags & PF_X != 0
    }
}

/// Where in the file the `len` bytes at an address lie.
pub fn offset_of(segments: &[Segment], address: u64, len: u64) -> Option<u64> {
    let loaded = segments.iter().filter(|segment| segment.is_loaded());
    let mut places = loaded.filter_map(|segment| {
        let inside = address.checked_sub(segment.address)?;
        let held = inside.checked_add(len)? <= segment.size;
        held.then(|| segment.offset.checked_add(inside))?
    });
    places.next()
}

pub(super) fn segments<H: FileHeader<Endian = Endianness>>(
    data: &Cache<'_>,
) -> Result<Vec<Segment>, ElfError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    if header.phnum(endian, data)? > MAX_SEGMENTS {
        return Err(ElfError::TooMany("program headers"));
    }
    let segments = header.program_headers(endian, data)?.iter();
    let segments = segments.map(|segment| Segment {
        kind: segment.p_type(endian),
        flags: segment.p_flags(endian),
        offset: segment.p_offset(endian).into(),
        address: segment.p_vaddr(endian).into(),
        size: segment.p_filesz(endian).into(),
    });
    Ok(segments.collect())
}
