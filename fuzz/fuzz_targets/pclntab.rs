//! Go's table of functions from anywhere: asking it for any address ends, without a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use remora_process::symbol::pclntab::Table;

fuzz_target!(|data: &[u8]| {
    let Some(table) = Table::parse(data) else {
        return;
    };
    let text = table.text();
    for table in [table, table.with_text(0), table.with_text(u64::MAX)] {
        let _ = table.text_field();
        for address in [0, 1, 0x1000, 0x1040, text, text.wrapping_add(0x41), u64::MAX] {
            let name = table.find(address);
            // A name is a piece of the table, and has an end.
            assert!(name.is_none_or(|name| name.len() <= data.len().min(4096)));
        }
    }
});
