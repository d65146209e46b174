//! Look-ups in BTF whose content is known.

use super::raw::Kind;
use super::writer::{Writer, info};
use super::{Btf, BtfError, Member};

fn at(byte_offset: u32) -> Member {
    Member {
        byte_offset,
        bit_offset: 0,
        bits: 0,
    }
}

#[test]
fn members_are_found_through_nested_and_anonymous_structs() {
    let mut w = Writer::new();
    let long = w.int("long", 8);
    let inner = w.aggregate(Kind::Union, "", 8, &[("deep", long, 0, 0)]);
    let anonymous = w.structure("", 16, &[("pad", long, 0, 0), ("", inner, 64, 0)]);
    let entity = w.structure(
        "entity",
        24,
        &[("load", long, 0, 0), ("exec_start", long, 128, 0)],
    );
    let named = w.refer(Kind::Typedef, "entity_t", entity);
    let tagged = w.refer(Kind::TypeTag, "user", named);
    let constant = w.refer(Kind::Const, "", tagged);
    let volatile = w.refer(Kind::Volatile, "", constant);
    w.structure(
        "task",
        48,
        &[("", anonymous, 64, 0), ("se", volatile, 192, 0)],
    );
    let blob = w.finish();
    let btf = Btf::parse(&blob).unwrap();

    assert_eq!(btf.member("task", "se").unwrap(), at(24));
    assert_eq!(btf.member("task", "se.exec_start").unwrap(), at(40));
    assert_eq!(btf.member("task", "pad").unwrap(), at(8));
    assert_eq!(btf.member("task", "deep").unwrap(), at(16));
    assert_eq!(btf.size_of("task").unwrap(), 48);
}

#[test]
fn what_is_absent_is_named() {
    let mut w = Writer::new();
    let long = w.int("long", 8);
    let files = w.structure("files", 8, &[("fdt", long, 0, 0)]);
    let pointer = w.refer(Kind::Ptr, "", files);
    w.structure("task", 8, &[("files", pointer, 0, 0)]);
    let blob = w.finish();
    let btf = Btf::parse(&blob).unwrap();

    let message = |path| btf.member("task", path).unwrap_err().to_string();
    assert_eq!(
        message("in_iowait"),
        "this kernel's struct task has no member in_iowait"
    );
    assert_eq!(message(""), "this kernel's struct task has no member ");
    assert_eq!(
        message("files.fdt"),
        "files.fdt of struct task goes through a member that is not a struct"
    );
    assert_eq!(
        btf.size_of("tusk"),
        Err(BtfError::NoStruct {
            name: "tusk".into()
        })
    );
    assert!(btf.member("long", "x").is_err(), "an integer is no struct");
}

#[test]
fn bit_fields_have_byte_bit_and_length() {
    let mut w = Writer::new();
    let unsigned = w.int("unsigned int", 4);
    let flags = w.structure(
        "",
        4,
        &[("first", unsigned, 0, 1), ("in_iowait", unsigned, 9, 3)],
    );
    w.structure(
        "task",
        16,
        &[("", flags, 64, 0), ("plain", unsigned, 96, 0)],
    );
    let blob = w.finish();
    let btf = Btf::parse(&blob).unwrap();

    let expected = Member {
        byte_offset: 9,
        bit_offset: 1,
        bits: 3,
    };
    assert_eq!(btf.member("task", "in_iowait").unwrap(), expected);
    assert_eq!(btf.member("task", "plain").unwrap(), at(12));
}

#[test]
fn plain_offsets_use_all_their_bits() {
    let mut w = Writer::new();
    let long = w.int("long", 8);
    w.structure("large", 0x0800_0000, &[("far", long, 0x3fff_ffc0, 0)]);
    let blob = w.finish();
    assert_eq!(
        Btf::parse(&blob).unwrap().member("large", "far").unwrap(),
        at(0x07ff_fff8)
    );
}

#[test]
fn tracepoints_functions_and_enumerators() {
    let mut w = Writer::new();
    w.tracepoint("sched_switch", 4);
    w.tracepoint("bare", 0);
    let long = w.int("long", 8);
    w.refer(Kind::Typedef, "btf_trace_fake", long);
    w.function("finish_task_switch", 1);
    w.enumeration(
        "bpf_func_id",
        &[("BPF_FUNC_unspec", 0), ("BPF_FUNC_task_pt_regs", 175)],
    );
    w.enumeration("signed", &[("minus", -2)]);
    w.enumeration64("wide", &[("low", 7), ("high", 0x1_0000_0002)]);
    let blob = w.finish();
    let btf = Btf::parse(&blob).unwrap();

    assert_eq!(btf.tracepoint_args("sched_switch"), Some(4));
    assert_eq!(btf.tracepoint_args("bare"), Some(0));
    assert_eq!(
        btf.tracepoint_args("fake"),
        None,
        "a typedef of something else"
    );
    assert_eq!(btf.tracepoint_args("sched_exit_tp"), None);
    assert!(btf.has_function("finish_task_switch"));
    assert!(!btf.has_function("finish_task"));
    assert!(
        !btf.has_function("btf_trace_bare"),
        "a typedef is no function"
    );
    assert_eq!(
        btf.enum_value("bpf_func_id", "BPF_FUNC_task_pt_regs"),
        Some(175)
    );
    assert_eq!(btf.enum_value("bpf_func_id", "BPF_FUNC_loop"), None);
    assert_eq!(btf.enum_value("signed", "minus"), Some(-2));
    assert_eq!(btf.enum_value("wide", "high"), Some(0x1_0000_0002));
    assert_eq!(btf.enum_value("nothing", "low"), None);
}

/// Each kind has its own length; a wrong one would lose the type behind it.
#[test]
fn every_kind_is_stepped_over() {
    let mut w = Writer::new();
    w.int("int", 4);
    w.record("", info(Kind::Array, false, 0), 0, &[1, 1, 10]);
    w.structure("s", 4, &[("a", 1, 0, 0)]);
    w.aggregate(Kind::Union, "u", 4, &[("a", 1, 0, 0), ("b", 1, 0, 0)]);
    w.enumeration("e", &[("x", 1), ("y", 2)]);
    w.enumeration64("e64", &[("z", 1), ("zz", 2)]);
    for kind in [
        Kind::Ptr,
        Kind::Fwd,
        Kind::Typedef,
        Kind::Volatile,
        Kind::Const,
        Kind::Restrict,
        Kind::TypeTag,
        Kind::Float,
    ] {
        w.refer(kind, "named", 1);
    }
    w.function("f", 3);
    w.record("v", info(Kind::Var, false, 0), 1, &[0]);
    w.record(
        ".data",
        info(Kind::Datasec, false, 2),
        8,
        &[1, 0, 4, 1, 4, 4],
    );
    w.record("tag", info(Kind::DeclTag, false, 0), 1, &[u32::MAX]);
    w.structure("last", 99, &[]);
    let blob = w.finish();
    assert_eq!(Btf::parse(&blob).unwrap().size_of("last").unwrap(), 99);
}

#[test]
fn the_header_is_checked() {
    let blob = Writer::new().finish();
    assert!(Btf::parse(&blob).is_ok());
    let changed = |at: usize, byte: u8| {
        let mut blob = blob.clone();
        blob[at] = byte;
        Btf::parse(&blob).err()
    };
    assert_eq!(changed(0, 0x7f), Some(BtfError::NotBtf { magic: 0xeb7f }));
    assert_eq!(changed(2, 2), Some(BtfError::Version { version: 2 }));
    assert_eq!(changed(4, 20), Some(BtfError::Truncated { what: "header" }));
    assert_eq!(
        changed(15, 0xff),
        Some(BtfError::Truncated {
            what: "type section"
        })
    );
    assert_eq!(changed(20, 0), Some(BtfError::Strings), "no names at all");
    assert_eq!(
        changed(24, b'x'),
        Some(BtfError::Strings),
        "the empty name must come first"
    );
    let swapped = [&[0xeb, 0x9f][..], &blob[2..]].concat();
    assert_eq!(Btf::parse(&swapped).err(), Some(BtfError::BigEndian));
}

#[test]
fn a_longer_header_is_stepped_over() {
    let mut w = Writer::new();
    w.structure("s", 5, &[]);
    let mut blob = w.finish();
    blob[4] = 32;
    blob.splice(24..24, [0; 8]);
    assert_eq!(Btf::parse(&blob).unwrap().size_of("s").unwrap(), 5);
}

#[test]
fn contradictions_are_errors() {
    let mut w = Writer::new();
    w.record("future", 20 << 24, 0, &[]);
    assert_eq!(
        Btf::parse(&w.finish()).err(),
        Some(BtfError::UnknownKind { kind: 20, id: 1 }),
        "the length of an unknown kind is unknown"
    );

    let mut w = Writer::new();
    w.record("s", info(Kind::Struct, false, 0xff_ffff), 4, &[0, 0, 0]);
    assert_eq!(
        Btf::parse(&w.finish()).err(),
        Some(BtfError::Truncated { what: "type" })
    );

    let mut w = Writer::new();
    w.structure("s", 4, &[]);
    let mut blob = w.finish();
    blob[24] = 0xff;
    assert_eq!(
        Btf::parse(&blob).err(),
        Some(BtfError::NameOutOfRange { id: 1 })
    );
}

#[test]
fn cycles_end() {
    let mut w = Writer::new();
    let itself = w.next_id();
    w.structure(
        "s",
        4,
        &[
            ("", itself, 32, 0),
            ("again", itself, 32, 0),
            ("t", itself + 1, 0, 0),
        ],
    );
    w.refer(Kind::Typedef, "t", itself + 1);
    let blob = w.finish();
    let btf = Btf::parse(&blob).unwrap();

    assert!(matches!(
        btf.member("s", "absent"),
        Err(BtfError::NoMember { .. })
    ));
    assert_eq!(btf.member("s", "again.again").unwrap(), at(8));
    assert_eq!(
        btf.member("s", "t.x"),
        Err(BtfError::Cycle { id: itself + 1 })
    );
    assert_eq!(btf.tracepoint_args("s"), None);
}

/// Each struct holds the next one twice without a name: 2^40 ways through, 40 structs.
#[test]
fn a_search_visits_each_struct_once() {
    let mut w = Writer::new();
    for depth in 0..40 {
        let next = w.next_id() + 1;
        let name = if depth == 0 { "top" } else { "" };
        w.structure(name, 0, &[("", next, 0, 0), ("", next, 0, 0)]);
    }
    w.structure("", 0, &[]);
    let blob = w.finish();
    let found = Btf::parse(&blob).unwrap().member("top", "absent");
    assert!(matches!(found, Err(BtfError::NoMember { .. })));
}

#[test]
fn offsets_that_overflow_are_errors() {
    let mut w = Writer::new();
    let itself = w.next_id();
    w.structure(
        "s",
        4,
        &[("a", itself, u32::MAX, 0), ("", itself, u32::MAX, 0)],
    );
    w.structure("dangling", 4, &[("a", 77, 0, 0), ("", 77, 0, 0)]);
    let blob = w.finish();
    let btf = Btf::parse(&blob).unwrap();
    assert!(matches!(
        btf.member("s", "a.a"),
        Err(BtfError::OffsetOutOfRange { .. })
    ));
    assert_eq!(
        btf.member("dangling", "a.b"),
        Err(BtfError::NoType { id: 77 })
    );
    assert_eq!(
        btf.member("dangling", "x"),
        Err(BtfError::NoType { id: 77 })
    );
}
