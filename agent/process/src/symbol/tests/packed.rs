//! Binaries that were stripped the way distributions do it: the functions that the dynamic symbol
//! table lacks are in an ELF file within, packed.

use super::specimen::{Running, compile};
use super::*;
use std::path::Path;
use std::process::Command;

/// Prints the address of `PRINTED`: one of two functions, of which one is exported.
const SOURCE: &str = r#"
#include <stdio.h>
__attribute__((noinline)) static void hidden(void) { __asm__ volatile("nop\nnop\nnop\nnop"); }
__attribute__((noinline)) void exported(void) { __asm__ volatile("nop\nnop\nnop\nnop"); }
int main(void) {
    printf("%p\n", (void *)PRINTED);
    fflush(stdout);
    while (getchar() != EOF) { hidden(); exported(); }
    return 0;
}
"#;

/// What Fedora's `find-debuginfo` does to a binary.
const STRIP: &str = r"
set -e
nm -D prog --format=posix --defined-only | awk '{print $1}' | sort > dynamic
nm prog --format=posix --defined-only | awk '$2 ~ /^[TtD]$/ {print $1}' | sort > functions
comm -13 dynamic functions > keep
objcopy --only-keep-debug prog debug
objcopy -S --remove-section .comment --keep-symbols=keep debug mini
xz --keep mini
strip -s prog
objcopy --add-section .gnu_debugdata=mini.xz prog
";

pub(super) fn run(folder: &Path, script: &str) {
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", script]).current_dir(folder).output();
    assert!(output.unwrap().status.success());
}

#[test]
fn what_is_packed_and_what_is_dynamic_have_names() {
    for function in ["hidden", "exported"] {
        let source = SOURCE.replace("PRINTED", function);
        let Some((folder, program)) = compile("gcc", &source, &["-O1", "-rdynamic"]) else {
            return;
        };
        run(folder.path(), STRIP);
        let running = Running::start(&program);
        let space = snapshot(running.pid());
        let frame = single(&space, running.address);
        assert_eq!((&*frame.name, frame.named), (function, true));
    }
}

#[test]
fn a_damaged_package_is_counted() {
    let source = SOURCE.replace("PRINTED", "hidden");
    let Some((folder, program)) = compile("gcc", &source, &["-O1", "-rdynamic"]) else {
        return;
    };
    let damage = "head -c 400 mini.xz > half; objcopy --update-section .gnu_debugdata=half prog";
    run(folder.path(), &format!("{STRIP}\n{damage}"));
    let running = Running::start(&program);
    let mut symbolizer = Symbolizer::new(Limits::default());
    let stack = symbolize(
        &mut symbolizer,
        &snapshot(running.pid()),
        &[running.address],
    );
    assert!(!stack.frames[0].named, "{stack:?}");
    assert_eq!(symbolizer.losses().files_unparsable, 1);
}

#[test]
fn an_installed_debug_file_is_found_by_build_id() {
    let own = own();
    let modules = own.mappings().iter().filter_map(|mapping| {
        let module = mapping.module.as_ref()?;
        module.name.contains("libc.so").then_some(module)
    });
    let build_ids = modules.filter_map(|module| module.layout.as_ref()?.build_id());
    let mut installed =
        build_ids.filter_map(|id| crate::symbol::debug_file::installed(id, u64::MAX));
    let Some(_) = installed.next() else {
        return remora_testing::skip("the debug file of libc is not installed here");
    };
    let frame = frames(&own, &[names::libc_function()]).remove(0);
    assert!(frame.file.is_some() && frame.line.is_some(), "{frame:?}");
}
