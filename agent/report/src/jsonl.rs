//! One window of the timeline as a line of JSON, written when the window is over: for those who follow a
//! capture while it goes on.

use super::json::timeline::{share_pct, shares_by_key};
use remora_model::timeline::{ThreadWindow, Window};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};

#[derive(Serialize)]
struct Line {
    start_s: f64,
    length_s: f64,
    threads: Vec<Thread>,
    sockets: Vec<Socket>,
    processes: Vec<Process>,
}

#[derive(Serialize)]
struct Socket {
    id: u32,
    /// The largest in the window.
    receive_queue_bytes: u32,
    send_queue_bytes: u32,
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    anon_bytes: u64,
    file_bytes: u64,
    shmem_bytes: u64,
    swap_bytes: u64,
    open_files: Option<u64>,
    threads: Option<u64>,
}

#[derive(Serialize)]
struct Thread {
    pid: u32,
    tid: u32,
    #[serde(flatten)]
    activities: BTreeMap<&'static str, f64>,
    #[serde(rename = "loop")]
    event_loop: Option<Loop>,
}

#[derive(Serialize)]
struct Loop {
    iterations: u64,
    late: u64,
    p50_s: Option<f64>,
    p99_s: Option<f64>,
    max_s: f64,
}

/// The line, with its end.
///
/// # Errors
/// Those of the JSON library.
pub fn line(window: &Window) -> Result<Vec<u8>, serde_json::Error> {
    let length = Duration::from_nanos(window.length_ns);
    let threads = window.threads.iter().map(|point| thread(point, length));
    let sockets = window.sockets.iter().map(|socket| Socket {
        id: socket.id,
        receive_queue_bytes: socket.receive_max,
        send_queue_bytes: socket.send_max,
    });
    let processes = window.processes.iter().map(|(pid, reading)| Process {
        pid: *pid,
        anon_bytes: reading.anon_bytes,
        file_bytes: reading.file_bytes,
        shmem_bytes: reading.shmem_bytes,
        swap_bytes: reading.swap_bytes,
        open_files: reading.open_files,
        threads: reading.threads,
    });
    let line = Line {
        start_s: Duration::from_nanos(window.start_ns).as_secs_f64(),
        length_s: length.as_secs_f64(),
        threads: threads.collect(),
        sockets: sockets.collect(),
        processes: processes.collect(),
    };
    let mut bytes = serde_json::to_vec(&line)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn thread(point: &ThreadWindow, length: Duration) -> Thread {
    let times = point.time_us.map(Duration::from_micros);
    let shares = times.map(|time| share_pct(time, length));
    Thread {
        pid: point.pid,
        tid: point.tid,
        activities: shares_by_key(shares),
        event_loop: point.event_loop.as_ref().map(|point| {
            let quantiles = point.lengths.quantiles(point.longest);
            Loop {
                iterations: point.lengths.count(),
                late: point.late,
                p50_s: quantiles.map(|quantiles| quantiles.p50.as_secs_f64()),
                p99_s: quantiles.map(|quantiles| quantiles.p99.as_secs_f64()),
                max_s: point.longest.as_secs_f64(),
            }
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::timeline::{ACTIVITIES, Activity};

    #[test]
    fn a_window_is_one_line_with_units_in_its_names() {
        let mut time_us = [0; ACTIVITIES];
        time_us[Activity::OnCpu as usize] = 250_000;
        let window = Window {
            start_ns: 2_000_000_000,
            length_ns: 1_000_000_000,
            merged: 0,
            threads: vec![ThreadWindow {
                serial: 1,
                tid: 8,
                pid: 7,
                time_us,
                event_loop: None,
            }],
            sockets: Vec::new(),
            processes: Vec::new(),
        };
        let line = String::from_utf8(line(&window).unwrap()).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (value["start_s"].as_f64(), value["length_s"].as_f64()),
            (Some(2.0), Some(1.0))
        );
        assert_eq!(value["threads"][0]["on_cpu_pct"], 25.0);
        assert_eq!(value["threads"][0]["loop"], serde_json::Value::Null);
    }
}
