//! Windows add up to the whole, however they are merged.

use super::*;
use bytemuck::Zeroable;
use remora_common::{event_loop::bucket, thread::STATE_RUNNING};

const SECOND: u64 = 1_000_000_000;

fn recorder(whole_s: u64) -> Recorder {
    let keep = Keep {
        window: Duration::from_secs(1),
        whole: Duration::from_secs(whole_s),
    };
    Recorder::new(keep, 5 * SECOND, 1_000_000)
}

/// A thread that has run for `on_cpu_ns` until `now_ns` and waited for locks for the rest.
fn slot(serial: u32, on_cpu_ns: u64, lock_ns: u64, now_ns: u64) -> ThreadSlot {
    let mut slot = ThreadSlot {
        serial,
        state: STATE_RUNNING,
        since_ns: now_ns,
        enlisted_ns: 5 * SECOND,
        on_cpu_ns,
        ..Zeroable::zeroed()
    };
    slot.waits[Reason::Futex as usize].long_ns = lock_ns;
    slot
}

fn event_loop(lengths: &[u64]) -> EventLoop {
    let mut event_loop = EventLoop::zeroed();
    for ns in lengths {
        event_loop.buckets[bucket(*ns)] += 1;
        event_loop.iterations += 1;
        event_loop.max_ns = event_loop.max_ns.max(*ns);
    }
    event_loop
}

#[test]
fn a_window_holds_what_came_since_the_last() {
    let mut recorder = recorder(600);
    let one = slot(7, SECOND / 4, SECOND * 3 / 4, 6 * SECOND);
    recorder.close(6 * SECOND, &[one], |_| None, Others::default());
    let two = slot(7, SECOND / 4 + SECOND, SECOND * 3 / 4, 7 * SECOND);
    recorder.close(7 * SECOND, &[two], |_| None, Others::default());
    let windows: Vec<_> = recorder.finish().0.iter().collect();
    let times: Vec<_> = windows
        .iter()
        .map(|window| window.threads[0].time_us)
        .collect();
    assert_eq!(times[0][Activity::OnCpu as usize], 250_000);
    assert_eq!(times[0][Activity::Lock as usize], 750_000);
    assert_eq!(times[1][Activity::OnCpu as usize], 1_000_000);
    assert_eq!(times[1][Activity::Lock as usize], 0);
    assert_eq!(
        (windows[1].start_ns, windows[1].length_ns),
        (SECOND, SECOND)
    );
}

#[test]
fn what_lasts_counts_up_to_the_windows_end() {
    let mut recorder = recorder(600);
    let running = slot(7, 0, 0, 5 * SECOND);
    recorder.close(6 * SECOND, &[running], |_| None, Others::default());
    let windows: Vec<_> = recorder.finish().0.iter().collect();
    assert_eq!(
        windows[0].threads[0].time_us[Activity::OnCpu as usize],
        1_000_000
    );
}

#[test]
fn a_thread_that_ended_is_in_its_last_window_only() {
    let mut recorder = recorder(600);
    recorder.end(&slot(9, SECOND / 2, 0, 5 * SECOND + SECOND / 2), None);
    recorder.close(6 * SECOND, &[], |_| None, Others::default());
    recorder.close(7 * SECOND, &[], |_| None, Others::default());
    let windows: Vec<_> = recorder.finish().0.iter().collect();
    assert_eq!(windows[0].threads.len(), 1);
    assert!(windows[1].threads.is_empty());
}

#[test]
fn iterations_are_those_of_the_window() {
    let mut recorder = recorder(600);
    let thread = slot(7, 0, 0, 6 * SECOND);
    recorder.close(
        6 * SECOND,
        &[thread],
        |_| Some(event_loop(&[1_000, 500_000_000])),
        Others::default(),
    );
    recorder.close(
        7 * SECOND,
        &[thread],
        |_| Some(event_loop(&[1_000, 500_000_000, 2_000])),
        Others::default(),
    );
    let windows: Vec<_> = recorder.finish().0.iter().collect();
    let points: Vec<_> = windows
        .iter()
        .map(|window| window.threads[0].event_loop.as_ref().unwrap())
        .collect();
    assert_eq!(points[0].lengths.count(), 2);
    assert_eq!(points[0].longest, Duration::from_millis(500));
    assert_eq!(points[1].lengths.count(), 1);
    assert!(
        points[1].longest < Duration::from_micros(3),
        "{:?}",
        points[1]
    );
}

#[test]
fn an_hour_is_kept_in_few_windows_and_loses_nothing() {
    let mut recorder = recorder(60);
    for second in 1..=3600 {
        let now = (5 + second) * SECOND;
        let thread = slot(7, second * SECOND / 2, second * SECOND / 2, now);
        recorder.close(now, &[thread], |_| None, Others::default());
    }
    let (windows, coarsened) = recorder.finish();
    let windows: Vec<_> = windows.iter().collect();
    assert!(
        windows.len() < 60 + 8 * OLD_OF_A_LENGTH,
        "{}",
        windows.len()
    );
    assert_eq!(windows.len() as u64 + coarsened, 3600);
    let mut end_ns = 0;
    let mut on_cpu_us = 0;
    for window in &windows {
        assert_eq!(window.start_ns, end_ns, "no gap and no overlap");
        end_ns += window.length_ns;
        on_cpu_us += window.threads[0].time_us[Activity::OnCpu as usize];
    }
    assert_eq!((end_ns, on_cpu_us), (3600 * SECOND, 1_800_000_000));
    let recent = windows.iter().rev().take(60);
    assert!(recent.into_iter().all(|window| window.length_ns == SECOND));
}

#[test]
fn a_budget_is_kept_by_merging_the_oldest() {
    let mut recorder = recorder(600);
    recorder.budget_bytes = 40 * 100 * 8;
    for second in 1..=200 {
        let now = (5 + second) * SECOND;
        let threads: Vec<_> = (1..=100).map(|serial| slot(serial, 0, 0, now)).collect();
        recorder.close(now, &threads, |_| None, Others::default());
    }
    assert!(recorder.bytes <= recorder.budget_bytes);
    let (windows, coarsened) = recorder.finish();
    let windows: Vec<_> = windows.iter().collect();
    assert_eq!(windows.len() as u64 + coarsened, 200);
    assert_eq!(windows.last().unwrap().length_ns, SECOND);
}

#[test]
fn sockets_that_are_gone_leave_the_windows() {
    let mut recorder = recorder(600);
    let sockets = |ids: &[u32]| -> Vec<SocketWindow> {
        let window = |id: &u32| SocketWindow {
            id: *id,
            receive_last: 1,
            receive_max: 1,
            send_last: 0,
            send_max: 0,
        };
        ids.iter().map(window).collect()
    };
    for second in 1..=u64::from(2 * CLEAN_EVERY) {
        // One stays; one lives for a window, one for ten.
        let (brief, long) = (1_000 + second as u32, 500 + second as u32 / 10);
        let others = Others {
            sockets: sockets(&[brief, 7, long]),
            sockets_gone: vec![brief - 1, long - 1],
            ..Others::default()
        };
        recorder.close((5 + second) * SECOND, &[], |_| None, others);
    }
    let windows: Vec<_> = recorder.finish().0.iter().collect();
    let ids = |at: usize| -> Vec<u32> { windows[at].sockets.iter().map(|it| it.id).collect() };
    assert_eq!(ids(0), [7]);
    assert_eq!(ids(30), [7]);
    assert_eq!(ids(62)[0], 7);
    assert_eq!(ids(63).len(), 3);
}
