//! Event loops: how long each iteration of a thread's loop took, from its return from the wait for
//! events to its next wait.

/// Loops are not followed.
pub const LOOP_OFF: u32 = 0;
/// Iterations end where the thread falls asleep in its wait: polls that did not block are not seen, so
/// an iteration may be several.
pub const LOOP_BLOCKED: u32 = 1;
/// Iterations end where the thread enters its wait, asleep or not.
pub const LOOP_EXACT: u32 = 2;

/// Buckets of a histogram: 16 for each power of two, from 4 ns to 34 s.
pub const LOOP_BUCKETS: usize = 512;

/// What an iteration did before it was late, remembered at the most: samples and long waits.
pub const LOOP_PENDING: usize = 32;

/// Loops in the table; element 0 is never used.
pub const LOOPS: u32 = 1024;

/// Something that the present iteration did: one more of an aggregate.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Pending {
    /// Index of the aggregate.
    pub aggregate: u32,
    /// `Control::epoch` when that was: an index means nothing in another epoch.
    pub epoch: u32,
    /// Length of the wait; 0 of a sample.
    pub ns: u64,
}

/// The loop of one thread. All figures only grow.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct EventLoop {
    /// The thread's serial.
    pub serial: u32,
    /// [`crate::reason::Reason`] of its waits: epoll, or poll as long as it uses no epoll.
    pub kind: u32,
    /// Waits for events that were entered (blocked mode: that blocked).
    pub waits: u64,
    /// Waits that ended without an event; exact mode only.
    pub timeouts: u64,
    /// Events that they returned; exact mode only.
    pub events: u64,
    /// Iterations that ended.
    pub iterations: u64,
    /// Those over the threshold.
    pub late: u64,
    /// Time in all iterations.
    pub busy_ns: u64,
    /// The longest.
    pub max_ns: u64,
    /// Time in late iterations.
    pub late_ns: u64,
    /// Of that, ready but without a CPU.
    pub late_queued_ns: u64,
    /// The thread's whole time without a CPU when the present iteration began.
    pub queued_before_ns: u64,
    /// Elements of `pending` that are valid.
    pub pending_len: u32,
    /// The epoll descriptor of the last wait that blocked.
    pub epoll_fd: u32,
    /// What the present iteration did so far.
    pub pending: [Pending; LOOP_PENDING],
    /// Iterations by length, see [`bucket`].
    pub buckets: [u32; LOOP_BUCKETS],
}

const _: () = assert!(size_of::<EventLoop>() == 96 + 16 * LOOP_PENDING + 4 * LOOP_BUCKETS);

/// The bucket of a length: 16 to each power of two, so a bucket is at most a sixteenth wide.
#[inline(always)]
pub const fn bucket(ns: u64) -> usize {
    let value = ns >> 2;
    if value < 16 {
        return value as usize;
    }
    // log2 by halves: BPF has no instruction for it.
    let (mut rest, mut log) = (value, 0);
    let mut step = 32;
    while step > 0 {
        if rest >> step != 0 {
            rest >>= step;
            log += step;
        }
        step >>= 1;
    }
    let index = (log - 3) * 16 + ((value >> (log - 4)) & 15);
    if index < LOOP_BUCKETS as u64 {
        index as usize
    } else {
        LOOP_BUCKETS - 1
    }
}

/// The shortest length in a bucket, in nanoseconds.
pub const fn bucket_floor_ns(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 16 {
        return bucket << 2;
    }
    let log = bucket / 16 + 3;
    ((16 + bucket % 16) << (log - 4)) << 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_begins_where_the_one_before_ends() {
        for index in 0..LOOP_BUCKETS - 1 {
            let (floor, next) = (bucket_floor_ns(index), bucket_floor_ns(index + 1));
            assert!(floor < next, "{index}");
            assert_eq!((bucket(floor), bucket(next - 1)), (index, index));
            assert!((next - floor) * 16 <= next.max(64), "{index} is too wide");
        }
        assert_eq!(bucket(u64::MAX), LOOP_BUCKETS - 1);
    }
}
