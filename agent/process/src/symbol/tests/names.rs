//! What users see: names of Rust, C and C++ code, inlined functions, files and lines.

use super::specimen::{C, CPP, Running, compile};
use super::*;
use remora_model::FrameKind;
use std::hint::black_box;

/// An instruction pointer inside of this function, wherever it is inlined to.
#[inline(always)]
fn inlined_here() -> (u64, u32) {
    let address: u64;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the instruction pointer, and nothing else.
    unsafe {
        std::arch::asm!("lea {}, [rip]", out(reg) address, options(nomem, nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: reads the instruction pointer, and nothing else.
    unsafe {
        std::arch::asm!("adr {}, .", out(reg) address, options(nomem, nostack));
    }
    (address, line!())
}

#[inline(never)]
fn holds_the_inlined_one() -> (u64, u32, u32) {
    let (address, inner_line) = inlined_here();
    black_box((address, inner_line, line!() - 1))
}

#[test]
fn a_rust_function_has_its_name_without_hash_its_file_and_line() {
    let address = holds_the_inlined_one as *const () as u64;
    let frame = single(&own(), address);
    assert!(
        frame.name.ends_with("::names::holds_the_inlined_one"),
        "{}",
        frame.name
    );
    assert!(frame.file.unwrap().ends_with("tests/names.rs"));
    assert!(frame.line.unwrap() > 0);
    assert_eq!((frame.kind, frame.named), (FrameKind::Native, true));
    assert_eq!(
        frame.module.as_deref(),
        std::env::current_exe().unwrap().to_str()
    );
}

#[test]
fn an_inlined_function_stands_behind_the_one_that_holds_it() {
    let (address, inner_line, outer_line) = holds_the_inlined_one();
    let frames = frames(&own(), &[address]);
    let [outer, inner] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert!(
        outer.name.ends_with("::holds_the_inlined_one"),
        "{}",
        outer.name
    );
    assert!(inner.name.ends_with("::inlined_here"), "{}", inner.name);
    assert_eq!(
        (outer.kind, inner.kind),
        (FrameKind::Native, FrameKind::Inlined)
    );
    assert_eq!(outer.line, Some(outer_line));
    // The assembly stands some lines above `line!()`.
    assert!(
        (inner_line - 12..inner_line).contains(&inner.line.unwrap()),
        "{inner:?}"
    );
}

#[test]
fn without_debug_information_there_are_only_names() {
    let limits = Limits {
        debug_info: false,
        ..Limits::default()
    };
    let (address, ..) = holds_the_inlined_one();
    let stack = symbolize(&mut Symbolizer::new(limits), &own(), &[address]);
    let [frame] = &stack.frames[..] else {
        panic!("{stack:?}")
    };
    assert!(
        frame.name.ends_with("::holds_the_inlined_one"),
        "{}",
        frame.name
    );
    assert_eq!((&frame.file, frame.line), (&None, None));
}

#[test]
fn a_return_address_is_the_call_before_it_and_the_leaf_is_exact() {
    // The first address of a function, as a return address, belongs to what lies before it.
    let start = holds_the_inlined_one as *const () as u64;
    let frames = frames(&own(), &[start, start]);
    let leaf = frames.last().unwrap();
    assert!(leaf.name.ends_with("::holds_the_inlined_one"));
    assert!(
        frames[..frames.len() - 1]
            .iter()
            .all(|frame| frame.name != leaf.name),
        "{frames:?}"
    );
}

#[test]
fn kernel_frames_stand_behind_user_frames() {
    let kallsyms = std::fs::read_to_string("/proc/kallsyms").unwrap_or_default();
    let parse = |line: &str| u64::from_str_radix(line.split(' ').next()?, 16).ok();
    let text = kallsyms
        .lines()
        .find(|line| line.ends_with(" T schedule"))
        .and_then(parse);
    let Some(schedule) = text.filter(|address| *address != 0) else {
        return remora_testing::skip("kernel addresses are hidden here");
    };
    let own = own();
    let user = [kernel_frames_stand_behind_user_frames as *const () as u64];
    let kernel = [schedule + 1];
    let mut symbolizer = Symbolizer::new(Limits::default());
    let raw = RawStack {
        space: Some(&own),
        user: &user,
        kernel: &kernel,
        stand_ins: &[],
        truncated: true,
    };
    let stack = symbolizer.symbolize(raw);
    let last = stack.frames.last().unwrap();
    assert_eq!(
        (&*last.name, last.module.as_deref()),
        ("schedule", Some("[kernel]"))
    );
    assert_eq!((last.kind, last.named), (FrameKind::Kernel, true));
    assert!(stack.frames[0].name.contains("kernel_frames_stand"));
    assert!(stack.truncated);
}

#[test]
fn libc_and_vdso_have_names() {
    let own = own();
    let libc = own.mappings().iter().find(|mapping| {
        mapping
            .module
            .as_ref()
            .is_some_and(|module| module.name.contains("libc.so"))
    });
    let Some(_) = libc else {
        return remora_testing::skip("libc is linked statically here");
    };
    let frame = single(&own, libc_function());
    assert!(frame.name.contains("getppid"), "{frame:?}");
    let vdso = own.mappings().iter().find(|mapping| {
        mapping
            .module
            .as_ref()
            .is_some_and(|module| &*module.name == "[vdso]")
    });
    let vdso = vdso.unwrap();
    let addresses: Vec<u64> = (vdso.start..vdso.end).step_by(16).collect();
    let found = addresses.iter().map(std::slice::from_ref);
    let raw = |user| RawStack {
        space: Some(&own),
        user,
        kernel: &[],
        stand_ins: &[],
        truncated: false,
    };
    let stacks: Vec<_> = found.map(raw).collect();
    let stacks = Symbolizer::new(Limits::default()).symbolize_all(&stacks);
    let mut frames = stacks.iter().flat_map(|stack| &stack.frames);
    assert!(frames.any(|frame| frame.named && frame.name.contains("clock_gettime")));
}

/// The address of `getppid` of libc.
pub(super) fn libc_function() -> u64 {
    // SAFETY: a look-up of a name in the libraries that are loaded.
    unsafe { libc_symbol(c"getppid".as_ptr()) as u64 }
}

unsafe extern "C" {
    fn dlsym(handle: *mut u8, name: *const std::ffi::c_char) -> *mut u8;
}

unsafe fn libc_symbol(name: *const std::ffi::c_char) -> *mut u8 {
    // SAFETY: a null handle is RTLD_DEFAULT; the caller gives a C string.
    unsafe { dlsym(std::ptr::null_mut(), name) }
}

#[test]
fn c_has_file_and_line() {
    let Some((_folder, program)) = compile("gcc", C, &["-g", "-O1"]) else {
        return;
    };
    let running = Running::start(&program);
    let frame = single(&snapshot(running.pid()), running.address);
    assert_eq!(&*frame.name, "find_me");
    assert!(frame.file.unwrap().ends_with("prog.c"));
    assert_eq!(frame.line, Some(3));
}

#[test]
fn compressed_debug_information_is_read() {
    let flags = ["-g", "-O1", "-gz=zlib"];
    let Some((_folder, program)) = compile("gcc", C, &flags) else {
        return;
    };
    let running = Running::start(&program);
    assert_eq!(
        single(&snapshot(running.pid()), running.address).line,
        Some(3)
    );
}

#[test]
fn cpp_is_demangled_with_and_without_debug_information() {
    for flags in [["-g", "-O1"], ["-g0", "-O1"]] {
        let Some((_folder, program)) = compile("g++", CPP, &flags) else {
            return;
        };
        let running = Running::start(&program);
        let frame = single(&snapshot(running.pid()), running.address);
        let expected =
            "sea::Shark::find_me(std::vector<int, std::allocator<int> > const&, unsigned int)";
        assert_eq!(&*frame.name, expected, "{flags:?}");
    }
}

#[test]
fn results_are_remembered_and_equal_stacks_are_equal() {
    let own = own();
    let (address, ..) = holds_the_inlined_one();
    let raw = RawStack {
        space: Some(&own),
        user: &[address],
        kernel: &[],
        stand_ins: &[],
        truncated: false,
    };
    let mut symbolizer = Symbolizer::new(Limits::default());
    let first = symbolizer.symbolize_all(&[raw; 1000]);
    let started = std::time::Instant::now();
    let second = symbolizer.symbolize_all(&[raw; 1000]);
    assert!(
        started.elapsed().as_millis() < 100,
        "the second batch read the file again"
    );
    assert_eq!(first, second);
    assert!(first.iter().all(|stack| *stack == first[0]));
    let mut forgetful = Symbolizer::new(Limits {
        cached_frames: 0,
        ..Limits::default()
    });
    assert_eq!(forgetful.symbolize(raw), first[0]);
}
