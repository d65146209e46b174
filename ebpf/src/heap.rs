//! Blocks that an allocator gave out and did not get back (`--heap`): sampled by bytes, so that most
//! allocations cost their probes and nothing else.
//!
//! A call is sampled, and its stack taken, at its entry: until then the return address is where unwinding
//! expects it, later the kernel's own trampoline stands there. The block is booked at the return, when its
//! address is known. Calls inside of a call (`mmap` by `malloc`) are the allocator's own business: the
//! outermost one counts, told by the stack pointer.

use crate::{
    aggregate, atomic,
    bank::Bank,
    config, loss,
    maps::{CONTROL, HEAP_BLOCKS, HEAP_BUSY, HEAP_COUNTS, HEAP_THREADS, SLOTS},
    registers,
    stack::{self, Taker},
    table, task,
};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_probe_read_user,
};
use core::ffi::c_void;
use remora_common::{
    aggregate::{AggregateKey, KIND_HEAP},
    heap::*,
    loss::Loss,
    thread::ThreadSlot,
};

/// `BPF_NOEXIST`, `BPF_ANY`: `include/uapi/linux/bpf.h`; what the former returns where there is one.
const NO_EXIST: u64 = 1;
const ANY: u64 = 0;
const EEXIST: i32 = -17;

/// From here on a returned address is an error number.
const ERRORS: u64 = 0u64.wrapping_sub(4096);

/// The calling thread, if a target's, while allocators are watched.
pub struct Caller {
    slot: &'static mut ThreadSlot,
    thread: &'static mut HeapThread,
    counts: &'static mut HeapCounts,
    began_ns: u64,
    longest_ns: u64,
}

impl Caller {
    #[inline(always)]
    pub fn find() -> Option<Self> {
        let index = table::index_of(bpf_get_current_pid_tgid() as u32);
        if index == 0 || !watching() {
            return None;
        }
        let slot = SLOTS.get_ptr_mut(index)?;
        let thread = HEAP_THREADS.get_ptr_mut(index)?;
        let counts = HEAP_COUNTS.get_ptr_mut(0)?;
        // SAFETY: live elements; the first two are of this thread, and of the third a program that interrupts
        // this one can cost a count.
        let (slot, thread, counts) = unsafe { (&mut *slot, &mut *thread, &mut *counts) };
        if thread.serial != slot.serial {
            thread.serial = slot.serial;
            thread.stage = STAGE_IDLE;
            thread.left = 0;
        }
        Some(Self {
            slot,
            thread,
            counts,
            // SAFETY: the helper has no preconditions.
            began_ns: unsafe { bpf_ktime_get_ns() },
            longest_ns: LONGEST_RUN_NS,
        })
    }

    /// Counts what it took.
    #[inline(always)]
    pub fn done(self) {
        // SAFETY: the helper has no preconditions.
        let took = unsafe { bpf_ktime_get_ns() }.wrapping_sub(self.began_ns);
        self.counts.run_ns += if took < self.longest_ns {
            took
        } else {
            self.longest_ns
        };
    }

    /// A function that frees `address` was entered.
    #[inline(always)]
    pub fn frees(&mut self, address: u64, stepped: u8) {
        self.counts.frees += 1;
        self.counts.stepped += stepped as u64;
        self.forget(address);
    }

    /// Removes a block, where it is one that was sampled.
    #[inline(always)]
    fn forget(&mut self, address: u64) {
        let key = self.key(address);
        // A look takes no lock, a removal does; most blocks were not sampled.
        if HEAP_BLOCKS.get_ptr(key).is_some() && HEAP_BLOCKS.remove(key).is_ok() {
            self.counts.sampled_freed += 1;
        }
    }

    #[inline(always)]
    fn key(&self, address: u64) -> BlockKey {
        BlockKey {
            address,
            tgid: self.slot.tgid,
            generation: self.slot.generation,
        }
    }

    /// A function that allocates was entered.
    #[inline(always)]
    pub fn entered(&mut self, stepped: u8) {
        self.counts.entries += 1;
        self.counts.stepped += stepped as u64;
    }

    /// It was, for `bytes`. `old` is the block that it gives up, `out` where it
    /// stores the address.
    #[inline(always)]
    pub fn enters(&mut self, context: *mut c_void, bytes: u64, old: u64, out: u64) {
        let Some(sp) = stack_pointer() else {
            return;
        };
        if self.thread.stage != STAGE_IDLE && self.thread.sp > sp {
            return;
        }
        if self.thread.stage == STAGE_SAMPLED {
            loss::count(Loss::HeapReturnMissed);
        }
        self.counts.bytes += bytes;
        self.thread.sp = sp;
        self.thread.out = out;
        self.thread.bytes = bytes;
        self.gives_up(old);
        self.thread.stage = STAGE_PASSED;
        if self.is_due(bytes) {
            self.counts.sampled += 1;
            self.longest_ns = LONGEST_SAMPLE_NS;
            self.thread.stage = STAGE_SAMPLED;
            self.thread.site = self.site(context, bytes);
        }
    }

    /// What `realloc` moves is gone from now on: once the allocator has it, another thread may be given it. It
    /// is remembered, for `realloc` may fail.
    #[inline(always)]
    fn gives_up(&mut self, old: u64) {
        self.thread.old_address = 0;
        if old == 0 {
            return;
        }
        let key = self.key(old);
        // SAFETY: the block is this thread's to give up.
        if let Some(block) = unsafe { HEAP_BLOCKS.get(key) } {
            self.thread.old = *block;
            self.thread.old_address = old;
            self.forget(old);
        }
    }

    /// Whether a sampled byte is among the next `bytes`.
    #[inline(always)]
    fn is_due(&mut self, bytes: u64) -> bool {
        if config::heap_sample() <= 1 {
            return true;
        }
        if self.thread.left == 0 {
            self.thread.left = draw();
        }
        if self.thread.left > bytes {
            self.thread.left -= bytes;
            return false;
        }
        self.thread.left = draw();
        true
    }

    /// The number of the caller's stack, 0 where it was not taken.
    #[inline(always)]
    fn site(&mut self, context: *mut c_void, bytes: u64) -> u64 {
        let Some(scratch) = Scratch::claim() else {
            loss::count(Loss::HeapStackDropped);
            return 0;
        };
        let site = self.site_in(context, bytes);
        scratch.release();
        site
    }

    #[inline(always)]
    fn site_in(&mut self, context: *mut c_void, bytes: u64) -> u64 {
        let Some(bank) = Bank::active() else {
            return 0;
        };
        if bank.aggregates() > config::aggregates_per_bank() as u64 / 4 * 3 {
            loss::count(Loss::HeapStackDropped);
            return 0;
        }
        let stacks = stack::take_user(context, Taker::Heap, self.slot, bank);
        let key = aggregate::key(self.slot, KIND_HEAP, stacks);
        // Numbers of stacks are used again in the next filling of the tables; this one is not.
        const K: u64 = 0xff51_afd7_ed55_8ccd;
        let mut site = (key.serial as u64 | (bank.epoch() as u64) << 32) ^ 0x9e37_79b9_7f4a_7c15;
        site = site.wrapping_mul(K);
        site ^= site >> 32;
        site = (site ^ (key.user as u64 | (key.python as u64) << 32)).wrapping_mul(K);
        site = (site ^ site >> 29) | 1;
        let key = AggregateKey {
            object: site,
            ..key
        };
        match aggregate::add(bank, &key, bytes) {
            Some(_) => site,
            None => 0,
        }
    }

    /// A function that allocates returned `value`.
    #[inline(always)]
    pub fn returns(&mut self, value: u64) {
        self.counts.returns += 1;
        let Some(sp) = stack_pointer() else {
            return;
        };
        // On x86-64 the return address is off the stack by now.
        let popped = if config::is_arm64() != 0 { 0 } else { 8 };
        if self.thread.stage == STAGE_IDLE || sp != self.thread.sp + popped {
            return;
        }
        let sampled = self.thread.stage == STAGE_SAMPLED;
        self.thread.stage = STAGE_IDLE;
        let address = self.address(value);
        if address == 0 || address >= ERRORS {
            self.failed();
        } else if sampled {
            self.book(address);
        }
    }

    #[inline(always)]
    fn address(&self, value: u64) -> u64 {
        if self.thread.out == 0 {
            return value;
        }
        if value as u32 != 0 {
            return 0;
        }
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_user(self.thread.out as *const u64) }.unwrap_or(0)
    }

    /// Nothing was allocated: what `realloc` gave up is still there, unless that was what it was called for.
    #[inline(always)]
    fn failed(&mut self) {
        if self.thread.old_address != 0 && self.thread.bytes != 0 {
            let key = self.key(self.thread.old_address);
            if HEAP_BLOCKS.insert(key, self.thread.old, ANY).is_ok() {
                self.counts.sampled_freed -= 1;
            }
        }
    }

    #[inline(always)]
    fn book(&mut self, address: u64) {
        let key = self.key(address);
        let block = Block {
            bytes: self.thread.bytes,
            // SAFETY: the helper has no preconditions.
            at_ns: unsafe { bpf_ktime_get_ns() },
            site: self.thread.site,
        };
        match HEAP_BLOCKS.insert(key, block, NO_EXIST) {
            Ok(()) => {}
            Err(EEXIST) => {
                loss::count(Loss::HeapFreeMissed);
                let _replaced = HEAP_BLOCKS.insert(key, block, ANY);
            }
            Err(_) => loss::count(Loss::HeapTableFull),
        }
    }
}

/// Whether allocators are watched: not before all probes are there, and not from the moment on that they are
/// taken away.
#[inline(always)]
fn watching() -> bool {
    // SAFETY: a live element.
    let control = |control: *const _| unsafe {
        let control: *const remora_common::aggregate::Control = control;
        (&raw const (*control).heap).read_volatile() != 0
    };
    CONTROL.get_ptr(0).is_some_and(control) && table::recording()
}

#[inline(always)]
fn stack_pointer() -> Option<u64> {
    Some(registers::of(task::current())?.all().sp)
}

#[inline(always)]
fn draw() -> u64 {
    // SAFETY: the helper has no preconditions.
    distance(unsafe { bpf_get_prandom_u32() }, config::heap_sample())
}

/// The right to use the scratch memory for stacks on this CPU. Programs of probes may be preempted in favour of
/// another thread, though not moved.
struct Scratch(*mut u64);

impl Scratch {
    #[inline(always)]
    fn claim() -> Option<Self> {
        let busy = HEAP_BUSY.get_ptr_mut(0)?;
        // SAFETY: an aligned word of a map value.
        let before = unsafe { atomic::compare_exchange(busy, 0, 1) };
        if before == 0 { Some(Self(busy)) } else { None }
    }

    #[inline(always)]
    fn release(self) {
        // SAFETY: as above; nobody else writes it while it is 1.
        unsafe { self.0.write_volatile(0) };
    }
}
