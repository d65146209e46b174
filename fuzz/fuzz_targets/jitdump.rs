//! A jitdump from anywhere: looking up addresses in it ends, without a panic, and answers for no
//! more than was asked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_process::symbol::jitdump;
use remora_process::maps::Content;

/// Addresses that are taken from the dump itself, so that its records cover some.
const OWN: usize = 64;

fuzz_target!(|data: &[u8]| {
    let words = data.chunks_exact(8).take(OWN);
    let own = words.map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")));
    let addresses: Vec<u64> = own.chain([0, 0x1000, 0x1008, 0x5008, u64::MAX]).collect();
    let content = Content::Bytes(data.into());
    for limit in [u64::MAX, data.len() as u64 / 2] {
        let dump = jitdump::look_up(&content, limit, &addresses);
        assert!(dump.symbols.keys().all(|address| addresses.contains(address)));
    }
});
