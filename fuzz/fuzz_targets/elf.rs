//! ELF files from anywhere: every question to the room that reads them ends, within its limits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_process::elf::{
    self, Elf, MAX_SECTIONS, MAX_SEGMENTS, Section, needs_libraries, offset_of, unpack_xz,
};
use remora_process::maps::{Content, Layout};

/// Bytes that are read or unpacked of a section.
const LIMIT: u64 = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let content = Content::Bytes(data.into());
    if let Some(layout) = Layout::read(&content) {
        let _ = layout.build_id();
        for offset in [0, 1, 4096, u64::MAX] {
            let _ = layout.address(offset);
        }
    }
    let _ = needs_libraries(data);
    let _ = unpack_xz(data, LIMIT);
    for elf in [Elf::open(&content), Elf::open_64(&content)] {
        if let Ok(elf) = elf {
            ask(&elf, &content);
        }
    }
});

fn ask(elf: &Elf<'_>, content: &Content) {
    let _ = (elf.machine(), elf.pointer_size(), elf.tables());
    assert!(elf.build_id().is_none_or(|id| (8..=64).contains(&id.len())));
    let segments = elf.segments().unwrap_or_default();
    assert!(segments.len() <= MAX_SEGMENTS);
    for segment in &segments {
        let _ = segment.is_executable();
        let place = offset_of(&segments, segment.address, 1);
        assert!(place.is_some() || !segment.is_loaded() || segment.size == 0);
        let _ = offset_of(&segments, segment.address, u64::MAX);
    }
    let sections = elf.sections().unwrap_or_default();
    assert!(sections.len() <= MAX_SECTIONS);
    for section in sections.iter().take(32) {
        unpack(elf, content, section);
        symbols(elf, content, &sections, section.kind);
    }
    if let Ok(named) = elf.named_sections() {
        let plain: Vec<Section> = named.into_iter().map(|(_, section)| section).collect();
        assert_eq!(plain, sections);
    }
}

/// What unpacks has the size that is measured.
fn unpack(elf: &Elf<'_>, content: &Content, section: &Section) {
    let _ = (
        section.is_empty(),
        section.is_code(),
        section.is_compressed(),
    );
    let Some(bytes) = elf::read(content, section.range, LIMIT) else {
        return;
    };
    let unpacked = elf.unpack(&bytes, LIMIT).map(|bytes| bytes.len() as u64);
    assert_eq!(unpacked, elf.unpacked_size(&bytes, LIMIT));
    assert!(unpacked.is_none_or(|size| size <= LIMIT));
    let _ = unpack_xz(&bytes, LIMIT);
    let _ = needs_libraries(&bytes);
}

fn symbols(elf: &Elf<'_>, content: &Content, sections: &[Section], kind: u32) {
    let Some((table, names)) = elf::table(sections, kind) else {
        return;
    };
    let read = |section: Section| elf::read(content, section.range, LIMIT).unwrap_or_default();
    let names = read(names);
    for symbol in elf::symbols(&read(table), elf.endian()).take(256) {
        let name = elf::name_at(&names, symbol.name, 32);
        assert!(name.is_none_or(|name| !name.is_empty() && name.len() < 32));
    }
}
