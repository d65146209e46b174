//! Programs that are compiled when the tests run, and tell the address of a function of theirs.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A C program: prints the address of `find_me` and waits for the end of its input.
pub(super) const C: &str = r#"
#include <stdio.h>
__attribute__((noinline)) void find_me(void) { __asm__ volatile("nop\nnop\nnop\nnop"); }
int main(void) {
    printf("%p\n", (void *)find_me);
    fflush(stdout);
    while (getchar() != EOF) find_me();
    return 0;
}
"#;

/// The same in C++, the function in a namespace and with a parameter.
pub(super) const CPP: &str = r#"
#include <cstdio>
#include <vector>
namespace sea { struct Shark {
    __attribute__((noinline)) static void find_me(std::vector<int> const &, unsigned) {
        __asm__ volatile("nop\nnop\nnop\nnop");
    }
}; }
int main() {
    printf("%p\n", (void *)sea::Shark::find_me);
    fflush(stdout);
    while (getchar() != EOF) sea::Shark::find_me({}, 1);
    return 0;
}
"#;

/// Compiles with `compiler`; `None`, with the reason printed, when there is none.
pub(super) fn compile(compiler: &str, source: &str, flags: &[&str]) -> Option<(TempDir, PathBuf)> {
    let (version, command, name) = match compiler {
        "g++" => ("--version", &[][..], "prog.cc"),
        "go" => ("version", &["build"][..], "prog.go"),
        _ => ("--version", &[][..], "prog.c"),
    };
    if Command::new(compiler).arg(version).output().is_err() {
        remora_testing::skip(format_args!("no {compiler} here"));
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join(name);
    std::fs::write(&text, source).unwrap();
    let program = folder.path().join("prog");
    let status = Command::new(compiler)
        .args(command)
        .args(flags)
        .arg("-o")
        .arg(&program)
        .arg(&text)
        .status()
        .unwrap();
    assert!(status.success(), "{compiler} failed");
    Some((folder, program))
}

/// A running program; it is ended and reaped when this is dropped.
pub(super) struct Running {
    child: Child,
    pub address: u64,
}

impl Running {
    pub(super) fn start(program: &Path) -> Self {
        Self::wait_for(Command::new(program))
    }

    pub(super) fn wait_for(mut command: Command) -> Self {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = u64::from_str_radix(line.trim().trim_start_matches("0x"), 16).unwrap();
        Self { child, address }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
