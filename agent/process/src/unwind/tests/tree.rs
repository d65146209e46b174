//! Tables as search trees.

use super::image::Builder;
use crate::maps::Content;
use crate::unwind::{Limits, Root, Table, compile, find, pack};
use proptest::prelude::*;
use remora_common::unwind::{CFA_SP, CHUNK_ENTRIES, Chunk, Row};
use std::collections::HashMap;

/// A table of `count` rows, `step` bytes apart.
fn table(count: u32, step: u32) -> Table {
    let rows = (0..count).map(|place| Row {
        pc: place * step,
        cfa_offset: (place % 30_000) as i16,
        fp_offset: 0,
        rule: CFA_SP,
    });
    let content = Content::Bytes(Builder::x86_64().build().into());
    let mut table = compile(&content, &Limits::default()).unwrap();
    table.rows = rows.collect();
    table
}

/// Packs a table into chunks whose numbers are not in order.
fn packed(table: &Table) -> (Root, HashMap<u32, Chunk>) {
    let numbers = (0..table.chunks() as u32)
        .map(|number| 1000 - number * 3 % 997)
        .collect();
    let mut chunks = HashMap::new();
    let root = pack(table, numbers, |number, chunk| {
        let twice = chunks.insert(number, *chunk);
        assert!(twice.is_none(), "chunk {number} was written twice");
        Ok::<_, ()>(())
    });
    (root.unwrap().unwrap(), chunks)
}

fn depth_and_chunks(count: u32) -> (u32, usize) {
    let (root, chunks) = packed(&table(count, 1));
    assert_eq!(chunks.len(), root.chunks.len());
    (root.depth, chunks.len())
}

#[test]
fn depth_and_number_of_chunks() {
    let full = CHUNK_ENTRIES as u32;
    assert_eq!(depth_and_chunks(1), (1, 1));
    assert_eq!(depth_and_chunks(full), (1, 1));
    assert_eq!(depth_and_chunks(full + 1), (2, 3));
    assert_eq!(depth_and_chunks(full * full), (2, 513));
    assert_eq!(depth_and_chunks(full * full + 1), (3, 513 + 2 + 1));
}

#[test]
fn too_few_numbers_and_refused_chunks() {
    let table = table(600, 4);
    assert_eq!(pack(&table, vec![1, 2], |_, _| Ok::<_, ()>(())), Ok(None));
    assert_eq!(pack(&table, vec![1, 2, 3], |_, _| Err("full")), Err("full"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_tree_finds_what_the_table_has(
        count in 1_u32..300_000,
        step in 1_u32..5000,
        asked in proptest::collection::vec(any::<u32>(), 50),
    ) {
        let table = table(count, step);
        let (root, chunks) = packed(&table);
        let edges = [0, step - 1, step, (count - 1) * step, u32::MAX - 1, u32::MAX];
        for pc in asked.into_iter().map(|pc| pc % (count * step + 9)).chain(edges) {
            let found = find(&root, pc, |number| chunks.get(&number).copied());
            prop_assert_eq!(found, table.row(pc));
            prop_assert!(found.is_some());
        }
    }
}
