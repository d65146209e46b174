//! The rarely run part of a function that the compiler moved away from it, without symbols.
//!
//! With a profile, gcc takes what it found cold out of the evaluation loop, a quarter of it in the
//! builds of distributions, and puts it elsewhere as `_PyEval_EvalFrameDefault.cold`: a name that
//! `strip` removes. But the two halves jump into the middle of each other, which no two functions
//! do. So the jumps that leave the loop are looked at, with the bounds of functions from
//! `.eh_frame_hdr`. Bytes that only look like a jump lead somewhere at random: both directions are
//! asked for.

use std::ops::Range;

/// Functions of a file that are looked at.
const MAX_FUNCTIONS: usize = 1 << 20;
/// A longer loop, or part of one, is not looked at, in bytes.
const MAX_CODE: u64 = 4 << 20;
/// Parts that are looked at.
const MAX_PARTS: usize = 256;
/// The head of `.eh_frame_hdr`: version 1, then how three things are written; this is how all
/// linkers write them: a table of pairs of 4-byte offsets from the header, its length in 4 bytes.
const VERSION: u8 = 1;
const COUNT_UDATA4: u8 = 0x03;
const TABLE_DATAREL_SDATA4: u8 = 0x3b;
const HEAD: u64 = 12;

/// What is asked of a file: its bytes at an address, so many or none.
pub(super) trait Bytes {
    /// Reads `len` bytes at the file's own address.
    fn at(&self, address: u64, len: u64) -> Option<Vec<u8>>;
}

/// The instructions of a machine, as far as jumps go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    /// x86-64.
    X86,
    /// arm64.
    Arm,
}

/// The other parts of the function in `code`; `None` when that cannot be told. `header` is the
/// address of `.eh_frame_hdr`.
pub(super) fn parts(
    file: &impl Bytes,
    machine: Machine,
    header: u64,
    code: &Range<u64>,
) -> Option<Vec<Range<u64>>> {
    let functions = functions(file, header)?;
    let mut found: Vec<Range<u64>> = Vec::new();
    for target in jumps(file, machine, code)? {
        let function = function_of(&functions, target);
        let Some(function) = function.filter(|function| !code.contains(&function.start)) else {
            continue;
        };
        // A jump to the beginning of a function may be a tail call.
        if target != function.start && !found.contains(&function) && found.len() < MAX_PARTS {
            found.push(function);
        }
    }
    found.retain(|part| {
        let back = jumps(file, machine, part).unwrap_or_default();
        back.iter().any(|to| *to != code.start && code.contains(to))
    });
    Some(found)
}

/// Where functions begin, in order.
fn functions(file: &impl Bytes, header: u64) -> Option<Vec<u64>> {
    let head = file.at(header, HEAD)?;
    let &[
        VERSION,
        _,
        COUNT_UDATA4,
        TABLE_DATAREL_SDATA4,
        ..,
        a,
        b,
        c,
        d,
    ] = &head[..]
    else {
        return None;
    };
    let count = u32::from_le_bytes([a, b, c, d]);
    if count as usize > MAX_FUNCTIONS {
        return None;
    }
    let table = file.at(header.checked_add(HEAD)?, u64::from(count) * 8)?;
    let mut starts: Vec<u64> = table
        .chunks_exact(8)
        .map(|pair| header.wrapping_add_signed(offset(pair)))
        .collect();
    // They are sorted unless the file is damaged.
    starts.sort_unstable();
    Some(starts)
}

/// From the last beginning at or before `address` to the next.
fn function_of(functions: &[u64], address: u64) -> Option<Range<u64>> {
    let behind = functions.partition_point(|start| *start <= address);
    let start = *functions.get(behind.checked_sub(1)?)?;
    let end = *functions.get(behind)?;
    Some(start..end)
}

/// Where the jumps in `code` lead that lead out of it.
fn jumps(file: &impl Bytes, machine: Machine, code: &Range<u64>) -> Option<Vec<u64>> {
    let len = code.end.checked_sub(code.start)?;
    let bytes = file.at(code.start, Some(len).filter(|len| *len <= MAX_CODE)?)?;
    let mut targets: Vec<u64> = match machine {
        Machine::X86 => x86_jumps(&bytes, code.start).collect(),
        Machine::Arm => arm_jumps(&bytes, code.start).collect(),
    };
    targets.retain(|target| !code.contains(target));
    targets.sort_unstable();
    targets.dedup();
    Some(targets)
}

/// `jmp rel32` (E9) and `jcc rel32` (0F 80 to 0F 8F), wherever bytes look so.
fn x86_jumps(bytes: &[u8], start: u64) -> impl Iterator<Item = u64> {
    bytes.windows(6).zip(start..).filter_map(|(window, at)| {
        let (len, distance) = match window {
            [0xe9, distance @ ..] => (5, distance),
            [0x0f, 0x80..=0x8f, distance @ ..] => (6, distance),
            _ => return None,
        };
        Some(at.wrapping_add(len).wrapping_add_signed(offset(distance)))
    })
}

/// `b` (26 bits) and `b.cond`, `cbz`, `cbnz` (19 bits), in words.
fn arm_jumps(bytes: &[u8], start: u64) -> impl Iterator<Item = u64> {
    bytes
        .chunks_exact(4)
        .zip((start..).step_by(4))
        .filter_map(|(word, at)| {
            let word = u32::from_le_bytes(word.try_into().ok()?);
            let bits = match word >> 24 {
                0x14..=0x17 => word << 6,
                // The 19 bits stand above five others.
                0x54 | 0x34 | 0x35 | 0xb4 | 0xb5 => (word >> 5) << 13,
                _ => return None,
            };
            let shift = if word >> 26 == 5 { 6 } else { 13 };
            let words = i64::from(bits.cast_signed() >> shift);
            Some(at.wrapping_add_signed(words * 4))
        })
}

/// The signed number in the first four bytes.
fn offset(bytes: &[u8]) -> i64 {
    let bytes = bytes.first_chunk().copied().unwrap_or_default();
    i64::from(i32::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file whose address 0 is its first byte.
    struct Image(Vec<u8>);

    impl Bytes for Image {
        fn at(&self, address: u64, len: u64) -> Option<Vec<u8>> {
            let end = address.checked_add(len)?;
            let range = usize::try_from(address).ok()?..usize::try_from(end).ok()?;
            Some(self.0.get(range)?.to_vec())
        }
    }

    const HEADER: u64 = 0x400;
    const LOOP: Range<u64> = 0x100..0x200;

    /// A file with functions at 0x100 (the loop), 0x200 and 0x300, that have jumps.
    fn image(jumps: &[(u64, &[u8])]) -> Image {
        let mut bytes = vec![0; 0x500];
        for (at, code) in jumps {
            bytes[*at as usize..][..code.len()].copy_from_slice(code);
        }
        let mut table = vec![
            VERSION,
            0x1b,
            COUNT_UDATA4,
            TABLE_DATAREL_SDATA4,
            0,
            0,
            0,
            0,
        ];
        table.extend(4_u32.to_le_bytes());
        for start in [0x100, 0x200, 0x300, 0x380] {
            table.extend((start - HEADER as i32).to_le_bytes());
            table.extend([0; 4]);
        }
        bytes[HEADER as usize..][..table.len()].copy_from_slice(&table);
        Image(bytes)
    }

    /// Where the parts begin.
    fn found(machine: Machine, jumps: &[(u64, &[u8])]) -> Vec<u64> {
        let parts = parts(&image(jumps), machine, HEADER, &LOOP).unwrap();
        parts.into_iter().map(|part| part.start).collect()
    }

    #[test]
    fn halves_that_jump_into_each_other_are_one_function() {
        // je 0x310, and jmp 0x150.
        let out: (u64, &[u8]) = (0x120, &[0x0f, 0x84, 0xea, 0x01, 0, 0]);
        let back: (u64, &[u8]) = (0x320, &[0xe9, 0x2b, 0xfe, 0xff, 0xff]);
        assert_eq!(found(Machine::X86, &[out, back]), [0x300]);
        assert_eq!(found(Machine::X86, &[out]), [0_u64; 0]);
        assert_eq!(found(Machine::X86, &[back]), [0_u64; 0]);
    }

    #[test]
    fn a_tail_call_is_no_part() {
        // jmp 0x300 and jmp 0x100: a function and the loop call each other last.
        let out: (u64, &[u8]) = (0x120, &[0xe9, 0xdb, 0x01, 0, 0]);
        let back: (u64, &[u8]) = (0x320, &[0xe9, 0xdb, 0xfd, 0xff, 0xff]);
        assert_eq!(found(Machine::X86, &[out, back]), [0_u64; 0]);
    }

    #[test]
    fn arm_jumps_are_words() {
        // cbz x0, 0x310; b 0x150.
        let out = (0xb400_0000_u32 | (0x1f0 / 4) << 5).to_le_bytes();
        let back = (0x1400_0000 | ((-0x1d0 / 4) & 0x03ff_ffff_i32).cast_unsigned()).to_le_bytes();
        let jumps: [(u64, &[u8]); 2] = [(0x120, &out), (0x320, &back)];
        assert_eq!(found(Machine::Arm, &jumps), [0x300]);
    }

    proptest! {
        #[test]
        fn any_file_is_survived(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let mut file = image(&[]);
            let len = bytes.len();
            file.0[0x100..0x100 + len].copy_from_slice(&bytes);
            for machine in [Machine::X86, Machine::Arm] {
                let _ = parts(&file, machine, HEADER, &LOOP);
                let _ = parts(&file, machine, 0x200, &(0x100..u64::MAX));
            }
        }
    }
}
