//! Memory of another process, read from outside. What stands in it was chosen by the target and
//! may change while it is read: whoever reads checks.

use super::proc_fs::speaker;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Memory that can be read at an address.
pub trait Memory {
    /// Fills `buffer` from `address` on; `None` when a part of it cannot be read.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()>;

    /// `N` bytes.
    fn bytes<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(address, &mut bytes)?;
        Some(bytes)
    }

    /// A word of 8 bytes: a pointer, a size.
    fn u64(&self, address: u64) -> Option<u64> {
        self.bytes(address).map(u64::from_ne_bytes)
    }

    /// A word of 4 bytes.
    fn u32(&self, address: u64) -> Option<u32> {
        self.bytes(address).map(u32::from_ne_bytes)
    }

    /// Up to `len` bytes: fewer when the readable memory ends earlier, none when it begins later.
    fn up_to(&self, address: u64, len: usize) -> Vec<u8> {
        const PAGE: u64 = 4096;
        let mut bytes = vec![0; len];
        if self.read(address, &mut bytes).is_some() {
            return bytes;
        }
        let mut got = 0;
        while got < len {
            let at = address.wrapping_add(got as u64);
            let step = ((PAGE - at % PAGE) as usize).min(len - got);
            if self.read(at, &mut bytes[got..got + step]).is_none() {
                break;
            }
            got += step;
        }
        bytes.truncate(got);
        bytes
    }
}

/// A living process's memory, `/proc/PID/mem`.
///
/// It stays that of the process that was opened: after an exec or the exit, reads fail.
#[derive(Debug)]
pub struct ProcessMemory(File);

impl ProcessMemory {
    /// Opens it.
    ///
    /// # Errors
    /// When there is no such process, or this one may not look into it.
    pub fn open(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{}/mem", speaker(pid))).map(Self)
    }
}

impl Memory for ProcessMemory {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        self.0.read_exact_at(buffer, address).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_read_and_the_null_page_is_not() {
        let words = [7_u64, 9];
        let memory = ProcessMemory::open(std::process::id()).unwrap();
        let at = words.as_ptr() as u64;
        assert_eq!((memory.u64(at), memory.u64(at + 8)), (Some(7), Some(9)));
        assert_eq!(memory.u64(0), None);
        assert_eq!(memory.u64(u64::MAX - 3), None);
        assert_eq!(memory.up_to(at, 16).len(), 16);
        assert_eq!(memory.up_to(u64::MAX - 3, 64).len(), 0);
    }
}
