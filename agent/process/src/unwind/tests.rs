//! Tables of real files, whole and broken.

mod hostile;
mod image;
mod readelf;
mod rules;
mod tree;
mod walks;

use super::*;
use crate::maps::Content;
use remora_common::unwind::{CFA_END, CFA_MASK, CFA_NONE, CFA_UNSUPPORTED, Row};
use std::path::Path;

fn open(path: &Path) -> Option<Content> {
    std::fs::File::open(path).ok().map(Content::File)
}

fn compile_file(path: &Path) -> Table {
    compile(&open(path).unwrap(), &Limits::default()).unwrap()
}

fn own() -> Table {
    compile_file(Path::new("/proc/self/exe"))
}

/// A row's kind of frame address.
fn kind(row: Row) -> u8 {
    row.rule & CFA_MASK
}

#[test]
fn each_address_has_a_row_and_rows_differ() {
    let table = own();
    assert!(table.rows.len() > 10_000, "{}", table.rows.len());
    assert_eq!(table.rows[0].pc, 0);
    for pair in table.rows.windows(2) {
        assert!(pair[0].pc < pair[1].pc, "{pair:?}");
        assert_ne!(Row { pc: 0, ..pair[0] }, Row { pc: 0, ..pair[1] });
    }
    let last = table.rows[table.rows.len() - 1];
    assert_eq!(kind(last), CFA_NONE);
}

#[test]
fn the_bias_leads_from_own_code_to_its_row() {
    let mut files = crate::maps::Files::default();
    let maps = crate::maps::Snapshot::read(std::process::id(), 0, &mut files).unwrap();
    let address = the_bias_leads_from_own_code_to_its_row as *const () as u64;
    let mapping = maps.find(address).unwrap();
    let len = mapping.end - mapping.start;
    let table = own();
    let bias = table.bias(mapping.start, len, mapping.offset).unwrap();
    let row = table.row(u32::try_from(address.wrapping_sub(bias)).unwrap());
    // Where a function begins, nothing has been pushed but the return address.
    let row = row.unwrap();
    assert_eq!(
        (row.cfa_offset, row.rule),
        (1, remora_common::unwind::CFA_SP)
    );
    assert!(table.bias(0, 4096, u64::MAX - 4096).is_none());
}

#[test]
fn a_start_ends_the_stack() {
    let table = own();
    let entry = std::fs::read("/proc/self/exe").unwrap();
    let entry = u64::from_le_bytes(entry[24..32].try_into().unwrap());
    let row = table.row((entry + 4 - table.base) as u32).unwrap();
    assert_eq!(kind(row), CFA_END, "{row:?}");
}

#[test]
fn the_vdso_is_compiled_from_bytes() {
    let mut files = crate::maps::Files::default();
    let maps = crate::maps::Snapshot::read(std::process::id(), 0, &mut files).unwrap();
    let vdso = maps.mappings().iter().find_map(|mapping| {
        let module = mapping.module.clone()?;
        (&*module.name == "[vdso]").then_some((mapping, module))
    });
    let (mapping, module) = vdso.unwrap();
    let table = compile(&module.content, &Limits::default()).unwrap();
    assert!(table.rows.len() > 5, "{:?}", table.rows);
    assert!(table.rows.iter().all(|row| kind(*row) != CFA_UNSUPPORTED));
    let len = mapping.end - mapping.start;
    assert_eq!(
        table.bias(mapping.start, len, 0),
        Some(mapping.start + table.base)
    );
}
