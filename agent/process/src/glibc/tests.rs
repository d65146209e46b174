//! Sizes against what a C program did with malloc, and rows made up to trap a walk.

use super::*;
use crate::memory::ProcessMemory;
use proptest::prelude::*;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
static void *volatile sink;
static void take(int n, size_t bytes) { for (int i = 0; i < n; i++) sink = malloc(bytes); }
static void *other(void *unused) { take(700, 3000); puts("ready"); fflush(stdout); for (;;) getchar(); return unused; }
int main(void) {
    pthread_t thread;
    take(5000, 200);
    take(300, 9000);
    void *freed[100];
    for (int i = 0; i < 100; i++) { freed[i] = malloc(2000); sink = malloc(24); }
    for (int i = 0; i < 100; i++) free(freed[i]);
    pthread_create(&thread, 0, other, 0);
    pthread_join(thread, 0);
}
"#;

#[test]
fn blocks_in_use_are_counted_by_size_in_the_heap_and_in_arenas() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, program) = (folder.path().join("a.c"), folder.path().join("a"));
    std::fs::write(&source, PROGRAM).expect("an own folder");
    let compiled = Command::new("cc")
        .args(["-w", "-O0", "-pthread", "-o"])
        .arg(&program)
        .arg(&source)
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        remora_testing::skip("no C compiler");
        return;
    }
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let pid = child.id();
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("its mappings");
    let memory = ProcessMemory::open(pid).expect("its memory");
    let found = blocks(&memory, &heaps(&maps), Duration::from_secs(10));
    child.kill().expect("it is there");
    child.wait().expect("it ends");
    let found = found.expect("heaps of glibc");
    let of = |size| found.classes.get(&size).copied().unwrap_or(0);
    // A block has 8 bytes more than was asked for, and a multiple of 16.
    assert_eq!(
        (of(208), of(class(9008)), of(3008)),
        (5000, 300, 700),
        "{found:?}"
    );
    // They are too large for a thread to keep them at hand.
    assert_eq!(of(2016), 0, "{found:?}");
    // A hundred of them, none beside another; a little of one is taken again for the thread.
    assert!((200_000..204_000).contains(&found.free_bytes), "{found:?}");
    let by_heap = found.by_heap.iter();
    let sums = by_heap.fold((0, 0), |sum, heap| (sum.0 + heap.1, sum.1 + heap.2));
    assert_eq!(sums, (found.bytes, found.free_bytes));
    let main = found.by_heap.iter().find(|heap| heap.0.main);
    let (main, used, free) = *main.expect("a main heap");
    let whole = main.end - main.start;
    assert!(used + free < whole && whole <= used + found.free_bytes + found.top_bytes);
    assert!(
        !found.cut && found.torn == 0 && found.heaps == 2,
        "{found:?}"
    );
    eprintln!(
        "{} heaps, {} bytes in {:?}",
        found.heaps, found.bytes, found.took
    );
}

#[test]
fn only_heaps_are_heaps() {
    let maps = "55d0a0000000-55d0a0021000 rw-p 00000000 00:00 0 [heap]\n\
        7f0000000000-7f0000021000 rw-p 00000000 00:00 0 \n\
        7f0004000000-7f0004021000 ---p 00000000 00:00 0 \n\
        7f0008001000-7f0008021000 rw-p 00000000 00:00 0 \n\
        7f000c000000-7f000c021000 rw-p 00000000 08:01 77 /tmp/file\n\
        nonsense\n";
    let found = heaps(maps);
    assert_eq!(found.len(), 2);
    assert!(found[0].main && !found[1].main && found[1].start == 0x7f00_0000_0000);
}

#[test]
fn classes_are_exact_for_small_blocks_and_near_for_large_ones() {
    assert_eq!((class(32), class(4096)), (32, 4096));
    for size in (4112..10_000_000).step_by(4096) {
        assert!(
            class(size) <= size && class(size) * 16 >= size * 15,
            "{size}"
        );
    }
}

/// Bytes from an address on.
struct Bytes(u64, Vec<u8>);

impl Memory for Bytes {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        for (at, byte) in buffer.iter_mut().enumerate() {
            let index = (address + at as u64).checked_sub(self.0);
            *byte = index
                .and_then(|index| self.1.get(index as usize))
                .copied()
                .unwrap_or(0);
        }
        Some(())
    }
}

proptest! {
    #[test]
    fn any_heap_is_survived(
        sizes in prop::collection::vec(0..300_u64, 0..64),
        words in prop::collection::vec(any::<u64>(), 0..200),
        main: bool,
    ) {
        let base = 64 << 20;
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        bytes.resize(16 << 10, 0);
        let mut at = 0_usize;
        for size in sizes {
            if let Some(place) = bytes.get_mut(at + 8..at + 16) {
                place.copy_from_slice(&((size * 16) | 1).to_ne_bytes());
            }
            at += size as usize * 16;
        }
        let heap = Heap { start: base, end: base + (16 << 10), main };
        let _ = blocks(&Bytes(base, bytes), &[heap], Duration::from_secs(1));
        let _ = blocks(&Bytes(0, Vec::new()), &[Heap { start: 0, end: u64::MAX, main }], Duration::from_millis(1));
    }
}
