//! ELF files from anywhere: compiling an unwind table, packing it and searching it ends, and the
//! tree finds what the table has.

#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_process::maps::Content;
use remora_process::unwind::{Limits, compile, find, pack};

fuzz_target!(|data: &[u8]| {
    let limits = Limits {
        section_bytes: 1 << 20,
        functions: 10_000,
        rows: 100_000,
    };
    let Ok(table) = compile(&Content::Bytes(data.into()), &limits) else {
        return;
    };
    assert_eq!(table.rows[0].pc, 0);
    assert!(table.rows.windows(2).all(|pair| pair[0].pc < pair[1].pc));
    let count = table.chunks() as u32;
    let mut chunks = Vec::new();
    let put = |number: u32, chunk: &_| {
        assert_eq!(number as usize, chunks.len());
        chunks.push(*chunk);
        Ok::<_, ()>(())
    };
    let Ok(Some(root)) = pack(&table, (0..count).collect(), put) else {
        panic!("a table of {} rows has no tree", table.rows.len());
    };
    for row in &table.rows {
        for pc in [row.pc, row.pc.wrapping_sub(1)] {
            let found = find(&root, pc, |number| chunks.get(number as usize).copied());
            assert_eq!(found, table.row(pc));
        }
    }
    let _ = table.bias(0x7f00_0000_0000, 4096, 0);
});
