//! The tables against the headers of each installed version, and the published block against
//! hands that made it up.

use super::*;
use crate::python::installed::{self, Installed};
use crate::python::specimen::Specimen;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::process::Command;

/// What the headers of `installed` say; `None`, with a word, when there are none.
fn headers(installed: &Installed) -> Option<BTreeMap<String, u16>> {
    if !installed.include.join("internal").is_dir() {
        remora_testing::skip(format_args!(
            "{} has no internal headers",
            installed.version
        ));
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("offsets");
    let compiled = Command::new("cc")
        .arg("-w")
        .arg("-I")
        .arg(&installed.include)
        .arg("-I")
        .arg(installed.include.join("internal"))
        .arg("-o")
        .arg(&program)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/src/python/layout/offsets.c"
        ))
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        remora_testing::skip(format_args!(
            "no compiler for the headers of {}",
            installed.version
        ));
        return None;
    }
    let output = Command::new(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let entries = text.lines().map(|line| {
        let (name, offset) = line.split_once(' ').unwrap();
        (name.to_owned(), offset.parse().unwrap())
    });
    Some(entries.collect())
}

/// The same names for a layout.
fn entries(layout: &Layout) -> BTreeMap<String, u16> {
    let Layout {
        runtime,
        interpreter,
        gil,
        thread,
        frame,
        code,
        object,
        unicode,
        generator,
        ..
    } = layout;
    let entries = [
        ("runtime.interpreters_head", runtime.interpreters_head),
        ("runtime.gil", runtime.gil),
        ("interpreter.id", interpreter.id),
        ("interpreter.next", interpreter.next),
        ("interpreter.threads_head", interpreter.threads_head),
        ("interpreter.modules", interpreter.modules),
        ("interpreter.gil", interpreter.gil),
        ("interpreter.gc", interpreter.gc),
        ("gil.last_holder", gil.last_holder),
        ("gil.locked", gil.locked),
        ("gil.size", gil.size),
        ("thread.next", thread.next),
        ("thread.interpreter", thread.interpreter),
        ("thread.thread_id", thread.thread_id),
        ("thread.native_thread_id", thread.native_thread_id),
        ("thread.frame", thread.frame),
        ("thread.cframe_frame", thread.cframe_frame),
        ("frame.code", frame.code),
        ("frame.previous", frame.previous),
        ("frame.instruction", frame.instruction),
        ("frame.owner", frame.owner),
        ("frame.locals", frame.locals),
        ("frame.stack_top", frame.stack_top),
        ("frame.value_stack", frame.value_stack),
        ("code.filename", code.filename),
        ("code.name", code.name),
        ("code.first_line", code.first_line),
        ("code.flags", code.flags),
        ("code.lines", code.lines),
        ("code.qualname", code.qualname),
        ("code.instructions", code.instructions),
        ("code.locals", code.locals),
        ("object.type", object.type_),
        ("object.size", object.size),
        ("object.items", object.items),
        ("type.name", object.type_name),
        ("type.flags", object.type_flags),
        ("bytes.data", layout.bytes_data),
        ("unicode.length", unicode.length),
        ("unicode.state", unicode.state),
        ("unicode.ascii_data", unicode.ascii_data),
        ("unicode.compact_data", unicode.compact_data),
        ("generator.frame", generator.frame),
        ("generator.state", generator.state),
        ("generator.name", generator.name),
        ("generator.qualname", generator.qualname),
    ];
    entries
        .map(|(name, offset)| (name.to_owned(), offset))
        .into()
}

#[test]
fn tables_are_what_the_headers_say() {
    for installed in installed::all() {
        let layout = match installed.version.minor {
            13 => Some(table::V3_13),
            _ => Layout::of(installed.version),
        };
        let (Some(layout), Some(headers)) = (layout, headers(&installed)) else {
            continue;
        };
        assert_eq!(entries(&layout), headers, "{}", installed.version);
        eprintln!("{}: {} offsets agree", installed.version, headers.len());
    }
}

#[test]
fn what_an_interpreter_publishes_is_what_its_headers_say() {
    for installed in installed::all() {
        if !installed.version.is_from(13) {
            continue;
        }
        let mut specimen = Specimen::start(&installed, "print(1, flush=True); input()");
        assert_eq!(specimen.line(), "1");
        let memory = specimen.memory();
        let python = crate::python::find(&specimen.snapshot(), &memory).unwrap();
        let published = published::read(&memory, python.runtime());
        assert_eq!(published, Some((installed.version, python.layout)));
        if let Some(headers) = headers(&installed) {
            assert_eq!(entries(&python.layout), headers);
        }
    }
}

/// The words of a block of 3.14 with a GIL, as `offsetof` gives them for its headers.
fn block_of_3_14() -> Vec<u64> {
    let words: &[&[u64]] = &[
        &[published::COOKIE, 0x030e_00f0, 0],
        &[400_000, 720, 808],
        &[
            260_000, 7392, 7384, 7464, 7480, 7600, 7864, 7872, 7880, 8, 8192, 0, 8208, 8200, 7, 0,
        ],
        &[500, 0, 8, 16, 72, 152, 160, 232, 32],
        &[88, 8, 0, 56, 80, 74, 64, 0],
        &[216, 112, 120, 128, 136, 68, 52, 96, 104, 208, 0],
        &[16, 8],
        &[416, 24, 88, 168],
        &[32, 24, 16],
        &[40, 24, 16],
        &[200, 24, 40, 32],
        &[48, 32, 40],
        &[24, 16],
        &[32, 16, 24],
        &[40, 16, 32],
        &[64, 32, 16, 40],
        &[160, 40],
        &[160, 24, 72, 67],
    ];
    words.concat()
}

#[test]
fn a_published_block_of_3_14_is_read() {
    let (version, layout) = published::parse(&block_of_3_14()).unwrap();
    assert_eq!(version.to_string(), "3.14.0");
    let expected = Layout {
        runtime: Runtime {
            interpreters_head: 808,
            gil: ABSENT,
        },
        interpreter: InterpreterState {
            id: 7392,
            next: 7384,
            threads_head: 7464,
            modules: 7864,
            gc: 7600,
            gil: 8,
        },
        frame: Frame {
            owner: 74,
            locals: 80,
            tag_mask: 3,
            ..table::V3_13.frame
        },
        code: Code {
            instructions: 208,
            ..table::V3_13.code
        },
        unicode: Unicode {
            kind_shifts: &[2, 8, 16],
            ..table::V3_13.unicode
        },
        ..table::V3_13
    };
    assert_eq!(layout, expected);
}

#[test]
fn a_free_threaded_build_is_recognised() {
    let mut words = block_of_3_14();
    words[2] = 1;
    let (_, layout) = published::parse(&words).unwrap();
    assert!(layout.free_threaded);
    let interpreter = layout.interpreter(0x1000, 0);
    assert_eq!((interpreter.free_threaded, interpreter.gil_known), (1, 0));
}

#[test]
fn a_member_outside_its_structure_is_refused() {
    let words = block_of_3_14();
    let used = words.len();
    for at in 4..used {
        let mut damaged = words.clone();
        damaged[at] = u64::MAX;
        // A size that is too large contradicts nothing, a member behind the end does.
        let parsed = published::parse(&damaged);
        let is_size = words[at] >= 16 && parsed.is_some();
        assert!(parsed.is_none() || is_size, "word {at}");
    }
    for len in 0..used {
        assert!(published::parse(&words[..len]).is_none(), "{len} words");
    }
}

proptest! {
    #[test]
    fn any_block_is_survived(damage in proptest::collection::vec((0usize..160, any::<u64>()), 0..20)) {
        let mut words = block_of_3_14();
        for (at, value) in damage {
            if let Some(word) = words.get_mut(at) {
                *word = value;
            }
        }
        let _ = published::parse(&words);
    }
}
