//! The memory of a process that claims to run Python, from anywhere: listing its threads, reading
//! their code objects, merging their stacks and looking for the holders of their locks ends, without a panic.
//!
//! Addresses wrap around at the end of the image, so that nearly every pointer leads somewhere:
//! chains get long, and run in circles.

#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_process::python::code::Resolver;
use remora_process::python::layout::{Layout, published};
use remora_process::python::threads::waits;
use remora_process::python::{Python, Version, merge, threads};
use remora_process::maps::{Content, Identity, Module};
use remora_process::memory::Memory;
use std::sync::Arc;

/// Addresses from here on cannot be read.
const END: u64 = 1 << 48;

struct Image<'a>(&'a [u8]);

impl Memory for Image<'_> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        address
            .checked_add(buffer.len() as u64)
            .filter(|end| *end < END)?;
        let first = usize::try_from(address % self.0.len() as u64).ok()?;
        let bytes = self.0.iter().cycle().skip(first);
        buffer
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        Some(())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&minor, image)) = data.split_first().filter(|(_, image)| !image.is_empty()) else {
        return;
    };
    let memory = Image(image);
    let version = Version {
        major: 3,
        minor: 8 + minor % 8,
        micro: None,
    };
    let told = Layout::of(version).map(|layout| (version, layout));
    let Some((version, layout)) = told.or_else(|| published::read(&memory, 0)) else {
        return;
    };
    let python = Python {
        version,
        layout,
        interpreter: layout.interpreter(0, 0),
        module: Arc::new(Module {
            name: "python".into(),
            path: "python".into(),
            identity: Arc::new(Identity::Inode(0, 0, "python".into())),
            content: Content::Missing,
            layout: None,
            device: 0,
            inode: 0,
        }),
        evaluation: Vec::new(),
        evaluation_complete: false,
    };
    let all = threads(&python, &memory).threads;
    // What a thread sleeps in is its own choice too: the first word of the image.
    let futex = memory.u64(0).unwrap_or_default();
    let waiting: Vec<(u64, u64)> = all.iter().take(4).map(|it| (it.state, futex)).collect();
    let found = waits::waits(&python, version.minor, &memory, &waiting);
    assert!(found.len() <= waiting.len());
    let states: Vec<u64> = waiting.iter().map(|it| it.0).collect();
    let pools = waits::pools(&python, version.minor, &memory, &states);
    assert!(pools.iter().map(|it| it.workers.len()).sum::<usize>() <= states.len());
    let mut resolver = Resolver::new(layout);
    for thread in all.iter().take(4) {
        for frame in thread.frames.iter().take(64) {
            if let Some(code) = resolver.resolve(&memory, frame) {
                let _ = code.line(frame.instruction);
                assert!(!code.qualname.contains(['\n', ';', '\0']));
            }
        }
        let native = [1, 2, 1, 2, 1];
        let merged = merge(&native, |address| address == 1, &thread.frames);
        assert!(merged.frames.len() >= thread.frames.len());
    }
});
