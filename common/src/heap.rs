//! Blocks that the targets allocate while their allocator is watched (`--heap`): what both sides know of
//! them, and how they are sampled.

/// Most blocks that are known at a time.
pub const BLOCKS: u32 = 1 << 17;

/// An allocation returns its address; which argument holds what is in a probe's cookie, four bits each: the
/// argument's number plus one, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// The size in bytes.
    pub size: u8,
    /// What the size is multiplied by (`calloc`).
    pub count: u8,
    /// A block that is given up for the new one (`realloc`).
    pub old: u8,
    /// Where the address is stored, which is returned otherwise (`posix_memalign`).
    pub out: u8,
    /// Not 0: `mmap`; only anonymous memory that can be used counts.
    pub mapping: u8,
    /// Not 0: the processor steps over the probe's instruction, which costs more.
    pub stepped: u8,
}

impl Arguments {
    /// As a probe's cookie.
    pub const fn cookie(self) -> u64 {
        self.size as u64
            | (self.count as u64) << 4
            | (self.old as u64) << 8
            | (self.out as u64) << 12
            | (self.mapping as u64) << 16
            | (self.stepped as u64) << 20
    }

    /// From a probe's cookie.
    #[inline(always)]
    pub const fn of(cookie: u64) -> Self {
        Self {
            size: (cookie & 15) as u8,
            count: (cookie >> 4 & 15) as u8,
            old: (cookie >> 8 & 15) as u8,
            out: (cookie >> 12 & 15) as u8,
            mapping: (cookie >> 16 & 15) as u8,
            stepped: (cookie >> 20 & 15) as u8,
        }
    }
}

/// Where a block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct BlockKey {
    /// Its address.
    pub address: u64,
    /// The process.
    pub tgid: u32,
    /// Generation of its address space.
    pub generation: u32,
}

/// A block that was sampled and is not freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Block {
    /// As many bytes as were asked for.
    pub bytes: u64,
    /// When, by `CLOCK_MONOTONIC` in nanoseconds.
    pub at_ns: u64,
    /// By whom: the object of an aggregate of `KIND_HEAP`; 0 where its stack was lost.
    pub site: u64,
}

/// No call of an allocator goes on.
pub const STAGE_IDLE: u32 = 0;
/// In a call that is not sampled.
pub const STAGE_PASSED: u32 = 1;
/// In a call that is.
pub const STAGE_SAMPLED: u32 = 2;

/// What a thread does in its allocator.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct HeapThread {
    /// The thread's serial: another one's element starts anew.
    pub serial: u32,
    /// `STAGE_*`.
    pub stage: u32,
    /// Bytes to the next sample, 0 = not drawn yet.
    pub left: u64,
    /// Stack pointer at the entry of the outermost call.
    pub sp: u64,
    /// What was asked for, in bytes.
    pub bytes: u64,
    /// Who asked, as in [`Block::site`].
    pub site: u64,
    /// Where the address will be stored, 0 = it is returned.
    pub out: u64,
    /// The block that `realloc` gave up, 0 = none that is known.
    pub old_address: u64,
    /// What it was: it is put back where `realloc` fails.
    pub old: Block,
}

const _: () = assert!(size_of::<HeapThread>() == 80);

/// What happened, counted by each CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct HeapCounts {
    /// Entries of functions that allocate.
    pub entries: u64,
    /// Their returns.
    pub returns: u64,
    /// Entries of functions that free.
    pub frees: u64,
    /// Of those entries, how many were at an instruction that the processor stepped over.
    pub stepped: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Allocations that were sampled.
    pub sampled: u64,
    /// Blocks of those that were freed.
    pub sampled_freed: u64,
    /// Run time of the programs, in nanoseconds. Programs of probes may be preempted, so each counts with
    /// [`LONGEST_RUN_NS`] or [`LONGEST_SAMPLE_NS`] at the most.
    pub run_ns: u64,
}

/// What a program without a sample takes at the most; some 200 ns are usual.
pub const LONGEST_RUN_NS: u64 = 4_000;

/// What one that takes a stack takes at the most; 3 to 30 µs are usual.
pub const LONGEST_SAMPLE_NS: u64 = 100_000;

impl HeapCounts {
    /// Adds another CPU's.
    pub fn add(&mut self, more: &Self) {
        self.entries += more.entries;
        self.returns += more.returns;
        self.frees += more.frees;
        self.stepped += more.stepped;
        self.bytes += more.bytes;
        self.sampled += more.sampled;
        self.sampled_freed += more.sampled_freed;
        self.run_ns += more.run_ns;
    }
}

/// Bytes to the next sample, drawn so that each byte is as likely as any other to be one: exponentially
/// distributed, `mean` in the mean, from 32 random bits. Never 0.
///
/// −ln(u) by the position of the highest bit and a parabola for the rest of the logarithm, which is right to
/// 0.8 % of a bit.
#[inline(always)]
pub fn distance(random: u32, mean: u64) -> u64 {
    /// ln 2 in 2^-16.
    const LN_2: u64 = 45_426;
    // In 2^-16: log2 of a number from 1 to 2^32.
    let number = (random as u64) + 1;
    let mut rest = number;
    let mut whole = 0;
    let mut step = 32;
    while step > 0 {
        if rest >> step != 0 {
            rest >>= step;
            whole += step;
        }
        step >>= 1;
    }
    // What is behind the highest bit, in 2^-16 of it.
    let part = if whole >= 16 {
        (number >> (whole - 16)) & 0xffff
    } else {
        (number << (16 - whole)) & 0xffff
    };
    let bow = (part * (65_536 - part)) >> 16;
    let log = ((whole as u64) << 16) + part + ((bow * 22_600) >> 16);
    let log = if log > 32 << 16 { 32 << 16 } else { log };
    let nats = (((32 << 16) - log) * LN_2) >> 16;
    let mean = if mean > 1 << 40 { 1 << 40 } else { mean };
    ((mean * nats) >> 16) + 1
}

#[cfg(feature = "loader")]
mod loader {
    // SAFETY: `repr(C)` of plain integers without padding.
    unsafe impl aya::Pod for super::BlockKey {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::Block {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::HeapThread {}
    // SAFETY: as above.
    unsafe impl aya::Pod for super::HeapCounts {}
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    #[test]
    fn a_cookie_says_again_what_was_put_in() {
        let arguments = Arguments {
            size: 2,
            count: 1,
            old: 15,
            out: 7,
            mapping: 1,
            stepped: 1,
        };
        assert_eq!(Arguments::of(arguments.cookie()), arguments);
        assert_eq!(Arguments::of(0), Arguments::default());
    }

    #[test]
    fn distances_are_exponential() {
        const MEAN: u64 = 65_536;
        const DRAWN: u32 = 1 << 16;
        let mut drawn: Vec<f64> = (0..DRAWN)
            .map(|at| distance((at << 16) + (1 << 15), MEAN) as f64)
            .collect();
        let mean = drawn.iter().sum::<f64>() / f64::from(DRAWN);
        assert!((mean / MEAN as f64 - 1.0).abs() < 0.005, "{mean}");
        drawn.sort_by(f64::total_cmp);
        for (quantile, expected) in [
            (0.1, 0.10536),
            (0.5, std::f64::consts::LN_2),
            (0.9, std::f64::consts::LN_10),
            (0.99, 4.605),
        ] {
            let found = drawn[(f64::from(DRAWN) * quantile) as usize] / MEAN as f64;
            // 0.8 % of a bit, and the steps of the quantiles.
            let error = 0.008 * std::f64::consts::LN_2 + 0.002 * expected;
            assert!((found - expected).abs() < error, "{quantile}: {found}");
        }
    }

    #[test]
    fn the_ends_of_the_range_are_distances_too() {
        assert_eq!(distance(u32::MAX, 1000), 1);
        assert!(distance(0, 1000) > 20_000);
        assert!(distance(0, u64::MAX) > 0);
        assert_eq!(distance(7, 0), 1);
    }
}
