//! BTF that nobody should have written: whatever it says, reading it ends, without a panic.

use super::raw::Kind;
use super::writer::{FieldSpec, Writer};
use super::{Btf, Member};
use crate::{Arch, Kernel};
use proptest::prelude::*;
use std::rc::Rc;

/// Everything that can be asked of BTF.
fn ask_everything(data: &[u8]) {
    let Ok(btf) = Btf::parse(data) else { return };
    for arch in [Arch::X86_64, Arch::Aarch64] {
        let _ = Kernel::from_btf(&btf, arch);
    }
    for name in ["a", "b", "c", "task_struct", "pt_regs", ""] {
        let _ = btf.size_of(name);
        let _ = btf.tracepoint_args(name);
        let _ = btf.has_function(name);
        let _ = btf.enum_value(name, "a");
        for path in [
            "a",
            "b",
            "a.b",
            "a.a.a.a.a.a.a.a",
            "b.absent",
            "absent",
            "",
            ".",
            "a..b",
        ] {
            let _ = btf.member(name, path);
        }
    }
}

thread_local! {
    /// The running kernel's BTF, when it can be read; each test has a thread, and says it when it cannot.
    static VMLINUX: Option<Rc<[u8]>> = std::fs::read("/sys/kernel/btf/vmlinux")
        .inspect_err(|why| remora_testing::skip(format_args!("/sys/kernel/btf/vmlinux: {why}")))
        .ok()
        .map(Rc::from);
}

/// A record as its parts: name, kind, flag, count, size or type, and words that follow.
type Record = (usize, u32, bool, usize, u32, Vec<u32>);

/// Types that look right one by one and refer to each other at random: cycles, dangling ids,
/// structs that hold themselves, counts that are wrong.
fn record() -> impl Strategy<Value = Record> {
    let word = prop_oneof![4 => 0_u32..16, 1 => any::<u32>()];
    let kind = prop_oneof![8 => 1_u32..20, 4 => 4_u32..6, 1 => 0_u32..128];
    let words = prop::collection::vec(word.clone(), 0..13);
    (0..7_usize, kind, any::<bool>(), 0..5_usize, word, words)
}

fn blob_of(records: &[Record]) -> Vec<u8> {
    let names = [
        "",
        "a",
        "b",
        "c",
        "task_struct",
        "btf_trace_a",
        "btf_trace_b",
    ];
    let mut writer = Writer::new();
    for (name, kind, flag, count, size_or_type, words) in records {
        let mut words = words.clone();
        // Mostly as many words as the kind wants, so that records behind it are read too.
        match kind {
            1 | 14 | 17 => words.resize(1, 0),
            3 => words.resize(3, 0),
            4 | 5 | 15 | 19 => words.resize(3 * count, 1),
            6 | 13 => words.resize(2 * count, 1),
            2 | 7..=12 | 16 | 18 => words.clear(),
            _ => {}
        }
        let info = u32::from(*flag) << 31 | kind << 24 | *count as u32;
        writer.record(names[*name], info, *size_or_type, &words);
    }
    writer.finish()
}

/// A struct to write and ask for: plain members, anonymous structs and named ones.
#[derive(Clone, Debug)]
enum Shape {
    Plain,
    BitField(u8),
    Struct {
        anonymous: bool,
        fields: Vec<(u32, Shape)>,
    },
}

fn shape() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![Just(Shape::Plain), (1_u8..9).prop_map(Shape::BitField)];
    leaf.prop_recursive(4, 40, 5, |inner| {
        let fields = prop::collection::vec((0_u32..100_000, inner), 0..5);
        (any::<bool>(), fields).prop_map(|(anonymous, fields)| Shape::Struct { anonymous, fields })
    })
}

/// Writes a struct and notes each path in it with its place.
fn write_struct(
    writer: &mut Writer,
    name: &str,
    fields: &[(u32, Shape)],
    serial: &mut u32,
) -> (u32, Vec<(String, u32, u8)>) {
    let mut specs: Vec<(String, u32, u32, u8)> = Vec::new();
    let mut paths = Vec::new();
    for (bit, shape) in fields {
        *serial += 1;
        let own = format!("m{serial}");
        match shape {
            Shape::Plain => {
                paths.push((own.clone(), *bit, 0));
                specs.push((own, 1, *bit, 0));
            }
            Shape::BitField(bits) => {
                paths.push((own.clone(), *bit, *bits));
                specs.push((own, 1, *bit, *bits));
            }
            Shape::Struct { anonymous, fields } => {
                let (id, inner) = write_struct(writer, "", fields, serial);
                let prefix = if *anonymous {
                    String::new()
                } else {
                    format!("{own}.")
                };
                let within = inner.into_iter();
                paths.extend(
                    within.map(|(path, at, bits)| (prefix.clone() + &path, bit + at, bits)),
                );
                let id = writer.refer(Kind::Const, "", id);
                specs.push((if *anonymous { String::new() } else { own }, id, *bit, 0));
            }
        }
    }
    let specs: Vec<FieldSpec<'_>> = specs
        .iter()
        .map(|(name, id, bit, bits)| (name.as_str(), *id, *bit, *bits))
        .collect();
    (writer.structure(name, 0, &specs), paths)
}

proptest! {
    #[test]
    fn every_member_is_found_where_it_was_put(
        fields in prop::collection::vec((0_u32..100_000, shape()), 1..6)
    ) {
        let mut writer = Writer::new();
        writer.int("int", 4);
        let (_, paths) = write_struct(&mut writer, "top", &fields, &mut 0);
        let blob = writer.finish();
        let btf = Btf::parse(&blob).unwrap();
        for (path, bit, bits) in paths {
            let expected = Member { byte_offset: bit / 8, bit_offset: (bit % 8) as u8, bits };
            prop_assert_eq!(btf.member("top", &path).unwrap(), expected, "{}", path);
        }
        prop_assert!(btf.member("top", "m0").is_err());
    }

    #[test]
    fn bytes_without_sense(data in prop::collection::vec(any::<u8>(), 0..400)) {
        ask_everything(&data);
        // Behind a header that fits them.
        let split = data.len() as u32 / 2;
        let mut blob = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, split, split, data.len() as u32 - split] {
            blob.extend(u32::to_le_bytes(word));
        }
        blob.extend(&data);
        ask_everything(&blob);
    }

    #[test]
    fn types_without_sense(records in prop::collection::vec(record(), 0..40)) {
        ask_everything(&blob_of(&records));
    }

    #[test]
    fn a_cut_is_noticed_wherever_it_is(records in prop::collection::vec(record(), 0..8)) {
        let blob = blob_of(&records);
        for cut in 0..blob.len() {
            prop_assert!(Btf::parse(&blob[..cut]).is_err(), "cut to {} of {}", cut, blob.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_running_kernels_btf_cut_anywhere(cut in any::<prop::sample::Index>()) {
        let Some(real) = VMLINUX.with(Clone::clone) else { return Ok(()) };
        prop_assert!(Btf::parse(&real[..cut.index(real.len())]).is_err());
    }

    /// Half of the changes hit the first types, where the scheduler's structs are.
    #[test]
    fn the_running_kernels_btf_with_changes(
        changes in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<bool>(), any::<u8>()), 1..20)
    ) {
        let Some(real) = VMLINUX.with(Clone::clone) else { return Ok(()) };
        let mut blob = real.to_vec();
        for (place, early, byte) in changes {
            let end = if early { blob.len().min(400_000) } else { blob.len() };
            blob[place.index(end)] = byte;
        }
        ask_everything(&blob);
    }
}
