//! Stacks and files that were made to hurt.

use super::specimen::{C, Running, compile};
use super::*;
use proptest::prelude::*;

#[test]
fn unmapped_frames_collapse_and_are_counted() {
    let own = own();
    let mut symbolizer = Symbolizer::new(Limits::default());
    let known = unmapped_frames_collapse_and_are_counted as *const () as u64;
    let stack = symbolize(&mut symbolizer, &own, &[known, 1, 2, u64::MAX, 0]);
    let names: Vec<_> = stack.frames.iter().map(|frame| &*frame.name).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert_eq!(names[0], "[unmapped]");
    assert_eq!(symbolizer.losses().unmapped_frames, 4);
    assert_eq!(symbolizer.losses().unsymbolised_frames, 0);
}

#[test]
fn a_symbol_cannot_break_a_line_of_folded_stacks() {
    let source = format!("{C}\n__asm__(\".globl find_me\");").replace(
        "__attribute__((noinline)) void find_me(void)",
        "void find_me(void) __asm__(\"evil;main\\\\nroot\");\n\
         __attribute__((noinline)) void find_me(void)",
    );
    let source = source
        .replace("\n__asm__(\".globl find_me\");", "")
        .replace("\\\\n", "_");
    let Some((_folder, program)) = compile("gcc", &source, &["-g0", "-O1", "-S"]) else {
        return;
    };
    // The assembler takes any quoted name, also one with a newline.
    let text = std::fs::read_to_string(&program).unwrap();
    let text = text.replace("evil;main_root", "\"evil;main\\nroot\"");
    let assembly = program.with_extension("s");
    std::fs::write(&assembly, text).unwrap();
    let binary = program.with_extension("bin");
    let built = std::process::Command::new("gcc")
        .arg("-o")
        .arg(&binary)
        .arg(&assembly)
        .output();
    if !built.unwrap().status.success() {
        return remora_testing::skip("this assembler refuses such names");
    }
    let running = Running::start(&binary);
    let frame = single(&snapshot(running.pid()), running.address);
    assert!(frame.name.starts_with("evil:main"), "{}", frame.name);
    assert!(!frame.name.contains([';', '\n']), "{}", frame.name);
}

proptest! {
    // Each case reads the kernel's table of symbols.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn any_addresses_are_survived(
        user in proptest::collection::vec(any::<u64>(), 0..30),
        kernel in proptest::collection::vec(any::<u64>(), 0..4),
    ) {
        let own = own();
        let mut symbolizer = Symbolizer::new(Limits { debug_info: false, ..Limits::default() });
        let raw = RawStack { space: Some(&own), user: &user, kernel: &kernel, stand_ins: &[], truncated: false };
        let stack = symbolizer.symbolize(raw);
        prop_assert!(stack.frames.len() <= user.len() + kernel.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn damaged_binaries_are_survived(
        anywhere in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..40),
        headers in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
    ) {
        let Some(mut image) = small_binary() else { return Ok(()) };
        // The section headers are the end of the file.
        let table = u64::from_le_bytes(image[40..48].try_into().unwrap()) as usize;
        for (at, value) in headers {
            *at.get_mut(&mut image[table..]) = value;
        }
        for (at, value) in anywhere {
            *at.get_mut(&mut image) = value;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged");
        std::fs::write(&path, image).unwrap();
        let module = crate::maps::Module::open(&path).unwrap();
        let mut losses = crate::symbol::SymbolLosses::default();
        let mut names = crate::symbol::text::Names::default();
        let offsets: Vec<u64> = (0..0x3000).step_by(64).collect();
        let found = crate::symbol::resolve::resolve(
            &module, &offsets, &Limits::default(), &mut names, &mut losses,
        );
        prop_assert_eq!(found.len(), offsets.len());
    }
}

/// A small program with debug information, compiled once.
fn small_binary() -> Option<Vec<u8>> {
    static IMAGE: std::sync::OnceLock<Option<Vec<u8>>> = std::sync::OnceLock::new();
    let compiled = IMAGE.get_or_init(|| {
        let (_folder, program) = compile("gcc", C, &["-g", "-O1"])?;
        std::fs::read(program).ok()
    });
    compiled.clone()
}
