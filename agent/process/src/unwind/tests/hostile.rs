//! Files that were made to hurt: whatever they say, the answer is an error or a sound table.

use super::image::{BASE, Builder, CALLED, debug_frame};
use crate::maps::Content;
use crate::unwind::{Cause, Limits, Table, compile};
use proptest::prelude::*;
use std::time::{Duration, Instant};

fn image() -> Vec<u8> {
    let function = [
        0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6, 0x0a, 0x4a, 0x0c, 7, 8, 0xc6, 0x41, 0x0b,
    ];
    let realigned = [0x10, 6, 2, 0x76, 0, 0x0f, 3, 0x76, 0x78, 0x06];
    let debug = debug_frame(&[(0, 48, &[0x0e, 24]), (256, 16, &[0x0e, 40])]);
    let plt = [0xff, 0x25, 0, 0, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0];
    let image = Builder::x86_64()
        .common("zR", CALLED)
        .function(0x20, 40, &function);
    image
        .function(0x60, 16, &realigned)
        .common("zRS", CALLED)
        .function(0x80, 16, &[])
        .terminator()
        .section(".debug_frame", 0, 0, debug)
        .section(".plt", 6, BASE + 0x100, plt.to_vec())
        .build()
}

/// What each reader of a table relies on.
fn assert_sound(table: &Table) {
    assert_eq!(table.rows[0].pc, 0);
    assert!(table.rows.windows(2).all(|pair| pair[0].pc < pair[1].pc));
    assert!(table.rows[table.rows.len() - 1].pc < u32::MAX);
}

fn compile_bytes(bytes: Vec<u8>) {
    let limits = Limits {
        section_bytes: 1 << 20,
        functions: 1000,
        rows: 1000,
    };
    if let Ok(table) = compile(&Content::Bytes(bytes.into()), &limits) {
        assert_sound(&table);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn damaged_files_are_survived(
        damage in proptest::collection::vec((0_usize..0x300, any::<u8>()), 1..12),
        far in proptest::collection::vec((0x1f00_usize..0x2400, any::<u8>()), 0..4),
        keep in 0_usize..0x2800,
        cut: bool,
    ) {
        let mut image = image();
        for (at, value) in damage.into_iter().chain(far) {
            if let Some(byte) = image.get_mut(at) {
                *byte = value;
            }
        }
        if cut {
            image.truncate(keep);
        }
        compile_bytes(image);
    }

    #[test]
    fn any_instructions_are_survived(
        initial in proptest::collection::vec(any::<u8>(), 0..24),
        instructions in proptest::collection::vec(any::<u8>(), 0..64),
        arm64: bool,
    ) {
        let builder = if arm64 { Builder::arm64() } else { Builder::x86_64() };
        let image = builder.common("zR", &initial).function(0, 4000, &instructions);
        compile_bytes(image.build());
    }
}

/// A `.eh_frame` in the making, with absolute addresses.
#[derive(Default)]
struct Frames(Vec<u8>);

impl Frames {
    /// A common entry with these instructions.
    fn common(&mut self, instructions: &[u8]) {
        self.entry(0, &[&[1, 0, 1, 0x78, 16], instructions].concat());
    }

    /// A function of 16 bytes with the common entry at an offset.
    fn function(&mut self, common: usize, instructions: &[u8]) {
        let back = (self.0.len() + 4 - common) as u32;
        let range = [BASE.to_le_bytes(), 16_u64.to_le_bytes()].concat();
        self.entry(back, &[&range, instructions].concat());
    }

    fn entry(&mut self, id: u32, body: &[u8]) {
        self.0.extend((body.len() as u32 + 4).to_le_bytes());
        self.0.extend(id.to_le_bytes());
        self.0.extend(body);
    }

    /// Compiles it, within the time that a linear reader takes: unoptimised and on a busy machine
    /// a few seconds for megabytes, where what is quadratic takes minutes.
    fn compile(self) -> Table {
        let image = Builder::x86_64().section(".eh_frame", 2, 0x20_0000, self.0);
        let content = Content::Bytes(image.build().into());
        let begin = Instant::now();
        let table = compile(&content, &Limits::default()).unwrap();
        assert_sound(&table);
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{:?}",
            begin.elapsed()
        );
        table
    }
}

#[test]
fn a_long_common_entry_is_executed_once() {
    let mut frames = Frames::default();
    frames.common(&[0; 4000]);
    let functions = 400_000;
    for _ in 0..functions {
        frames.function(0, &[]);
    }
    assert_eq!(frames.compile().stats.functions, functions);
}

#[test]
fn common_entries_that_overlap_are_not_each_executed_to_the_end() {
    const COUNT: usize = 60_000;
    // Each is an operand of the one before, which therefore reads on behind it.
    let mut nested = Vec::new();
    for place in 0..COUNT {
        let header = 13;
        let length = (COUNT - place) * (header + 2) - 6;
        nested.extend([0x0f, header as u8]);
        nested.extend((length as u32).to_le_bytes());
        nested.extend([0, 0, 0, 0, 1, 0, 1, 0x78, 16]);
    }
    let mut frames = Frames(nested.split_off(2));
    nested.clear();
    for place in 0..COUNT {
        frames.function(place * 15, &[]);
    }
    let table = frames.compile();
    let lost = table.stats.malformed;
    assert!(
        lost > COUNT - 1000 && table.stats.functions + lost >= COUNT,
        "{:?}",
        table.stats
    );
}

#[test]
fn common_entries_are_counted() {
    let mut frames = Frames::default();
    let count = (1 << 16) + 5;
    for _ in 0..count {
        let common = frames.0.len();
        frames.common(&[]);
        frames.function(common, &[]);
    }
    assert_eq!(frames.compile().stats.malformed, 5);
}

#[test]
fn remembered_states_are_bounded() {
    let mut frames = Frames::default();
    frames.common(CALLED);
    frames.function(0, &[[0x0a, 0x0b]; 1 << 20].concat());
    assert_eq!(frames.compile().rows.len(), 2);
    let mut frames = Frames::default();
    frames.common(CALLED);
    frames.function(0, &[0x0a; 4 << 20]);
    let table = frames.compile();
    let lost = table
        .stats
        .unsupported()
        .find(|(_, share)| share.pieces > 0);
    assert_eq!(lost.unwrap().0, Cause::Malformed);
}

#[test]
fn a_section_of_terminators_ends() {
    assert_eq!(Frames(vec![0; 4 << 20]).compile().rows.len(), 1);
}
