//! Event loops and the timeline, by thread.

use super::Threads;
use crate::{
    inspect::polls::PollsSeen,
    record::{
        raw::{LoopsSeen, RawTimeline},
        timeline::Windows,
    },
};
use bytemuck::Zeroable;
use remora_common::{
    event_loop::{EventLoop, LOOP_BUCKETS},
    reason::Reason as RawReason,
    thread::{STATE_EXITED, ThreadSlot},
};
use remora_model::{
    Histogram, PollCount, Reason, Socket, ThreadLoop, Timeline,
    timeline::{ProcessSeries, SocketSeries, Span, ThreadPoint, ThreadSeries},
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// The event loops, by thread; `ended`: those of threads that ended.
pub(crate) fn loops(
    seen: &LoopsSeen,
    ended: &HashMap<u32, EventLoop>,
    threads: &Threads,
    end_ns: u64,
) -> Vec<ThreadLoop> {
    let slots = threads.slots.iter().enumerate();
    slots
        .filter_map(|(thread, slot)| {
            let known = seen.by_serial.get(&slot.serial);
            let known = known.or_else(|| ended.get(&slot.serial)).copied();
            let event_loop = known.filter(|event_loop| event_loop.waits > 0);
            let event_loop = event_loop.or_else(|| sleeper(slot))?;
            Some(thread_loop(seen, thread, slot, &event_loop, end_ns))
        })
        .collect()
}

/// The polls that were counted, by thread.
pub(crate) fn polls(seen: &PollsSeen, threads: &Threads) -> Vec<(usize, PollCount)> {
    let counts = seen.counts.iter();
    let mut polls: Vec<_> = counts
        .filter_map(|(serial, count)| Some((threads.find(*serial)?.0, *count)))
        .collect();
    polls.sort_unstable_by_key(|(thread, _)| *thread);
    polls
}

/// A thread that sat in one epoll wait all the time has a loop, too, in which nothing began or ended.
fn sleeper(slot: &ThreadSlot) -> Option<EventLoop> {
    let waits = slot.waits.get(RawReason::Epoll as usize)?;
    let count = u64::from(waits.long_count) + u64::from(waits.short_count);
    (count > 0).then(|| EventLoop {
        kind: RawReason::Epoll as u32,
        waits: count,
        ..EventLoop::zeroed()
    })
}

fn thread_loop(
    seen: &LoopsSeen,
    thread: usize,
    slot: &ThreadSlot,
    event_loop: &EventLoop,
    end_ns: u64,
) -> ThreadLoop {
    let exact = seen.exact;
    let kind = Reason::from_u8(event_loop.kind as u8);
    let blocked = slot.waits.get(event_loop.kind as usize);
    let blocked_ns = blocked.map_or(0, |waits| waits.long_ns + waits.short_ns);
    let waits_now = slot.reason == RawReason::Epoll as u32;
    let busy = slot.busy_since_ns != 0 && slot.state != STATE_EXITED;
    ThreadLoop {
        thread,
        kind,
        epoll_fd: (waits_now && kind == Reason::Epoll).then_some(slot.args[0] as u32),
        exact,
        waits: event_loop.waits,
        timeouts: exact.then_some(event_loop.timeouts),
        events: exact.then_some(event_loop.events),
        blocked: Duration::from_nanos(blocked_ns),
        iterations: event_loop.iterations,
        busy: Duration::from_nanos(event_loop.busy_ns),
        longest: Duration::from_nanos(event_loop.max_ns),
        late: event_loop.late,
        late_time: Duration::from_nanos(event_loop.late_ns),
        late_queued: Duration::from_nanos(event_loop.late_queued_ns),
        late_from: seen.late_from,
        lengths: Histogram::between(&[0; LOOP_BUCKETS], &event_loop.buckets),
        busy_now: busy.then(|| Duration::from_nanos(end_ns.saturating_sub(slot.busy_since_ns))),
    }
}

/// The windows, by thread.
pub(crate) fn timeline(raw: &RawTimeline, socket_list: &[Socket], threads: &Threads) -> Timeline {
    let spans = raw.windows.0.iter().map(|window| Span {
        start: Duration::from_nanos(window.start_ns),
        length: Duration::from_nanos(window.length_ns),
    });
    let mut series: Vec<Option<ThreadSeries>> = vec![None; threads.slots.len()];
    for (at, window) in raw.windows.iter().enumerate() {
        for point in window.threads {
            let Some((thread, _)) = threads.find(point.serial) else {
                continue;
            };
            let Some(series) = series.get_mut(thread) else {
                continue;
            };
            let series = series.get_or_insert_with(|| ThreadSeries {
                thread,
                first: at,
                points: Vec::new(),
            });
            // A thread is in each window from its first to its last.
            series
                .points
                .resize_with(at - series.first, ThreadPoint::default);
            series.points.push(ThreadPoint {
                time_us: point.time_us,
                event_loop: point.event_loop,
            });
        }
    }
    Timeline {
        sockets: sockets(&raw.windows, socket_list),
        processes: processes(&raw.windows),
        window: raw.window,
        coarsened: raw.coarsened,
        spans: spans.collect(),
        threads: series.into_iter().flatten().collect(),
    }
}

/// The sockets in whose queues something was, by their order in the report.
fn sockets(windows: &Windows, sockets: &[Socket]) -> Vec<SocketSeries> {
    let places: HashMap<u32, usize> = sockets
        .iter()
        .enumerate()
        .map(|(at, socket)| (socket.id, at))
        .collect();
    let mut series: BTreeMap<usize, SocketSeries> = BTreeMap::new();
    for (at, window) in windows.iter().enumerate() {
        for point in &window.sockets {
            let Some(socket) = places.get(&point.id).copied() else {
                continue;
            };
            let series = series.entry(socket).or_insert_with(|| SocketSeries {
                socket,
                first: at,
                receive: Vec::new(),
                send: Vec::new(),
            });
            // A window without it: nothing was there.
            series.receive.resize(at - series.first, 0);
            series.send.resize(at - series.first, 0);
            series.receive.push(point.receive_max);
            series.send.push(point.send_max);
        }
    }
    let windows = windows.len();
    let mut all: Vec<SocketSeries> = series.into_values().collect();
    for series in &mut all {
        series.receive.resize(windows - series.first, 0);
        series.send.resize(windows - series.first, 0);
    }
    all
}

/// The processes' memory, by pid; each from its first reading to its last.
fn processes(windows: &Windows) -> Vec<ProcessSeries> {
    let mut series: BTreeMap<u32, ProcessSeries> = BTreeMap::new();
    for (at, window) in windows.iter().enumerate() {
        for (pid, reading) in &window.processes {
            let series = series.entry(*pid).or_insert_with(|| ProcessSeries {
                pid: *pid,
                first: at,
                readings: Vec::new(),
            });
            // A window without a reading has the one before.
            let last = series.readings.last().copied().unwrap_or(*reading);
            series.readings.resize(at - series.first, last);
            series.readings.push(*reading);
        }
    }
    series.into_values().collect()
}
