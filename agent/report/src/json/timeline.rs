//! The timeline: columns, one number a window.

use remora_model::{
    Capture, MemoryReading,
    timeline::{ACTIVITIES, Activity, LoopPoint, ProcessSeries, Span, ThreadSeries},
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

/// The windows, and columns over them.
#[derive(Serialize)]
pub(crate) struct Timeline<'a> {
    window_s: f64,
    /// Windows that were merged into longer ones.
    coarsened_windows: u64,
    start_s: Vec<f64>,
    length_s: Vec<f64>,
    threads: Vec<Thread<'a>>,
    sockets: Vec<SocketColumns>,
    processes: Vec<ProcessColumns<'a>>,
}

/// A socket's columns: the largest depth of each window.
#[derive(Serialize)]
struct SocketColumns {
    /// `sockets[].id`.
    id: u32,
    pid: u32,
    fd: u32,
    inode: u64,
    first: usize,
    receive_queue_bytes: Vec<u32>,
    send_queue_bytes: Vec<u32>,
}

/// A process's columns: the latest reading of each window.
#[derive(Serialize)]
struct ProcessColumns<'a> {
    pid: u32,
    comm: &'a str,
    first: usize,
    anon_bytes: Vec<u64>,
    file_bytes: Vec<u64>,
    shmem_bytes: Vec<u64>,
    swap_bytes: Vec<u64>,
    /// Of the window.
    faults: Vec<u64>,
    open_files: Vec<Option<u64>>,
    threads: Vec<Option<u64>>,
}

/// A thread's columns.
#[derive(Serialize)]
struct Thread<'a> {
    pid: u32,
    tid: u32,
    comm: &'a str,
    /// Index of the window in which all columns begin.
    first: usize,
    #[serde(flatten)]
    activities: BTreeMap<&'static str, Vec<f64>>,
    #[serde(rename = "loop")]
    event_loop: Option<Loop>,
}

/// Iterations that ended in each window.
#[derive(Serialize)]
struct Loop {
    iterations: Vec<u64>,
    late: Vec<u64>,
    p50_s: Vec<Option<f64>>,
    p99_s: Vec<Option<f64>>,
    max_s: Vec<Option<f64>>,
}

/// Share of a window, in percent, to two digits.
pub(crate) fn share_pct(time: Duration, window: Duration) -> f64 {
    if window.is_zero() {
        return 0.0;
    }
    let pct = 100.0 * time.as_secs_f64() / window.as_secs_f64();
    (pct * 100.0).round() / 100.0
}

/// What there is of each activity, in their order, by its key.
pub(crate) fn shares_by_key<T>(shares: [T; ACTIVITIES]) -> BTreeMap<&'static str, T> {
    let keys = Activity::ALL.iter().map(|activity| activity.share_key());
    keys.zip(shares).collect()
}

/// The whole.
pub(crate) fn timeline(capture: &Capture) -> Timeline<'_> {
    let timeline = &capture.timeline;
    let threads = timeline.threads.iter();
    Timeline {
        window_s: timeline.window.as_secs_f64(),
        coarsened_windows: timeline.coarsened,
        start_s: timeline
            .spans
            .iter()
            .map(|span| rounded_s(span.start))
            .collect(),
        length_s: timeline
            .spans
            .iter()
            .map(|span| rounded_s(span.length))
            .collect(),
        sockets: sockets(capture),
        processes: timeline
            .processes
            .iter()
            .map(|series| process(capture, series))
            .collect(),
        threads: threads
            .filter_map(|series| thread(capture, &timeline.spans, series))
            .collect(),
    }
}

/// Seconds, to the microsecond.
fn rounded_s(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e6
}

fn thread<'a>(capture: &'a Capture, spans: &[Span], series: &ThreadSeries) -> Option<Thread<'a>> {
    let thread = capture.threads.get(series.thread)?;
    let mut columns: [Vec<f64>; ACTIVITIES] = Default::default();
    for (at, point) in series.points.iter().enumerate() {
        let length = spans.get(series.first + at)?.length;
        for (column, time) in columns.iter_mut().zip(point.time_us) {
            column.push(share_pct(Duration::from_micros(time), length));
        }
    }
    let has_loop = series.points.iter().any(|point| point.event_loop.is_some());
    Some(Thread {
        pid: thread.pid,
        tid: thread.tid,
        comm: &thread.comm,
        first: series.first,
        activities: shares_by_key(columns),
        event_loop: has_loop.then(|| event_loop(series)),
    })
}

fn sockets(capture: &Capture) -> Vec<SocketColumns> {
    let series = capture.timeline.sockets.iter();
    series
        .filter_map(|series| {
            let socket = capture.sockets.get(series.socket)?;
            Some(SocketColumns {
                id: socket.id,
                pid: socket.pid,
                fd: socket.fd,
                inode: socket.inode,
                first: series.first,
                receive_queue_bytes: series.receive.clone(),
                send_queue_bytes: series.send.clone(),
            })
        })
        .collect()
}

fn process<'a>(capture: &'a Capture, series: &ProcessSeries) -> ProcessColumns<'a> {
    let known = capture
        .processes
        .iter()
        .find(|process| process.pid == series.pid);
    let readings = &series.readings;
    let faults = |reading: &MemoryReading| reading.minor_faults + reading.major_faults;
    let befores = readings.first().into_iter().chain(readings);
    ProcessColumns {
        pid: series.pid,
        comm: known.map_or("", |process| process.comm.as_str()),
        first: series.first,
        anon_bytes: readings.iter().map(|reading| reading.anon_bytes).collect(),
        file_bytes: readings.iter().map(|reading| reading.file_bytes).collect(),
        shmem_bytes: readings.iter().map(|reading| reading.shmem_bytes).collect(),
        swap_bytes: readings.iter().map(|reading| reading.swap_bytes).collect(),
        faults: readings
            .iter()
            .zip(befores)
            .map(|(now, before)| faults(now).saturating_sub(faults(before)))
            .collect(),
        open_files: readings.iter().map(|reading| reading.open_files).collect(),
        threads: readings.iter().map(|reading| reading.threads).collect(),
    }
}

fn event_loop(series: &ThreadSeries) -> Loop {
    let points = || {
        series
            .points
            .iter()
            .map(|point| point.event_loop.as_deref())
    };
    let quantiles: Vec<_> = points()
        .map(|point| point.and_then(|point| point.lengths.quantiles(point.longest)))
        .collect();
    Loop {
        iterations: points()
            .map(|point| point.map_or(0, |point| point.lengths.count()))
            .collect(),
        late: points()
            .map(|point| point.map_or(0, |point: &LoopPoint| point.late))
            .collect(),
        p50_s: quantiles
            .iter()
            .map(|q| q.map(|q| q.p50.as_secs_f64()))
            .collect(),
        p99_s: quantiles
            .iter()
            .map(|q| q.map(|q| q.p99.as_secs_f64()))
            .collect(),
        max_s: points()
            .map(|point| point.map(|point| point.longest.as_secs_f64()))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_of_the_window() {
        let second = Duration::from_secs(1);
        assert_eq!(share_pct(Duration::from_millis(123), second), 12.3);
        assert_eq!(share_pct(second, Duration::ZERO), 0.0);
    }
}
