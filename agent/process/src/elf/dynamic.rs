//! What a file tells the dynamic linker.

use object::LittleEndian as Little;
use object::elf::{DT_NEEDED, Dyn64};
use object::read::elf::Dyn;

/// Whether a dynamic section (64 bits, little-endian) asks for other libraries.
pub fn needs_libraries(dynamic: &[u8]) -> bool {
    let count = dynamic.len() / size_of::<Dyn64<Little>>();
    let entries = object::pod::slice_from_bytes::<Dyn64<Little>>(dynamic, count);
    entries.is_ok_and(|(entries, _)| {
        let mut tags = entries.iter().map(|entry| entry.d_tag(Little));
        tags.any(|tag| tag == DT_NEEDED)
    })
}
