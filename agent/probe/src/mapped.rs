//! A BPF array's own memory, mapped: reading the thread table costs no system call and wakes
//! nobody.

use super::ProbeError;
use bytemuck::Pod;
use memmap2::{MmapOptions, MmapRaw};
use std::{marker::PhantomData, os::fd::AsRawFd};

/// A `BPF_F_MMAPABLE` array of `T`, whose size is a multiple of 8.
pub(crate) struct Mapped<T> {
    memory: MmapRaw,
    len: usize,
    _element: PhantomData<T>,
}

impl<T: Pod> Mapped<T> {
    /// Maps `len` elements of the map behind `fd`.
    pub(crate) fn new(fd: &impl AsRawFd, len: u32, map: &'static str) -> Result<Self, ProbeError> {
        const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() <= 8) };
        let len = len as usize;
        let memory = MmapOptions::new()
            .len(len * size_of::<T>())
            .map_raw(fd.as_raw_fd())
            .map_err(|error| ProbeError::Map {
                map,
                why: error.to_string(),
            })?;
        Ok(Self {
            memory,
            len,
            _element: PhantomData,
        })
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Address of an element.
    pub(crate) fn element(&self, index: usize) -> *mut T {
        assert!(index < self.len, "element {index} of {}", self.len);
        // SAFETY: inside the mapping, which is page-aligned and lives as long as self.
        unsafe { self.memory.as_mut_ptr().cast::<T>().add(index) }
    }

    /// A copy of an element, as it is at this moment.
    pub(crate) fn read(&self, index: usize) -> T {
        // SAFETY: a live, aligned element of plain data; the kernel may change it meanwhile, hence
        // volatile: any bytes are a valid T.
        unsafe { self.element(index).read_volatile() }
    }

    /// Overwrites an element that the kernel side does not write at the moment.
    pub(crate) fn put(&self, index: usize, value: T) {
        // SAFETY: a live, aligned element.
        unsafe { self.element(index).write_volatile(value) };
    }
}
