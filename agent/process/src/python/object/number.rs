//! `int` and `float`.

use super::Objects;
use super::layout::VAR_SIZE;
use crate::memory::Memory;

/// Bits of a digit (`PyLong_SHIFT` on 64-bit machines).
const SHIFT: u32 = 30;
/// Where the digits begin, in all versions.
const DIGITS: u64 = 24;
/// `PyFloatObject.ob_fval`.
const FLOAT: u64 = 16;

impl<M: Memory> Objects<'_, M> {
    /// An `int` that is not negative and fits.
    pub fn unsigned(&self, object: u64) -> Option<u64> {
        if !self.type_of(object)?.is_a("int") {
            return None;
        }
        let tag = self.memory.u64(object.checked_add(VAR_SIZE)?)?;
        // 3.12 on: sign in the two lowest bits (0 positive, 1 zero, 2 negative), digits above 3.
        let digits = match (self.layout.tagged_int, tag & 3) {
            (false, _) => tag,
            (true, 0) => tag >> 3,
            (true, 1) => 0,
            (true, _) => return None,
        };
        // A negative `ob_size` is a huge number here.
        if digits > 3 {
            return None;
        }
        let mut value = 0_u128;
        for index in (0..digits).rev() {
            let digit = self.memory.u32(object.checked_add(DIGITS + 4 * index)?)?;
            value = (value << SHIFT) | u128::from(digit);
        }
        u64::try_from(value).ok()
    }

    /// An `int` of one digit, with its sign: what counters are.
    pub fn small(&self, object: u64) -> Option<i64> {
        if let Some(value) = self.unsigned(object) {
            return i64::try_from(value).ok();
        }
        if !self.type_of(object)?.is_a("int") {
            return None;
        }
        let tag = self.memory.u64(object.checked_add(VAR_SIZE)?)?;
        // One digit: `ob_size` -1; 3.12 on: the sign bits 2, the number of digits above 3.
        let negative = match self.layout.tagged_int {
            false => tag == u64::MAX,
            true => tag == (1 << 3) | 2,
        };
        let digit = self.memory.u32(object.checked_add(DIGITS)?)?;
        (negative && digit < 1 << SHIFT).then_some(-i64::from(digit))
    }

    /// A `float`.
    pub fn float(&self, object: u64) -> Option<f64> {
        if !self.type_of(object)?.is_a("float") {
            return None;
        }
        self.memory
            .u64(object.checked_add(FLOAT)?)
            .map(f64::from_bits)
    }
}
