//! The few facts of an ELF file that must be known while its process lives: where its segments
//! lie and its build id.
//!
//! The file may be hostile and may change or shrink while it is read. It is therefore read, never
//! mapped (a mapping of a file that shrinks raises SIGBUS), in pieces of bounded size.

use super::module::Content;
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, NT_GNU_BUILD_ID, PT_LOAD, PT_NOTE};
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use object::read::{ReadCacheOps, ReadRef};

/// More program headers than any linker writes.
const MAX_SEGMENTS: usize = 128;
/// Notes larger than this are not read, in bytes.
const MAX_NOTES: u64 = 64 << 10;
/// Lengths of a build id that are believed, in bytes: shorter ones collide, linkers write 8 to 32.
const BUILD_ID_LENGTHS: std::ops::RangeInclusive<usize> = 8..=64;

/// A loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    offset: u64,
    address: u64,
    size: u64,
}

/// Segments and build id of an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    segments: Vec<Segment>,
    build_id: Option<Box<[u8]>>,
}

impl Layout {
    /// Reads it; `None` when the content is no ELF file or a malformed one.
    pub fn read(content: &Content) -> Option<Self> {
        let cache = ReadCache::new(Cursor::new(content));
        match (&cache).read_bytes_at(0, 5).ok()? {
            b"\x7fELF\x01" => read_class::<FileHeader32<Endianness>>(&cache),
            b"\x7fELF\x02" => read_class::<FileHeader64<Endianness>>(&cache),
            _ => None,
        }
    }

    /// The address that the file's own symbols use for the byte at `offset`.
    pub fn address(&self, offset: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.offset)?;
            (inside < segment.size).then(|| segment.address.checked_add(inside))?
        })
    }

    /// The GNU build id.
    pub fn build_id(&self) -> Option<&[u8]> {
        self.build_id.as_deref()
    }
}

fn read_class<H: FileHeader<Endian = Endianness>>(data: &ReadCache<Cursor<'_>>) -> Option<Layout> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    if header.phnum(endian, data).ok()? > MAX_SEGMENTS {
        return None;
    }
    let mut layout = Layout::default();
    for segment in header.program_headers(endian, data).ok()? {
        let size: u64 = segment.p_filesz(endian).into();
        match segment.p_type(endian) {
            PT_LOAD => layout.segments.push(Segment {
                offset: segment.p_offset(endian).into(),
                address: segment.p_vaddr(endian).into(),
                size,
            }),
            PT_NOTE if layout.build_id.is_none() && size <= MAX_NOTES => {
                layout.build_id = build_id::<H>(segment, endian, data);
            }
            _ => {}
        }
    }
    Some(layout)
}

fn build_id<H: FileHeader<Endian = Endianness>>(
    segment: &H::ProgramHeader,
    endian: Endianness,
    data: &ReadCache<Cursor<'_>>,
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

/// Reads a [`Content`] for `object`, without moving the position of the shared file handle.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    content: &'a Content,
    position: u64,
}

impl<'a> Cursor<'a> {
    /// At the content's beginning.
    pub(crate) fn new(content: &'a Content) -> Self {
        Self {
            content,
            position: 0,
        }
    }
}

impl ReadCacheOps for Cursor<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.content.len().map_err(drop)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let read = self.content.read_at(buffer, self.position).map_err(drop)?;
        self.position += read as u64;
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.content
            .read_exact_at(buffer, self.position)
            .map_err(drop)?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The beginning of the running test program, with its headers and notes.
    fn own_image() -> Vec<u8> {
        let mut image = vec![0; 64 << 10];
        Content::File(std::fs::File::open("/proc/self/exe").unwrap())
            .read_exact_at(&mut image, 0)
            .unwrap();
        image
    }

    #[test]
    fn own_executable_has_segments_and_a_build_id() {
        let layout = Layout::read(&Content::Bytes(own_image().into())).unwrap();
        assert!(!layout.segments.is_empty());
        let first = layout.segments[0];
        assert_eq!(layout.address(first.offset), Some(first.address));
        assert_eq!(layout.address(u64::MAX), None);
    }

    #[test]
    fn a_script_has_no_layout() {
        assert_eq!(
            Layout::read(&Content::Bytes((*b"#!/bin/sh\n").into())),
            None
        );
    }

    proptest! {
        #[test]
        fn damaged_headers_are_survived(
            damage in proptest::collection::vec((0usize..1024, any::<u8>()), 1..20),
            keep in 0usize..4096,
        ) {
            let mut image = own_image();
            image.truncate(keep.max(1));
            for (at, value) in damage {
                if let Some(byte) = image.get_mut(at) {
                    *byte = value;
                }
            }
            let _ = Layout::read(&Content::Bytes(image.into()));
        }
    }
}
