//! Binary search without branches: the verifier follows each way through a branch, so that nine
//! plain comparisons would be 512 programs to it, and the CPU guesses half of them wrong.

use core::arch::asm;

/// Index of the last of 512 sorted elements whose key is not above `key`; 0 also when there is
/// none: the caller looks. Keys must be below 2^63; for another `key` the index is any.
///
/// # Safety
/// `at` must be readable for each index below 512.
#[inline(always)]
pub unsafe fn last_not_above(key: u64, at: impl Fn(u64) -> u64) -> u64 {
    // `x - key - 1` is negative if `x <= key`.
    let minus_key_minus_1 = !key;
    let index = half::<256>(0, minus_key_minus_1, &at);
    let index = half::<128>(index, minus_key_minus_1, &at);
    let index = half::<64>(index, minus_key_minus_1, &at);
    let index = half::<32>(index, minus_key_minus_1, &at);
    let index = half::<16>(index, minus_key_minus_1, &at);
    let index = half::<8>(index, minus_key_minus_1, &at);
    let index = half::<4>(index, minus_key_minus_1, &at);
    let index = half::<2>(index, minus_key_minus_1, &at);
    half::<1>(index, minus_key_minus_1, &at)
}

/// Looks `STEP` elements on, and goes there unless that is too far. Each step is taken once at the
/// most, so that the sum stays below 512.
///
/// The assembly keeps the compiler from making a branch of it, and from instructions that lead a
/// verifier astray. Before Linux 6.10 it forgets what it knew of a register that is combined with
/// another by `or` or `xor`, and the index is no longer bounded. Later ones follow both results of
/// `s>>= 63` and `&=` apart, as if that were a branch. Shifts and additions are followed by all.
#[inline(always)]
fn half<const STEP: u64>(index: u64, minus_key_minus_1: u64, at: &impl Fn(u64) -> u64) -> u64 {
    let advanced;
    // SAFETY: pure arithmetic.
    unsafe {
        asm!(
            "{difference} += {minus_key_minus_1}",
            "{difference} >>= 63",
            "{difference} <<= {shift}",
            "{index} += {difference}",
            difference = inout(reg) at(index + STEP) => _,
            index = inout(reg) index => advanced,
            minus_key_minus_1 = in(reg) minus_key_minus_1,
            shift = const STEP.trailing_zeros(),
            options(pure, nomem, nostack),
        );
    }
    advanced
}
