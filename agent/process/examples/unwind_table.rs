//! Prints what unwind tables of the given files cost and what they cannot say: rows, bytes,
//! milliseconds, peak memory of the process, causes.
//!
//! `cargo run --release --example unwind_table -- /usr/lib/x86_64-linux-gnu/libc.so.6`

use remora_process::maps::Content;
use remora_process::unwind::{Limits, Table, compile};
use std::time::{Duration, Instant};

/// Each file is compiled so many times; the fastest counts.
const ROUNDS: usize = 3;

fn main() {
    for path in std::env::args().skip(1) {
        match measure(&path) {
            Ok((table, time)) => print(&path, &table, time),
            Err(error) => println!("{path}: {error}"),
        }
    }
}

fn measure(path: &str) -> Result<(Table, Duration), Box<dyn std::error::Error>> {
    let content = Content::File(std::fs::File::open(path)?);
    let mut best: Option<(Table, Duration)> = None;
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let table = compile(&content, &Limits::default())?;
        let time = begin.elapsed();
        if best.as_ref().is_none_or(|(_, fastest)| time < *fastest) {
            best = Some((table, time));
        }
    }
    best.ok_or_else(|| "not measured".into())
}

fn print(path: &str, table: &Table, time: Duration) {
    let stats = &table.stats;
    println!(
        "{path}: {} functions, {} rows, {} chunks, {} KiB, {:.1} ms, peak {} KiB",
        stats.functions,
        table.rows.len(),
        table.chunks(),
        table.rows.len() * 8 / 1024,
        time.as_secs_f64() * 1e3,
        peak_kib(),
    );
    if stats.malformed > 0 || stats.ignored > 0 || stats.damaged {
        println!(
            "  {} malformed, {} ignored, damaged sections: {}",
            stats.malformed, stats.ignored, stats.damaged
        );
    }
    let covered = stats.covered;
    for (cause, share) in stats.unsupported().filter(|(_, share)| share.pieces > 0) {
        println!(
            "  {}: {} of {} pieces, {} of {} bytes ({:.3} %)",
            cause.key(),
            share.pieces,
            covered.pieces,
            share.bytes,
            covered.bytes,
            share.bytes as f64 * 100.0 / covered.bytes as f64,
        );
    }
}

/// Peak resident memory of this process; 0 where the kernel does not say.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_ascii_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
