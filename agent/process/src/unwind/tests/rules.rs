//! Rules and files that are made by hand.

use super::image::{BASE, Builder, CALLED, debug_frame};
use crate::maps::Content;
use crate::unwind::{Cause, CompileError, Limits, Table, compile};
use remora_common::unwind::{
    CFA_DEREF_FP, CFA_DEREF_SP, CFA_END, CFA_FP, CFA_NONE, CFA_PLT, CFA_SIGNAL, CFA_SP, CFA_SP_FAR,
    CFA_UNSUPPORTED, SAVED_FP, SAVED_FP_AT_FP, SAVED_RA,
};

const ADVANCE: u8 = 0x40;

fn table(builder: Builder) -> Table {
    let table = compile(&Content::Bytes(builder.build().into()), &Limits::default()).unwrap();
    assert_eq!(table.base, BASE);
    table
}

/// Address, rule, offset of the frame address, offset of the frame pointer.
fn shape(table: &Table) -> Vec<(u32, u8, i16, i8)> {
    let rows = table.rows.iter();
    rows.map(|row| (row.pc, row.rule, row.cfa_offset, row.fp_offset))
        .collect()
}

fn rows(builder: Builder) -> Vec<(u32, u8, i16, i8)> {
    shape(&table(builder))
}

fn unsupported(table: &Table) -> Vec<Cause> {
    let shares = table.stats.unsupported();
    shares
        .filter(|(_, share)| share.pieces > 0)
        .map(|(cause, _)| cause)
        .collect()
}

#[test]
fn a_function_with_a_frame_pointer() {
    let function = [
        ADVANCE | 1,
        0x0e,
        16,
        0x86,
        2, // push rbp
        ADVANCE | 3,
        0x0d,
        6,    // mov rbp, rsp
        0x0a, // remember
        ADVANCE | 10,
        0x0c,
        7,
        8,
        0xc6, // leave: restores rbp
        ADVANCE | 1,
        0x0b, // and a second way through it
    ];
    let image = Builder::x86_64()
        .common("zR", CALLED)
        .function(0x20, 40, &function);
    let expected = [
        (0, CFA_NONE, 0, 0),
        (0x20, CFA_SP, 1, 0),
        (0x21, CFA_SP | SAVED_FP, 2, -2),
        (0x24, CFA_FP | SAVED_FP, 2, -2),
        (0x2e, CFA_SP, 1, 0),
        (0x2f, CFA_FP | SAVED_FP, 2, -2),
        (0x48, CFA_NONE, 0, 0),
    ];
    assert_eq!(rows(image), expected);
}

#[test]
fn known_expressions_of_x86_64() {
    let plt = [
        0x0f, 11, 0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3a, 0x2a, 0x33, 0x24, 0x22,
    ];
    // GCC: `DW_CFA_expression rbp (breg6 0)`, `DW_CFA_def_cfa_expression (breg6 -8; deref)`.
    let realigned = [0x10, 6, 2, 0x76, 0, 0x0f, 3, 0x76, 0x78, 0x06];
    let openssl = [0x86, 2, 0x0f, 6, 0x77, 0x98, 0x01, 0x06, 0x23, 8];
    let other = [0x0f, 3, 0x77, 0x78, 0x06];
    let image = Builder::x86_64()
        .common("zR", CALLED)
        .function(0, 16, &plt)
        .function(16, 16, &realigned)
        .function(32, 16, &openssl)
        .function(48, 16, &other);
    let table = table(image);
    let expected = [
        (0, CFA_PLT, 10, 0),
        (16, CFA_DEREF_FP | SAVED_FP_AT_FP, -1, 0),
        (32, CFA_DEREF_SP | SAVED_FP, 19, -2),
        (48, CFA_UNSUPPORTED, 0, 0),
        (64, CFA_NONE, 0, 0),
    ];
    assert_eq!(shape(&table), expected);
    assert_eq!(unsupported(&table), [Cause::CfaExpression]);
}

#[test]
fn what_rows_cannot_say_has_a_cause() {
    let causes: [(&[u8], Cause); 8] = [
        (&[0x0c, 10, 8], Cause::CfaRegister),
        (&[0x0e, 12], Cause::Offset),
        (&[0x0e, 0x80, 0x80, 0x80, 0x08], Cause::Offset),
        (&[0x86, 0x81, 0x01], Cause::Offset),
        (&[0x09, 6, 0], Cause::FramePointer),
        (&[0x07, 6], Cause::FramePointer),
        (&[0x90, 3], Cause::ReturnAddress),
        (&[0x0b], Cause::Malformed),
    ];
    for (instructions, cause) in causes {
        let image = Builder::x86_64()
            .common("zR", CALLED)
            .function(0, 16, instructions);
        let table = table(image);
        assert_eq!(shape(&table)[0].1, CFA_UNSUPPORTED, "{cause:?}");
        assert_eq!(unsupported(&table), [cause]);
    }
}

#[test]
fn a_frame_of_megabytes_is_said_by_a_far_row() {
    // def_cfa_offset 2 MiB; rbp saved at cfa - 48.
    let image = Builder::x86_64().common("zR", CALLED).function(
        0,
        16,
        &[0x0e, 0x80, 0x80, 0x80, 0x01, 0x86, 0x06],
    );
    let table = table(image);
    let high = (((2 << 20) / 8) >> 16) as i8;
    assert_eq!(
        shape(&table)[0],
        (0, CFA_SP_FAR | SAVED_FP, 0, high | (6 << 4))
    );
    assert_eq!(unsupported(&table), []);
}

#[test]
fn signal_frames_and_the_end() {
    let undefined = [0x07, 16];
    let image = Builder::x86_64()
        .common("zRS", CALLED)
        .function(15, 10, &[])
        .common("zR", CALLED)
        .function(32, 16, &undefined);
    let expected = [
        (0, CFA_NONE, 0, 0),
        (15, CFA_SIGNAL, 0, 0),
        (32, CFA_END, 0, 0),
        (48, CFA_NONE, 0, 0),
    ];
    assert_eq!(rows(image), expected);
}

#[test]
fn arm64() {
    // `def_cfa sp, 0`; then negate_ra_state, `stp x29, x30, [sp, #-32]!`, `mov x29, sp`.
    let common = [0x0c, 31, 0];
    let function = [
        ADVANCE | 4,
        0x2d,
        ADVANCE | 4,
        0x0e,
        32,
        0x9d,
        4,
        0x9e,
        3,
        ADVANCE | 4,
        0x0d,
        29,
    ];
    // `str x30, [sp, #-16]!`
    let leafless = [ADVANCE | 4, 0x0e, 16, 0x9e, 2];
    let apart = [0x0e, 32, 0x9d, 4, 0x9e, 2];
    let image = Builder::arm64()
        .common("zR", &common)
        .function(0, 64, &function)
        .function(64, 32, &leafless)
        .function(96, 32, &apart);
    let table = table(image);
    let expected = [
        (0, CFA_SP, 0, 0),
        (8, CFA_SP | SAVED_FP, 4, -4),
        (12, CFA_FP | SAVED_FP, 4, -4),
        (64, CFA_SP, 0, 0),
        (68, CFA_SP | SAVED_RA, 2, -2),
        (96, CFA_UNSUPPORTED, 0, 0),
        (128, CFA_NONE, 0, 0),
    ];
    assert_eq!(shape(&table), expected);
    assert_eq!(unsupported(&table), [Cause::FramePointer]);
}

#[test]
fn a_return_from_a_signal_is_told_by_its_instructions() {
    let x86_64 = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
    let image = Builder::x86_64()
        .code(0x100, &x86_64)
        .common("zR", CALLED)
        .function(0xf0, 64, &[]);
    let expected = [
        (0, CFA_NONE, 0, 0),
        (0xf0, CFA_SP, 1, 0),
        (0xff, CFA_SIGNAL, 0, 0),
        (0x109, CFA_NONE, 0, 0),
    ];
    assert_eq!(rows(image), expected);
    let arm64 = [0x68, 0x11, 0x80, 0xd2, 1, 0, 0, 0xd4];
    let image = Builder::arm64().code(0x100, &arm64);
    let expected = [
        (0, CFA_NONE, 0, 0),
        (0xff, CFA_SIGNAL, 0, 0),
        (0x108, CFA_NONE, 0, 0),
    ];
    assert_eq!(rows(image), expected);
}

#[test]
fn where_functions_overlap_the_later_start_holds() {
    let frame = |words: u8| [0x0e, words * 8];
    let image = Builder::x86_64()
        .common("zR", CALLED)
        .function(0x40, 16, &frame(5))
        .function(0, 256, &frame(2))
        .function(0x40, 32, &frame(3));
    let expected = [
        (0, CFA_SP, 2, 0),
        (0x40, CFA_SP, 3, 0),
        (0x60, CFA_NONE, 0, 0),
    ];
    assert_eq!(rows(image), expected);
}

#[test]
fn padding_has_no_row_and_a_hole_has_one() {
    let image = |start| {
        let image = Builder::x86_64().common("zR", CALLED).function(0, 20, &[]);
        rows(image.function(start, 16, &[0x0e, 16]))
    };
    let padded = [(0, CFA_SP, 1, 0), (32, CFA_SP, 2, 0), (48, CFA_NONE, 0, 0)];
    assert_eq!(image(32), padded);
    assert!(image(33).contains(&(20, CFA_NONE, 0, 0)));
    assert!(image(48).contains(&(20, CFA_NONE, 0, 0)));
}

#[test]
fn a_terminator_ends_a_section_of_unknown_size() {
    let image = Builder::x86_64().common("zR", CALLED).function(0, 16, &[]);
    let image = image.terminator().function(16, 16, &[0x0e, 16]);
    assert_eq!(rows(image), [(0, CFA_SP, 1, 0), (16, CFA_NONE, 0, 0)]);
}

#[test]
fn debug_frame_serves_where_eh_frame_does_not() {
    let debug = debug_frame(&[
        (0, 48, &[0x0e, 24]),
        (16, 16, &[0x0e, 32]),
        (256, 16, &[0x0e, 40]),
    ]);
    let image = Builder::x86_64()
        .common("zR", CALLED)
        .function(16, 16, &[0x0e, 16])
        .terminator();
    let expected = [
        (0, CFA_SP, 3, 0),
        (16, CFA_SP, 2, 0),
        (32, CFA_NONE, 0, 0),
        (256, CFA_SP, 5, 0),
        (272, CFA_NONE, 0, 0),
    ];
    let plain = image.clone().section(".debug_frame", 0, 0, debug.clone());
    assert_eq!(rows(plain), expected);
    let mut packed = 2_u32.to_le_bytes().to_vec();
    packed.extend([0; 4]);
    packed.extend((debug.len() as u64).to_le_bytes());
    packed.extend(1_u64.to_le_bytes());
    packed.extend(zstd::stream::encode_all(&debug[..], 1).unwrap());
    const COMPRESSED: u64 = 0x800;
    let table = table(image.section(".debug_frame", COMPRESSED, 0, packed));
    assert_eq!(shape(&table), expected);
    assert!(!table.stats.damaged);
}

#[test]
fn a_linkage_table_without_information() {
    let mut plt = vec![
        0xff, 0x35, 0, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0, 0x90, 0x90, 0x90, 0x90,
    ];
    let entry = [0xff, 0x25, 0, 0, 0, 0, 0x68, 0, 0, 0, 0, 0xe9, 0, 0, 0, 0];
    plt.extend([entry, entry].concat());
    let image = Builder::x86_64().section(".plt", 6, BASE + 0x20, plt);
    let expected = [
        (0, CFA_NONE, 0, 0),
        (0x20, CFA_SP, 2, 0),
        (0x26, CFA_SP, 3, 0),
        (0x30, CFA_PLT, 11, 0),
        (0x50, CFA_NONE, 0, 0),
    ];
    assert_eq!(rows(image), expected);
}

#[test]
fn limits_hold() {
    let mut image = Builder::x86_64().common("zR", CALLED);
    for place in 0..8 {
        image = image.function(place * 32, 16, &[]);
    }
    let content = Content::Bytes(image.build().into());
    let too_large = |limits: Limits| match compile(&content, &limits) {
        Err(CompileError::TooLarge(what)) => what,
        other => panic!("{other:?}"),
    };
    let limits = Limits::default();
    assert_eq!(
        too_large(Limits {
            functions: 7,
            ..limits
        }),
        "functions"
    );
    assert_eq!(too_large(Limits { rows: 15, ..limits }), "rows");
    assert_eq!(
        compile(
            &content,
            &Limits {
                rows: 16,
                functions: 8,
                ..limits
            }
        )
        .unwrap()
        .rows
        .len(),
        16
    );
}

#[test]
fn other_files_are_refused() {
    let refused = |bytes: Vec<u8>| compile(&Content::Bytes(bytes.into()), &Limits::default());
    assert!(matches!(
        refused(b"#!/bin/sh\n".to_vec()),
        Err(CompileError::Malformed(_))
    ));
    let mut image = Builder::x86_64().build();
    image[18] = 40;
    assert!(matches!(refused(image), Err(CompileError::Machine)));
    let mut image = Builder::x86_64().build();
    image[64 + 56 + 4] = 4;
    assert!(matches!(refused(image), Err(CompileError::NoCode)));
}

/// Where the executable segment's program header is in an image.
const SEGMENT: usize = 64 + 56;

fn table_of(image: Vec<u8>) -> Table {
    compile(&Content::Bytes(image.into()), &Limits::default()).unwrap()
}

#[test]
fn no_row_has_the_address_that_marks_unused_entries() {
    let far = BASE + u64::from(u32::MAX) - 8;
    let mut image = Builder::x86_64()
        .section(".plt", 6, far, [0xff, 0x25].repeat(64))
        .build();
    // The segment claims 8 GiB.
    image[SEGMENT + 36] = 2;
    let expected = [
        (0, CFA_NONE, 0, 0),
        (u32::MAX - 8, CFA_SP, 1, 0),
        (u32::MAX - 1, CFA_NONE, 0, 0),
    ];
    assert_eq!(shape(&table_of(image)), expected);
}

#[test]
fn the_first_row_is_at_the_base_of_a_segment_that_is_not_aligned() {
    let mut image = Builder::x86_64()
        .common("zR", CALLED)
        .function(16, 16, &[])
        .build();
    // Its offset and its address.
    image[SEGMENT + 8] = 8;
    image[SEGMENT + 16] = 8;
    let expected = [(0, CFA_NONE, 0, 0), (8, CFA_SP, 1, 0), (24, CFA_NONE, 0, 0)];
    assert_eq!(shape(&table_of(image)), expected);
}
