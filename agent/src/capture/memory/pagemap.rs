//! `/proc/PID/pagemap`: which pages of a region are resident now, and whether as one huge page
//! (`Documentation/admin-guide/mm/pagemap.rst`).

use remora_common::aggregate::FAULT_REGION_BITS;
use std::{fs::File, os::unix::fs::FileExt};

/// A page is resident.
const PRESENT: u64 = 1 << 63;
/// Its frame's number; 0 without CAP_SYS_ADMIN.
const FRAME: u64 = (1 << 55) - 1;
/// `KPF_THP` of `include/uapi/linux/kernel-page-flags.h`: part of a transparent huge page.
const THP: u64 = 1 << 22;

/// What is there of a region at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// Resident, in bytes.
    pub resident: u64,
    /// As one huge page.
    pub huge: bool,
}

/// Reads the regions of one process.
pub struct Pagemap {
    file: File,
    flags: Option<File>,
    page: u64,
}

impl Pagemap {
    /// Opens a process's; `None` when it is gone or hidden.
    pub fn open(pid: u32) -> Option<Self> {
        Some(Self {
            file: File::open(format!("/proc/{pid}/pagemap")).ok()?,
            flags: File::open("/proc/kpageflags").ok(),
            page: rustix::param::page_size() as u64,
        })
    }

    /// Looks at a region by its number (address >> [`FAULT_REGION_BITS`]).
    pub fn region(&self, number: u64) -> Option<Region> {
        let pages = (1_u64 << FAULT_REGION_BITS).checked_div(self.page)?;
        let mut bytes = vec![0_u8; usize::try_from(8 * pages).ok()?];
        let at = number.checked_mul(8 * pages)?;
        let read = self.file.read_at(&mut bytes, at).ok()?;
        bytes.truncate(read);
        let (present, first) = count(&bytes);
        Some(Region {
            resident: present * self.page,
            huge: present == pages && first.is_some_and(|frame| self.is_huge(frame, pages)),
        })
    }

    fn is_huge(&self, frame: u64, pages: u64) -> bool {
        let mut flags = [0_u8; 8];
        let flag = |file: &File| file.read_exact_at(&mut flags, 8 * frame).is_ok();
        frame != 0
            && frame.is_multiple_of(pages)
            && self.flags.as_ref().is_some_and(flag)
            && u64::from_ne_bytes(flags) & THP != 0
    }
}

/// Pages that are present in these entries, and the frame of the first.
fn count(bytes: &[u8]) -> (u64, Option<u64>) {
    let entries = bytes.as_chunks::<8>().0;
    let present = entries
        .iter()
        .map(|entry| u64::from_ne_bytes(*entry))
        .filter(|entry| entry & PRESENT != 0);
    let first = present.clone().next().map(|entry| entry & FRAME);
    (present.count() as u64, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn present_pages_are_counted_and_a_cut_entry_is_none() {
        let entries = [PRESENT | 0x200, 1 << 62, 0, PRESENT | 7];
        let bytes: Vec<u8> = entries
            .iter()
            .flat_map(|entry| entry.to_ne_bytes())
            .collect();
        assert_eq!(count(&bytes), (2, Some(0x200)));
        assert_eq!(count(&bytes[..31]), (1, Some(0x200)));
        assert_eq!(count(&[]), (0, None));
    }

    #[test]
    fn what_was_touched_here_is_resident_and_what_lies_nowhere_is_not() {
        let touched = vec![1_u8; 4 << 20];
        let pagemap = Pagemap::open(std::process::id()).expect("our own");
        let inside = (touched.as_ptr() as u64 >> FAULT_REGION_BITS) + 1;
        assert_eq!(
            pagemap.region(inside).map(|region| region.resident),
            Some(2 << 20)
        );
        assert_eq!(
            pagemap.region(1).map(|region| region.resident).unwrap_or(0),
            0
        );
        assert_eq!(pagemap.region(u64::MAX), None);
    }
}
