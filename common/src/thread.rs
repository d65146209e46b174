//! The thread state table: what each target thread does now and since when, and where its time
//! went so far. The kernel side writes it in place; the agent reads it through a memory mapping
//! at any time, without a system call and without waking anything.

use crate::reason::{REASONS, Reason};

/// The thread's state is not known yet: it was enlisted while it moved.
pub const STATE_UNKNOWN: u32 = 0;
/// On a CPU.
pub const STATE_RUNNING: u32 = 1;
/// Ready for its first CPU, after its birth.
pub const STATE_WOKEN: u32 = 2;
/// Ready, waiting for a CPU because another thread took it (or it yielded).
pub const STATE_PREEMPTED: u32 = 3;
/// Asleep for `reason`; or ready again, see [`ThreadSlot::is_woken`].
pub const STATE_BLOCKED: u32 = 4;
/// Gone: its slot waits to be collected.
pub const STATE_EXITED: u32 = 5;

/// The present wait began before the thread was enlisted, at `slept_at_ns`.
pub const FLAG_SINCE_INFERRED: u32 = 1;

/// Time and number of the waits of one thread for one reason.
///
/// Short means: under `min_block`. Long ones have a stack in the aggregate table.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct WaitTotals {
    /// Time in waits of at least `min_block`.
    pub long_ns: u64,
    /// Time in shorter ones.
    pub short_ns: u64,
    /// Number of long waits.
    pub long_count: u32,
    /// Number of short waits.
    pub short_count: u32,
}

/// Polls for events of one thread that were counted, asleep or not, in the time from `Control::polls_from_ns` on.
///
/// A stretch is the time from a poll, or from the return of one that slept, to the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct PollTotals {
    /// Number of polls.
    pub count: u64,
    /// When the last one was; before `Control::polls_from_ns`: none was, and the rest means nothing.
    pub last_ns: u64,
    /// The longest stretch that a poll ended.
    pub longest_ns: u64,
    /// Time in stretches that are as long as a late iteration.
    pub late_ns: u64,
}

/// Index in [`ThreadSlot::polls`] of polls in epoll.
pub const POLLS_EPOLL: usize = 0;
/// Of those in poll and select, with several descriptors.
pub const POLLS_POLL: usize = 1;

/// The longest way from a sleeper's decision to its switch-out; see [`ThreadSlot::wait_end_ns`].
pub const ALMOST_NS: u64 = 20_000;

/// [`ThreadSlot::migrations_before`] of a kernel that does not count them.
pub const MIGRATIONS_UNKNOWN: u32 = u32::MAX;

/// One target thread.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct ThreadSlot {
    /// Thread id in the initial PID namespace; 0 = free slot.
    pub tid: u32,
    /// Process id in the initial PID namespace.
    pub tgid: u32,
    /// Unique number of this thread in the capture: slots and tids are recycled, serials are not.
    pub serial: u32,
    /// Counts the `exec`s of the process: addresses belong to (process, generation).
    pub generation: u32,
    /// `STATE_*`. Together with `flags` an aligned 8-byte word, for a compare-and-swap.
    pub state: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// [`crate::reason::Reason`] while blocked: the last one otherwise.
    pub reason: u32,
    /// System call number while blocked, [`crate::reason::NO_SYSCALL`] for none.
    pub syscall: u32,
    /// When the present state began, or was seen first.
    pub since_ns: u64,
    /// When the present wait began at the latest, by the scheduler's clock (`Control::clock_ahead_ns`); 0 when that
    /// is not known. See `FLAG_SINCE_INFERRED`.
    pub slept_at_ns: u64,
    /// `se.nr_migrations` of its task when it was enlisted; [`MIGRATIONS_UNKNOWN`] where the kernel does not say.
    pub migrations_before: u32,
    /// Its element in the table of event loops, 0 = none.
    pub event_loop: u32,
    /// The thread that the memory of the lock names as its owner when the present wait began, as its
    /// process sees it; 0 = none. Unchecked: any number may stand there.
    pub lock_owner: u32,
    /// Where that was read, [`crate::futex`]'s `OWNER_*`.
    pub lock_owner_from: u32,
    /// The lock that another thread waits for and whose memory names this one as the owner; 0 = none.
    pub held_lock: u64,
    /// When the present iteration of its event loop began; 0 while it waits, and where that was not seen.
    pub busy_since_ns: u64,
    /// From here on time is counted: since the start of the capture, or of the thread.
    pub enlisted_ns: u64,
    /// System call arguments of the present (or last) wait.
    pub args: [u64; 6],
    /// Thread that woke it last, 0 = an interrupt or the idle task; valid after a wake-up.
    pub waker_tid: u32,
    /// Process of that thread.
    pub waker_tgid: u32,
    /// When that was; 0 once the thread is back on a CPU.
    pub woken_ns: u64,
    /// Even when the record is at rest, odd while it changes: a reader that sees one even value
    /// before and after has a consistent copy.
    pub sequence: u64,
    /// The long wait that just ended and has no stack yet, in ns; 0 = none.
    pub pending_ns: u64,
    /// User stack taken at switch-out (fallback hook only), 0 = none.
    pub pending_user: u32,
    /// Kernel stack taken at switch-out (fallback hook only), 0 = none.
    pub pending_kernel: u32,
    /// `Control::epoch` when they were taken: ids mean nothing in another epoch.
    pub pending_epoch: u32,
    /// Python stack taken at switch-out (fallback hook only), 0 = none.
    pub pending_python: u32,
    /// Address of the thread's Python thread state where it was found last; a small number counts
    /// down to the next search.
    pub python_thread: u64,
    /// Time on a CPU.
    pub on_cpu_ns: u64,
    /// Time ready but not running, after wake-ups.
    pub woken_wait_ns: u64,
    /// Time ready but not running, after preemptions and yields.
    pub preempted_wait_ns: u64,
    /// The longest single wait for a CPU.
    pub longest_run_queue_ns: u64,
    /// Number of waits for a CPU after wake-ups.
    pub woken_count: u32,
    /// Number of preemptions and yields.
    pub preempted_count: u32,
    /// Page faults so far.
    pub faults: u64,
    /// When one of them was sampled last.
    pub fault_sampled_ns: u64,
    /// Faults to the next sample.
    pub fault_left: u32,
    /// Faults that the next sample stands for.
    pub fault_weight: u32,
    /// The mean of what `fault_weight` was drawn from.
    pub fault_period: u32,
    /// The same when it was seen last: at the end of the capture, or at its exit.
    pub migrations_last: u32,
    /// Its polls while they are counted: in epoll, and in poll and select.
    pub polls: [PollTotals; 2],
    /// The thread's name, as of its exit (the agent reads living ones from `/proc`).
    pub comm: [u8; 16],
    /// Waits by reason.
    pub waits: [WaitTotals; REASONS],
}

const _: () = assert!(size_of::<ThreadSlot>() == 344 + 24 * REASONS);

impl ThreadSlot {
    /// How often the scheduler moved it to another CPU while it was watched.
    pub const fn migrations(&self) -> Option<u32> {
        match self.migrations_before {
            MIGRATIONS_UNKNOWN => None,
            before => Some(self.migrations_last.wrapping_sub(before)),
        }
    }

    /// Whether a thread in [`STATE_BLOCKED`] was woken and waits for its CPU.
    ///
    /// A wake-up that came while the sleeper was on its way off the CPU does not show here; the
    /// task itself tells (`TaskRecord::task_state`).
    #[inline(always)]
    pub const fn is_woken(&self) -> bool {
        self.woken_ns >= self.since_ns
    }

    /// When the wait ended of a thread that comes back; `None` when no wake-up was seen.
    ///
    /// One that came up to [`ALMOST_NS`] before the switch-out met the sleeper on its way: it never
    /// really slept.
    #[inline(always)]
    pub const fn wait_end_ns(&self) -> Option<u64> {
        if self.woken_ns >= self.since_ns {
            Some(self.woken_ns)
        } else if self.since_ns - self.woken_ns < ALMOST_NS {
            Some(self.since_ns)
        } else {
            None
        }
    }

    /// What the present wait is about, see [`crate::aggregate::AggregateKey::object`].
    #[inline(always)]
    pub const fn wait_object(&self) -> u64 {
        if self.reason == Reason::Futex as u32 {
            self.args[0]
        } else {
            0
        }
    }

    /// The form of the present wait, see [`crate::aggregate::AggregateKey::detail`].
    #[inline(always)]
    pub const fn wait_form(&self) -> u32 {
        if self.reason == Reason::Poll as u32 {
            return if self.args[1] > 1 { 2 } else { 1 };
        }
        if self.reason != Reason::Futex as u32 {
            return 0;
        }
        let expected = self.args[2] as u32;
        let expected = if expected > 3 { 3 } else { expected };
        self.args[1] as u32 & 0xffff | expected << 16
    }
}

/// Thread ids in one element of the table tid → slot.
pub const TIDS_PER_CHUNK: u32 = 2048;

/// One element of the table tid → slot: slot numbers, 0 = not a target.
///
/// A flat array instead of a hash map: the kernel's JIT inlines the look-up, so a context switch
/// of a thread that nobody watches costs two loads. Slot 0 is never used.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TidChunk {
    /// Slot of each thread id in this chunk.
    pub slot: [u16; TIDS_PER_CHUNK as usize],
}
