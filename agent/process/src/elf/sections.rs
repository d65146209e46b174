//! Sections: what the linker made, while nobody stripped it.

use super::header::Cache;
use super::{ElfError, MAX_SECTION_NAME, MAX_SECTIONS, Range};
use object::Endianness;
use object::elf::{SHF_COMPRESSED, SHF_EXECINSTR, SHT_NOBITS};
use object::read::elf::{FileHeader, SectionHeader};

/// A section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// `SHT_…`.
    pub kind: u32,
    /// `SHF_…`.
    pub flags: u64,
    /// Its address, 0 when it is not loaded.
    pub address: u64,
    /// Where it lies in the file.
    pub range: Range,
    /// Another section that it belongs with.
    pub link: u32,
    /// Where its own header lies in the file.
    pub header: u64,
}

impl Section {
    /// It has no bytes in the file.
    pub fn is_empty(&self) -> bool {
        self.kind == SHT_NOBITS
    }

    /// It begins with a compression header.
    pub fn is_compressed(&self) -> bool {
        self.flags & u64::from(SHF_COMPRESSED) != 0
    }

    /// It holds code.
    pub fn is_code(&self) -> bool {
        self.flags & u64::from(SHF_EXECINSTR) != 0
    }
}

pub(super) fn sections<H: FileHeader<Endian = Endianness>>(
    data: &Cache<'_>,
) -> Result<Vec<Section>, ElfError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let table = header.e_shoff(endian).into();
    let headers = headers::<H>(header, endian, data)?.iter().enumerate();
    Ok(headers
        .map(|(index, one)| section::<H>(table, index, one, endian))
        .collect())
}

pub(super) fn named<H: FileHeader<Endian = Endianness>>(
    data: &Cache<'_>,
) -> Result<Vec<(Vec<u8>, Section)>, ElfError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let table = header.e_shoff(endian).into();
    let headers = headers::<H>(header, endian, data)?;
    let names = header.section_strings(endian, data, headers)?;
    let sections = headers.iter().enumerate().map(|(index, one)| {
        let name = one.name(endian, names).unwrap_or_default();
        let name = name.get(..MAX_SECTION_NAME).unwrap_or(name);
        (name.to_vec(), section::<H>(table, index, one, endian))
    });
    Ok(sections.collect())
}

fn headers<'a, H: FileHeader<Endian = Endianness>>(
    header: &H,
    endian: Endianness,
    data: &'a Cache<'_>,
) -> Result<&'a [H::SectionHeader], ElfError> {
    if header.shnum(endian, data)? > MAX_SECTIONS {
        return Err(ElfError::TooMany("section headers"));
    }
    Ok(header.section_headers(endian, data)?)
}

fn section<H: FileHeader<Endian = Endianness>>(
    table: u64,
    index: usize,
    header: &H::SectionHeader,
    endian: Endianness,
) -> Section {
    let before = (index * size_of::<H::SectionHeader>()) as u64;
    Section {
        kind: header.sh_type(endian),
        flags: header.sh_flags(endian).into(),
        address: header.sh_addr(endian).into(),
        range: (
            header.sh_offset(endian).into(),
            header.sh_size(endian).into(),
        ),
        link: header.sh_link(endian),
        header: table.saturating_add(before),
    }
}
