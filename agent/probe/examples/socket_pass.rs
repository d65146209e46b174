//! Times the passes over the descriptors of processes: bound to each of them, and over the whole host.
//!
//! `cargo run --release --example socket_pass -- PID…` as root, with the kernel side built in.

use remora_kernel::Kernel;
use remora_probe::{Probe, Settings, SocketProbe, records};
use remora_process::{Selection, resolve};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Passes of each kind; the median counts.
const ROUNDS: usize = 31;

/// More processes than get links of their own: one pass over the host then, filtered by the program.
const MANY: u32 = 2000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pids: Vec<u32> = std::env::args()
        .skip(1)
        .map(|pid| pid.parse())
        .collect::<Result<_, _>>()?;
    let targets = resolve(&Selection {
        pids: pids.clone(),
        ..Selection::default()
    })?;
    let mut probe = Probe::load(&Kernel::read()?, &Settings::default())?;
    probe.start();
    let identities: Vec<_> = targets
        .iter()
        .map(|target| (target.pid(), target.identity.start_ticks()))
        .collect();
    probe.enlist(&identities)?;
    let mut sockets = probe.sockets().ok_or("the iterators are off")?;
    let bound: BTreeSet<u32> = pids.iter().copied().collect();
    let whole: BTreeSet<u32> = bound.iter().copied().chain(1..=MANY).collect();
    measure("bound to the processes", &mut sockets, &bound)?;
    measure("over the host, filtered", &mut sockets, &whole)?;
    let (mut times, mut seen) = (Vec::new(), 0_u64);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        seen = 0;
        sockets.host(began + Duration::from_secs(60), |_, _| seen += 1)?;
        times.push(began.elapsed());
    }
    print("over the host, all", seen, times);
    Ok(())
}

fn measure(what: &str, sockets: &mut SocketProbe, pids: &BTreeSet<u32>) -> std::io::Result<()> {
    let (mut times, mut output) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        sockets.pass(pids, &mut output)?;
        times.push(began.elapsed());
    }
    print(what, records(&output).count() as u64, times);
    Ok(())
}

fn print(what: &str, sockets: u64, mut times: Vec<Duration>) {
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    println!("{what}: {sockets} sockets, {median:?}");
}
