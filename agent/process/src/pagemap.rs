//! `/proc/PID/pagemap`: which pages of a process are resident now, and whether those of a region are one
//! huge page (`Documentation/admin-guide/mm/pagemap.rst`).

use super::proc_fs::speaker;
use remora_common::aggregate::FAULT_REGION_BITS;
use std::{fs::File, io, os::unix::fs::FileExt};

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

/// Which pages of one process are there.
#[derive(Debug)]
pub struct Pagemap {
    file: File,
    page_bytes: u64,
}

impl Pagemap {
    /// Opens a living process's.
    ///
    /// # Errors
    /// When there is no such process, or this one may not look into it.
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self {
            file: File::open(format!("/proc/{}/pagemap", speaker(pid)))?,
            page_bytes: rustix::param::page_size() as u64,
        })
    }

    /// Whether all of the `len` bytes from `address` on are in memory, none of them in a third page.
    pub fn is_resident(&self, address: u64, len: usize) -> bool {
        let last = (len as u64)
            .checked_sub(1)
            .and_then(|beyond| address.checked_add(beyond));
        let Some(last) = last else { return false };
        let (first, last) = (address / self.page_bytes, last / self.page_bytes);
        last - first <= 1 && self.is_there(first) && self.is_there(last)
    }

    fn is_there(&self, page: u64) -> bool {
        let mut entry = [0; 8];
        let read = page
            .checked_mul(8)
            .map(|at| self.file.read_exact_at(&mut entry, at));
        matches!(read, Some(Ok(()))) && u64::from_ne_bytes(entry) & PRESENT != 0
    }

    /// Looks at a region by its number (address >> [`FAULT_REGION_BITS`]); `flags` tell huge pages.
    pub fn region(&self, number: u64, flags: &PageFlags) -> Option<Region> {
        let pages = (1_u64 << FAULT_REGION_BITS).checked_div(self.page_bytes)?;
        let mut bytes = vec![0_u8; usize::try_from(8 * pages).ok()?];
        let at = number.checked_mul(8 * pages)?;
        let read = self.file.read_at(&mut bytes, at).ok()?;
        bytes.truncate(read);
        let (present, first) = count(&bytes);
        Some(Region {
            resident: present * self.page_bytes,
            huge: present == pages && first.is_some_and(|frame| flags.is_huge(frame, pages)),
        })
    }
}

/// `/proc/kpageflags`: flags of the machine's page frames; without the right to read it, none is known.
#[derive(Debug)]
pub struct PageFlags(Option<File>);

impl PageFlags {
    /// Opens it, if this process may.
    pub fn open() -> Self {
        Self(File::open("/proc/kpageflags").ok())
    }

    /// Whether a huge page of `pages` pages begins at a frame.
    fn is_huge(&self, frame: u64, pages: u64) -> bool {
        let mut flags = [0_u8; 8];
        let flag = |file: &File| file.read_exact_at(&mut flags, 8 * frame).is_ok();
        frame != 0
            && frame.is_multiple_of(pages)
            && self.0.as_ref().is_some_and(flag)
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
        let flags = PageFlags::open();
        let inside = (touched.as_ptr() as u64 >> FAULT_REGION_BITS) + 1;
        let resident = |number: u64| Some(pagemap.region(number, &flags)?.resident);
        assert_eq!(resident(inside), Some(2 << 20));
        assert_eq!(resident(1).unwrap_or(0), 0);
        assert_eq!(resident(u64::MAX), None);
    }

    #[test]
    fn bytes_are_resident_where_each_of_their_pages_is() {
        let touched = vec![1_u8; 64 << 10];
        let pagemap = Pagemap::open(std::process::id()).expect("our own");
        let page = pagemap.page_bytes;
        let start = (touched.as_ptr() as u64).next_multiple_of(page);
        assert!(pagemap.is_resident(start, 1) && pagemap.is_resident(start + page - 2, 4));
        assert!(!pagemap.is_resident(start, 0));
        assert!(!pagemap.is_resident(start, 2 * page as usize + 1));
        assert!(!pagemap.is_resident(page, 4));
        assert!(!pagemap.is_resident(u64::MAX - 1, 4));
        assert!(!pagemap.is_resident(u64::MAX - 4, 4));
    }
}
