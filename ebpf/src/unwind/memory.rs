//! Reads of the stack that is walked.

use crate::task::Task;
use aya_ebpf::helpers::generated::{bpf_copy_from_user_task, bpf_probe_read_user};
use core::{ffi::c_void, mem::MaybeUninit};
use remora_common::unwind::Stack;

/// Memory of a thread.
pub trait Memory: Copy {
    /// A search that found nothing need not be made again at once: there are many reads of this kind.
    const MAY_SKIP: bool;

    /// The agent wants to be told of mappings that it does not know: it does not when it asks itself.
    const TELLS: bool = Self::MAY_SKIP;

    /// Copies `size` bytes from `address` of the thread's memory to `to`.
    ///
    /// # Safety
    /// `to` must be writable for `size` bytes.
    unsafe fn copy(self, to: *mut c_void, size: u32, address: u64) -> bool;

    #[inline(always)]
    fn read<T: Copy>(self, address: u64) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the destination is a T, which the helper fills or zeroes.
        unsafe {
            if self.copy(value.as_mut_ptr().cast(), size_of::<T>() as u32, address) {
                Some(value.assume_init())
            } else {
                None
            }
        }
    }
}

/// The thread on this CPU. A page that is not there is not fetched: the read fails.
#[derive(Clone, Copy)]
pub struct Current;

impl Memory for Current {
    const MAY_SKIP: bool = true;

    #[inline(always)]
    unsafe fn copy(self, to: *mut c_void, size: u32, address: u64) -> bool {
        // SAFETY: the caller's promise; the helper checks the source.
        unsafe { bpf_probe_read_user(to, size, address as *const c_void) == 0 }
    }
}

/// A thread that sleeps, seen from a sleepable program.
#[derive(Clone, Copy)]
pub struct Other(pub Task);

impl Memory for Other {
    const MAY_SKIP: bool = false;

    #[inline(always)]
    unsafe fn copy(self, to: *mut c_void, size: u32, address: u64) -> bool {
        let Self(task) = self;
        // SAFETY: the caller's promise; a trusted task; the helper checks the source.
        unsafe {
            bpf_copy_from_user_task(to, size, address as *const c_void, task as *mut _, 0) == 0
        }
    }
}

/// A memory as the step wants it.
pub struct StackOf<M>(pub M);

impl<M: Memory> Stack for StackOf<M> {
    #[inline(always)]
    fn pair(&mut self, address: u64) -> Option<[u64; 2]> {
        self.0.read(address)
    }

    #[inline(always)]
    fn word(&mut self, address: u64) -> Option<u64> {
        self.0.read(address)
    }
}
