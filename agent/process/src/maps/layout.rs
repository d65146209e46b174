//! The few facts of an ELF file that must be known while its process lives: where its segments
//! lie and its build id.

use super::module::Content;
use crate::elf::{Elf, Segment};

/// Segments and build id of an ELF file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Those that are loaded.
    segments: Vec<Segment>,
    build_id: Option<Box<[u8]>>,
}

impl Layout {
    /// Reads it; `None` when the content is no ELF file or a malformed one.
    pub fn read(content: &Content) -> Option<Self> {
        let elf = Elf::open(content).ok()?;
        let mut segments = elf.segments().ok()?;
        segments.retain(Segment::is_loaded);
        Some(Self {
            segments,
            build_id: elf.build_id(),
        })
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
