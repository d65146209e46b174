//! From an instruction to its line: the three formats that CPython has had.
//!
//! All are runs of small entries, each of which covers some bytes of code and moves the line;
//! `Objects/lnotab_notes.txt` describes the first two, `Objects/locations.md` (3.11) and
//! `InternalDocs/code_objects.md` the last. A damaged table gives a wrong line or none.

use crate::python::layout::LineFormat;

/// The line of a pair that has none.
const NO_LINE: u8 = 0x80;
/// Marks the first byte of a location entry.
const FIRST: u8 = 0x80;
/// Codes of location entries (`_PyCodeLocationInfoKind`).
const ONE_LINE: std::ops::RangeInclusive<u8> = 10..=12;
const NO_COLUMNS: u8 = 13;
const LONG: u8 = 14;
const NONE: u8 = 15;
/// Bytes of an instruction word.
const UNIT: u64 = 2;

/// The line of the byte at `offset` of a code that begins in `first_line`; `None` for one without.
pub fn line(format: LineFormat, table: &[u8], first_line: i32, offset: u32) -> Option<u32> {
    let first_line = i64::from(first_line);
    let line = match format {
        LineFormat::Lnotab => lnotab(table, first_line, offset.into()),
        LineFormat::Pairs => pairs(table, first_line, offset.into())?,
        LineFormat::Locations => locations(table, first_line, offset.into())?,
    };
    u32::try_from(line).ok()
}

fn signed(byte: u8) -> i64 {
    i64::from(byte.cast_signed())
}

fn lnotab(table: &[u8], first_line: i64, offset: u64) -> i64 {
    let mut line = first_line;
    let mut at = 0;
    for pair in table.chunks_exact(2) {
        at += u64::from(pair[0]);
        if at > offset {
            break;
        }
        line += signed(pair[1]);
    }
    line
}

fn pairs(table: &[u8], first_line: i64, offset: u64) -> Option<i64> {
    let mut line = first_line;
    let mut end = 0;
    for pair in table.chunks_exact(2) {
        end += u64::from(pair[0]);
        let has_line = pair[1] != NO_LINE;
        if has_line {
            line += signed(pair[1]);
        }
        if offset < end {
            return has_line.then_some(line);
        }
    }
    None
}

fn locations(table: &[u8], first_line: i64, offset: u64) -> Option<i64> {
    let mut line = first_line;
    let mut end = 0;
    let mut rest = table;
    while let Some((&head, behind)) = rest.split_first() {
        end += (u64::from(head & 7) + 1) * UNIT;
        let code = head >> 3 & 15;
        // A damaged table may make sums as large as it likes.
        line = line.wrapping_add(moved(code, behind));
        if offset < end {
            return (code != NONE).then_some(line);
        }
        let len = behind.iter().take_while(|byte| **byte & FIRST == 0).count();
        rest = &behind[len..];
    }
    None
}

/// How far an entry moves the line.
fn moved(code: u8, behind: &[u8]) -> i64 {
    match code {
        LONG | NO_COLUMNS => {
            let number = varint(behind);
            let size = (number >> 1).cast_signed();
            if number & 1 == 0 { size } else { -size }
        }
        _ if ONE_LINE.contains(&code) => i64::from(code - ONE_LINE.start()),
        _ => 0,
    }
}

/// Six bits a byte, the lowest first; another follows where bit 6 is set.
fn varint(bytes: &[u8]) -> u64 {
    let mut value = 0;
    let mut shift = 0;
    for byte in bytes {
        value |= u64::from(byte & 0x3f).checked_shl(shift).unwrap_or(0);
        if byte & 0x40 == 0 {
            break;
        }
        shift = shift.saturating_add(6);
    }
    value
}
