//! Code that linkers and C libraries write without call frame information, told by its
//! instructions: procedure linkage tables, and the return from a signal handler.
//!
//! GNU ld describes its tables, LLD and mold do not, nor anybody the ones of static programs
//! (indirect functions) or of arm64. musl's `__restore_rt` has no description, Go's one is that of
//! a plain function, and Linux removed that of arm64's vDSO in 5.10 because libgcc misread it.

use super::image::{Image, Piece};
use super::rule::{Cause, Rule};
use crate::elf::read;
use crate::maps::Content;
use memchr::memmem::Finder;

/// Bytes of code that are searched for a return from a signal, in a file at the most.
const MAX_SEARCHED: u64 = 64 << 20;
/// Bytes that are searched at a time.
const CHUNK: u64 = 1 << 20;
/// Returns from signals that are believed, in a file.
const MAX_SIGNAL_RETURNS: usize = 16;

/// `mov $15, %rax; syscall`.
const SIGNAL_RETURN_X86_64: &[u8] = &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
/// `mov x8, #139; svc #0`.
const SIGNAL_RETURN_ARM64: &[u8] = &[0x68, 0x11, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4];

/// Bytes of a PLT entry (all forms on x86-64 but `.plt.got`'s, of which two fit).
const ENTRY: usize = 16;
/// Bytes of the first PLT entry on arm64.
const HEAD_ARM64: u64 = 32;
/// `stp x16, x30, [sp, #-16]!`.
const PUSH_ARM64: [u8; 4] = [0xf0, 0x7b, 0xbf, 0xa9];

/// Code whose rules are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stub {
    pub address: u64,
    pub len: u64,
    /// It returns from a signal, whatever call frame information says of it.
    pub is_signal_return: bool,
    /// Offsets that rules hold from, by offset; the first is 0.
    rules: Vec<(u64, Rule)>,
}

impl Stub {
    /// Shows `emit` each piece of `range`, in order.
    pub(super) fn rules(
        &self,
        (start, end): (u64, u64),
        mut emit: impl FnMut(u64, u64, Result<Rule, Cause>),
    ) {
        let ends = self.rules.iter().skip(1).map(|(offset, _)| *offset);
        let ends = ends.chain([self.len]);
        for ((offset, rule), behind) in self.rules.iter().zip(ends) {
            let from = self.address.saturating_add(*offset).max(start);
            let to = self.address.saturating_add(behind).min(end);
            if from < to {
                emit(from, to, Ok(*rule));
            }
        }
    }
}

/// The stubs of a file.
pub(super) fn stubs(image: &Image, content: &Content) -> Vec<Stub> {
    let tables = image.plts.iter().map(|plt| Stub {
        address: plt.address,
        len: plt.bytes.len() as u64,
        is_signal_return: false,
        rules: if image.machine.is_arm64 {
            plt_arm64(&plt.bytes)
        } else {
            plt_x86_64(plt)
        },
    });
    let mut stubs: Vec<_> = tables.collect();
    // A program that has a libc uses the libc's.
    if image.stands_alone {
        stubs.extend(signal_returns(image, content));
    }
    stubs
}

fn plt_x86_64(plt: &Piece) -> Vec<(u64, Rule)> {
    let aligned = plt.address.is_multiple_of(ENTRY as u64);
    let mut rules: Vec<(u64, Rule)> = Vec::new();
    let mut push = |offset: usize, rule: Rule| {
        if rules.last().is_none_or(|(_, last)| *last != rule) {
            rules.push((offset as u64, rule));
        }
    };
    for (index, entry) in plt.bytes.chunks(ENTRY).enumerate() {
        let offset = index * ENTRY;
        match entry_x86_64(entry) {
            Entry::Head => {
                push(offset, Rule::sp(2));
                // Behind its `push`, of 6 bytes.
                push(offset + 6, Rule::sp(3));
            }
            Entry::Pushes(from) if aligned => push(offset, Rule::plt(from)),
            Entry::Jumps => push(offset, Rule::sp(1)),
            Entry::Pushes(_) | Entry::Unknown => push(offset, Rule::NONE),
        }
    }
    rules
}

/// What a PLT entry of x86-64 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// The first: pushes the link map on top of an entry's index, jumps to the dynamic linker.
    Head,
    /// Pushes its index; from this byte on that has been done.
    Pushes(i16),
    /// Jumps, and leaves the stack alone.
    Jumps,
    Unknown,
}

/// The forms of binutils (`elf_x86_64_lazy_plt_entry` and its kin in `bfd/elf64-x86-64.c`), of LLD
/// (`lld/ELF/Arch/X86_64.cpp`) and of mold (`src/arch-x86-64.cc`).
fn entry_x86_64(entry: &[u8]) -> Entry {
    const ENDBR64: &[u8] = &[0xf3, 0x0f, 0x1e, 0xfa];
    const BND: &[u8] = &[0xf2];
    let code = entry.strip_prefix(ENDBR64).unwrap_or(entry);
    // `mov $index, %r11d`
    let code = match code {
        [0x41, 0xbb, _, _, _, _, rest @ ..] => rest,
        _ => code,
    };
    let code = code.strip_prefix(BND).unwrap_or(code);
    match code {
        // push *link_map(%rip)
        [0xff, 0x35, ..] if code.len() == entry.len() => Entry::Head,
        // push $index
        [0x68, ..] => Entry::Pushes((entry.len() - code.len() + 5) as i16),
        // jmp *slot(%rip); push $index
        [0xff, 0x25, _, _, _, _, 0x68, ..] => Entry::Pushes((entry.len() - code.len() + 11) as i16),
        [0xff, 0x25, ..] => Entry::Jumps,
        _ => Entry::Unknown,
    }
}

/// The head saves the link register, entries only jump (`elfNN_aarch64_small_plt0_entry` of
/// binutils `bfd/elfnn-aarch64.c`; before it may stand a `bti`).
fn plt_arm64(bytes: &[u8]) -> Vec<(u64, Rule)> {
    let first = bytes
        .chunks_exact(4)
        .take(2)
        .position(|word| word == PUSH_ARM64);
    let Some(first) = first else {
        return vec![(0, Rule::sp(0))];
    };
    vec![
        (0, Rule::sp(0)),
        (first as u64 * 4 + 4, Rule::sp_with_return_address(2, -1)),
        (HEAD_ARM64, Rule::sp(0)),
    ]
}

/// Instructions that can only return from a signal: the kernel takes the stack pointer for the
/// address of a signal frame wherever they run, so no function around them changes their meaning.
///
/// A handler returns to the first of them, and a caller is looked up by the byte before its return
/// address: that byte belongs to it.
fn signal_returns(image: &Image, content: &Content) -> Vec<Stub> {
    let pattern = if image.machine.is_arm64 {
        SIGNAL_RETURN_ARM64
    } else {
        SIGNAL_RETURN_X86_64
    };
    let finder = Finder::new(pattern);
    let overlap = pattern.len() as u64 - 1;
    let (mut found, mut left) = (Vec::new(), MAX_SEARCHED);
    for segment in image.code() {
        let size = segment.size.min(left);
        left -= size;
        let mut at = 0;
        while at < size && found.len() < MAX_SIGNAL_RETURNS {
            let len = (CHUNK + overlap).min(size - at);
            let Some(bytes) = read(content, (segment.offset.saturating_add(at), len), len) else {
                break;
            };
            found.extend(finder.find_iter(&bytes).map(|place| Stub {
                address: (segment.address + at + place as u64).saturating_sub(1),
                len: pattern.len() as u64 + 1,
                is_signal_return: true,
                rules: vec![(0, Rule::SIGNAL)],
            }));
            at += CHUNK;
        }
    }
    found.truncate(MAX_SIGNAL_RETURNS);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_x86_64_are_told_apart() {
        let entry = |bytes: &[u8]| {
            let mut padded = bytes.to_vec();
            padded.resize(ENTRY, 0x90);
            entry_x86_64(&padded)
        };
        let jump = [0xff, 0x25, 1, 2, 3, 4];
        let push = [0x68, 1, 0, 0, 0];
        let endbr = [0xf3, 0x0f, 0x1e, 0xfa];
        assert_eq!(entry(&[0xff, 0x35, 1, 2, 3, 4, 0xff, 0x25]), Entry::Head);
        assert_eq!(entry(&[&jump[..], &push].concat()), Entry::Pushes(11));
        assert_eq!(entry(&[&endbr[..], &push].concat()), Entry::Pushes(9));
        assert_eq!(
            entry(&[&push[..], &[0xf2, 0xe9]].concat()),
            Entry::Pushes(5)
        );
        assert_eq!(entry(&jump), Entry::Jumps);
        assert_eq!(entry(&[&endbr[..], &[0xf2], &jump].concat()), Entry::Jumps);
        let mold = [&endbr[..], &[0x41, 0xbb, 1, 0, 0, 0], &jump].concat();
        assert_eq!(entry(&mold), Entry::Jumps);
        assert_eq!(entry(&[0xcc]), Entry::Unknown);
        assert_eq!(entry_x86_64(&[]), Entry::Unknown);
    }

    #[test]
    fn a_table_of_arm64_saves_the_link_register_in_its_head() {
        let mut bytes = vec![0x5f, 0x24, 0x03, 0xd5];
        bytes.extend(PUSH_ARM64);
        bytes.resize(64, 0);
        let expected = [
            (0, Rule::sp(0)),
            (8, Rule::sp_with_return_address(2, -1)),
            (32, Rule::sp(0)),
        ];
        assert_eq!(plt_arm64(&bytes), expected);
    }
}
