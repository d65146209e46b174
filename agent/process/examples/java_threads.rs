//! What is read of the Java virtual machine of a process: its threads, their names, what they wait for, and how long it
//! took: `cargo run -p remora-process --example java_threads PID`.

use remora_process::java::{self, Threads};
use remora_process::maps::{Files, Snapshot};
use remora_process::memory::ProcessMemory;
use std::error::Error;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let pid: u32 = std::env::args().nth(1).ok_or("PID is missing")?.parse()?;
    let snapshot = Snapshot::read(pid, 0, &mut Files::default())?;
    let memory = ProcessMemory::open(pid)?;
    let began = Instant::now();
    let java = java::find(&snapshot, &memory).ok_or("no libjvm is mapped")??;
    let found = began.elapsed();
    let began = Instant::now();
    let threads = java::threads(&java, &memory);
    let took = began.elapsed();
    print(&threads);
    println!(
        "Java {}: {} threads, {} unread; tables {found:?}, threads {took:?}",
        java.version,
        threads.threads.len(),
        threads.unread
    );
    Ok(())
}

fn print(threads: &Threads) {
    for thread in &threads.threads {
        println!("{} {:?} {:?}", thread.tid, thread.name, thread.wait);
    }
}
