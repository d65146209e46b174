//! The room as a whole: our own file is read as it is, and no damage is a panic.

use super::*;
use crate::maps::Content;
use object::elf::{SHT_DYNSYM, SHT_SYMTAB};
use proptest::prelude::*;

fn own() -> Vec<u8> {
    std::fs::read("/proc/self/exe").unwrap()
}

/// Asks everything of a file.
fn ask(content: &Content) {
    let Ok(elf) = Elf::open(content) else { return };
    let _ = (elf.machine(), elf.tables(), elf.build_id());
    let segments = elf.segments().unwrap_or_default();
    assert!(segments.len() <= MAX_SEGMENTS);
    for segment in &segments {
        let place = offset_of(&segments, segment.address, 1);
        assert!(place.is_some() || !segment.is_loaded() || segment.size == 0);
    }
    for (name, section) in elf.named_sections().unwrap_or_default() {
        assert!(name.len() <= MAX_SECTION_NAME);
        if let Some(bytes) = read(content, section.range, 1 << 16) {
            assert_eq!(
                elf.unpack(&bytes, 1 << 16).map(|bytes| bytes.len() as u64),
                elf.unpacked_size(&bytes, 1 << 16)
            );
        }
    }
}

#[test]
fn own_file_is_read_as_it_is() {
    let content = Content::Bytes(own().into());
    let elf = Elf::open_64(&content).unwrap();
    let sections = elf.sections().unwrap();
    let (symbols_at, names_at) = table(&sections, SHT_SYMTAB).unwrap();
    let names = read(&content, names_at.range, 1 << 30).unwrap();
    let table_bytes = read(&content, symbols_at.range, 1 << 30).unwrap();
    let main = symbols(&table_bytes, elf.endian())
        .find(|symbol| name_at(&names, symbol.name, 8) == Some("main"))
        .unwrap();
    assert!(main.is_function && main.is_defined);
    let segments = elf.segments().unwrap();
    assert!(offset_of(&segments, main.address, 1).is_some());
    assert!(table(&sections, SHT_DYNSYM).is_some());
    let named = elf.named_sections().unwrap();
    assert_eq!(named.len(), sections.len());
    let text = named.iter().find(|(name, _)| name == b".text").unwrap().1;
    assert!(text.is_code() && !text.is_empty());
}

#[test]
fn what_is_longer_than_its_limit_or_its_file_is_not_read() {
    let content = Content::Bytes(vec![7; 100].into());
    assert_eq!(read(&content, (90, 10), 10), Some(vec![7; 10]));
    assert_eq!(read(&content, (90, 10), 9), None);
    assert_eq!(read(&content, (90, 11), 11), None);
    assert_eq!(read(&content, (u64::MAX, 2), 10), None);
}

#[test]
fn more_headers_than_the_limit_are_refused() {
    let mut image = own();
    // e_phnum and e_shnum of a file of 64 bits.
    image[56..58].copy_from_slice(&(MAX_SEGMENTS as u16 + 1).to_ne_bytes());
    image[60..62].copy_from_slice(&(MAX_SECTIONS as u16 + 1).to_ne_bytes());
    let content = Content::Bytes(image.into());
    let elf = Elf::open(&content).unwrap();
    let refused = |error| matches!(error, ElfError::TooMany(_));
    assert!(elf.segments().is_err_and(refused));
    assert!(elf.sections().is_err_and(refused));
    assert!(elf.named_sections().is_err_and(refused));
    assert!(elf.tables().is_err_and(refused));
    assert_eq!(elf.build_id(), None);
}

proptest! {
    #[test]
    fn damaged_files_are_survived(
        damage in proptest::collection::vec((0usize..1024, any::<u8>()), 1..20),
        keep in 0usize..4096,
    ) {
        let mut image = std::fs::read("/bin/true").unwrap();
        image.truncate(keep.max(1));
        for (at, value) in damage {
            if let Some(byte) = image.get_mut(at) {
                *byte = value;
            }
        }
        ask(&Content::Bytes(image.into()));
    }
}
