//! The agent on a target that churns: its memory stays what it was, and nothing falls out of its totals.
//!
//! Ten minutes: `cargo test -p remora-tests --test soak -- --ignored` with the variables that `cargo xtask
//! test` sets; CI has half a minute of it.

use remora_tests::gate::{privileged, skip};
use remora_tests::proc;
use remora_tests::remora::Remora;
use remora_tests::report::Report;
use remora_tests::specimen::Start;
use remora_tests::tolerance::{
    SOAK_COST, SOAK_GROWTH, SOAK_GROWTH_BYTES, SOAK_OBSERVED, SOAK_WARMING_BYTES,
};
use std::time::{Duration, Instant};

/// Threads of the specimen.
const THREADS: usize = 500;

/// Threads that do nothing else than begin and end it.
const OTHERS: usize = 2;

/// Looks at the agent, evenly over the run.
const LOOKS: u32 = 21;

/// From this length of a run on everything that fills up is full after a third of it.
const WARM: Duration = Duration::from_secs(180);

/// The agent at a time.
#[derive(Clone, Copy, Debug)]
struct Look {
    resident: u64,
    /// CPU time of the thread that does nearly all of the work.
    cpu: Duration,
}

fn look(pid: u32) -> Look {
    Look {
        resident: proc::status_number(pid, "VmRSS").expect("it lives") * 1024,
        cpu: proc::schedstat(pid, pid).expect("it lives").run,
    }
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
    for turn in 1..LOOKS {
        let at = length * turn / LOOKS;
        std::thread::sleep(at.saturating_sub(began.elapsed()));
        let now = look(running.agent());
        eprintln!("{:4.0} s: {now:?}", began.elapsed().as_secs_f64());
        seen.push(now);
    }
    let run = running.finish();
    run.assert_code(0);
    memory_is_flat(&seen, length);
    cost_is_flat(&seen);
    totals_are_whole(&run.report(), length);
}

/// A table of sums that doubles, and the first of it being emptied, come in the first half minute or so: a
/// short run may not be over it. After a third of a long one nothing is left that grows but the timeline,
/// by some bytes a thread and window.
fn memory_is_flat(seen: &[Look], length: Duration) {
    let last = seen[seen.len() - 1].resident;
    if length < WARM {
        let warm = seen[seen.len() / 2].resident;
        assert!(last < warm + SOAK_WARMING_BYTES, "it grows: {seen:?}");
        return;
    }
    let warm = seen[seen.len() / 3].resident;
    let most = (warm as f64 * (1.0 + SOAK_GROWTH)) as u64 + SOAK_GROWTH_BYTES;
    let later = &seen[seen.len() / 3..];
    assert!(
        later.iter().all(|look| look.resident <= most),
        "it grows: {seen:?}"
    );
}

/// What it does each second is no more at the end than in the middle.
fn cost_is_flat(seen: &[Look]) {
    let (a, b, c) = (seen.len() / 3, seen.len() * 2 / 3, seen.len() - 1);
    let cost = |from: usize, to: usize| {
        let cpu = seen[to].cpu.saturating_sub(seen[from].cpu);
        cpu.as_secs_f64() / (to - from) as f64
    };
    let (middle, end) = (cost(a, b), cost(b, c));
    assert!(end < middle * SOAK_COST, "{middle} s, then {end} s a look");
}

/// The specimen has so many threads at any time: what the report says of all of them together is known,
/// whoever they were.
fn totals_are_whole(report: &Report, length: Duration) {
    let living = report
        .threads
        .iter()
        .filter(|thread| thread.now.state != "exited");
    let living = living.count();
    assert!(
        living + 50 > THREADS && living < THREADS + 50,
        "{living} threads at the end"
    );
    let one_by_one = report
        .threads
        .iter()
        .filter(|thread| thread.summed_threads == 0);
    let summed: u64 = report.threads.iter().map(|it| it.summed_threads).sum();
    let threads = one_by_one.count() as u64 + summed;
    assert_eq!(u64::from(report.targets[0].threads), threads);
    let lived = |ns: u64| ns as f64 / 1e9 / (length.as_secs_f64() * (THREADS + OTHERS) as f64);
    let observed = lived(report.threads.iter().map(|it| it.observed_ns).sum());
    let accounted = report.threads.iter().map(|it| {
        let blocked: u64 = it.blocked.iter().map(|blocked| blocked.total_ns).sum();
        it.on_cpu_ns + it.run_queue.after_wake_ns + it.run_queue.preempted_ns + blocked
    });
    let accounted = lived(accounted.sum());
    for share in [observed, accounted] {
        assert!(
            (share - 1.0).abs() < SOAK_OBSERVED,
            "{observed} observed, {accounted} accounted"
        );
    }
    for lost in ["thread_table_full", "ended_threads_dropped"] {
        assert_eq!(report.loss.get(lost).copied().unwrap_or(0), 0, "{lost}");
    }
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
