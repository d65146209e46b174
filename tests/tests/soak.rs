//! The agent on a target that churns: its memory stays what it was.
//!
//! Ten minutes: `cargo test -p remora-tests --test soak -- --ignored` with the variables that `cargo xtask
//! test` sets; CI has half a minute of it.

use remora_tests::gate::{privileged, skip};
use remora_tests::proc;
use remora_tests::remora::Remora;
use remora_tests::specimen::Start;
use remora_tests::tolerance::SOAK_GROWTH_BYTES;
use std::time::{Duration, Instant};

/// Threads of the specimen.
const THREADS: usize = 500;

/// Looks at the agent's memory, evenly over the run.
const LOOKS: u32 = 30;

fn resident(pid: u32) -> u64 {
    proc::status_number(pid, "VmRSS").expect("it lives") * 1024
}

fn soak(length: Duration) {
    let Some(_turn) = privileged() else { return };
    let run_ms = (length + Duration::from_secs(60)).as_millis().to_string();
    let started = Start::mode("soak")
        .argument("--run-ms")
        .argument(&run_ms)
        .spawn();
    let specimen = match started {
        Ok(specimen) => specimen,
        Err(why) => return skip(&why),
    };
    let seconds = u32::try_from(length.as_secs()).expect("not for ever");
    let mut running = Remora::record(&[specimen.pid()], seconds).start();
    running.until_recording();
    let began = Instant::now();
    let mut seen = Vec::new();
    for look in 1..LOOKS {
        let at = length * look / LOOKS;
        std::thread::sleep(at.saturating_sub(began.elapsed()));
        seen.push(resident(running.pid()));
    }
    let run = running.finish();
    run.assert_code(0);
    // Warm after a half: what is kept of threads that ended is full, the timeline has windows of all threads.
    let (warm, last) = (seen[seen.len() / 2], seen[seen.len() - 1]);
    assert!(last < warm + SOAK_GROWTH_BYTES, "the agent grows: {seen:?}");
    let report = run.report();
    let living = report
        .threads
        .iter()
        .filter(|thread| thread.now.state != "exited");
    let living = living.count();
    assert!(
        living + 50 > THREADS && living < THREADS + 50,
        "{living} threads at the end"
    );
    assert_eq!(report.loss["thread_table_full"], 0);
}

#[test]
fn half_a_minute_of_churn() {
    soak(Duration::from_secs(30));
}

#[test]
#[ignore = "ten minutes"]
fn ten_minutes_of_churn() {
    soak(Duration::from_secs(600));
}
