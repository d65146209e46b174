//! Notes: the build id is one.

use super::header::Cache;
use super::{BUILD_ID_LENGTHS, MAX_NOTES, MAX_SEGMENTS};
use object::Endianness;
use object::elf::{NT_GNU_BUILD_ID, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};

pub(super) fn build_id<H: FileHeader<Endian = Endianness>>(data: &Cache<'_>) -> Option<Box<[u8]>> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.phnum(endian, data).ok()? > MAX_SEGMENTS {
        return None;
    }
    let segments = header.program_headers(endian, data).ok()?;
    let mut small = segments.iter().filter(|segment| {
        let size: u64 = segment.p_filesz(endian).into();
        segment.p_type(endian) == PT_NOTE && size <= MAX_NOTES
    });
    small.find_map(|segment| of_segment::<H>(segment, endian, data))
}

fn of_segment<H: FileHeader<Endian = Endianness>>(
    segment: &H::ProgramHeader,
    endian: Endianness,
    data: &Cache<'_>,
) -> Option<Box<[u8]>> {
    let mut notes = segment.notes(endian, data).ok()??;
    while let Some(note) = notes.next().ok()? {
        let described = note.name() == b"GNU" && note.n_type(endian) == NT_GNU_BUILD_ID;
        if described && BUILD_ID_LENGTHS.contains(&note.desc().len()) {
            return Some(note.desc().into());
        }
    }
    None
}
