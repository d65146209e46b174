//! Memory of another process that is there: a page that is not is left where it is, so that looking
//! never makes the target's memory grow.

use super::{
    Pagemap,
    memory::{Memory, ProcessMemory},
};
use std::io;

/// Reads only pages that are in memory.
#[derive(Debug)]
pub struct ResidentMemory {
    memory: ProcessMemory,
    pages: Pagemap,
}

impl ResidentMemory {
    /// Opens a living process's memory.
    ///
    /// # Errors
    /// When there is no such process, or this one may not look into it.
    pub fn open(pid: u32) -> io::Result<Self> {
        Ok(Self {
            memory: ProcessMemory::open(pid)?,
            pages: Pagemap::open(pid)?,
        })
    }
}

impl Memory for ResidentMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        if !self.pages.is_resident(address, buffer.len()) {
            return None;
        }
        self.memory.read(address, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

    #[test]
    fn a_page_that_was_never_touched_is_not_read() {
        let bytes = 1 << 20;
        // SAFETY: a new mapping.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }
        .expect("memory");
        // SAFETY: inside the mapping.
        unsafe { start.cast::<u64>().write(7) };
        let memory = ResidentMemory::open(std::process::id()).expect("our own");
        assert_eq!(memory.u64(start as u64), Some(7));
        assert_eq!(memory.u64(start as u64 + bytes as u64 / 2), None);
        assert_eq!(memory.u64(u64::MAX), None);
        // SAFETY: as it was made.
        unsafe { munmap(start, bytes).expect("it was mapped") };
    }
}
