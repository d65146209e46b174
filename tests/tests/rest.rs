//! The agent at rest: while its target sleeps it sleeps too.

use remora_tests::gate::privileged;
use remora_tests::proc;
use remora_tests::remora::Remora;
use remora_tests::specimen::Specimen;
use remora_tests::tolerance::{REST_BYTES, REST_CPU, REST_WAKEUPS};
use std::time::{Duration, Instant};

#[derive(Clone, Copy)]
struct Used {
    when: Instant,
    wakeups: u64,
    cpu: Duration,
}

fn used(pid: u32) -> Used {
    let tids = proc::tids(pid);
    // Of a thread, the same file lies below /proc by its own id.
    let wakeups = |tid: &u32| proc::status_number(*tid, "voluntary_ctxt_switches").unwrap_or(0);
    let cpu = |tid: &u32| proc::schedstat(pid, *tid).map_or(Duration::ZERO, |stat| stat.run);
    Used {
        when: Instant::now(),
        wakeups: tids.iter().map(wakeups).sum(),
        cpu: tids.iter().map(cpu).sum(),
    }
}

#[test]
fn an_agent_with_an_idle_target_is_idle() {
    let Some(_turn) = privileged() else { return };
    let specimen = Specimen::start("never");
    let mut running = Remora::record(&[specimen.pid()], 8).start();
    running.until_recording();
    std::thread::sleep(Duration::from_millis(500));
    let before = used(running.agent());
    std::thread::sleep(Duration::from_secs(5));
    let after = used(running.agent());
    let resident = proc::status_number(running.agent(), "VmRSS").expect("it lives") * 1024;
    let run = running.finish();
    run.assert_code(0);

    let seconds = (after.when - before.when).as_secs_f64();
    let wakeups = (after.wakeups - before.wakeups) as f64 / seconds;
    assert!(wakeups <= REST_WAKEUPS, "{wakeups:.1} wake-ups a second");
    let cpu = after.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds;
    assert!(cpu < REST_CPU, "{:.2} % of a core", cpu * 100.0);
    assert!(resident < REST_BYTES, "{} MiB resident", resident >> 20);
    // Its own account of itself is of the same size.
    let told = run.report().overhead.agent_rss_bytes;
    assert!(
        told >= resident / 2 && told < 2 * REST_BYTES,
        "{told} told, {resident} seen"
    );
}
