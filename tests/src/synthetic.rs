//! A report of a large program that no machine here could run: its page has to stay usable with it. Written in the
//! form that a page carries (columns as strings, `value*times`), apart from the agent's own code on purpose.

use serde_json::{Value, json};
use std::fmt::Write;

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Threads of the one process.
    pub threads: usize,
    /// Windows of a second.
    pub windows: usize,
    /// Sockets.
    pub sockets: usize,
}

/// Process id of it all; threads have the ids from here on.
pub const PID: usize = 100_000;

/// States of a thread, as the timeline names them.
pub const STATES: [&str; 8] = [
    "on_cpu",
    "run_queue",
    "lock",
    "event_wait",
    "socket",
    "disk",
    "sleep",
    "other",
];

/// Time on a CPU of a thread in a window, in hundredths of a percent: different in each, and the
/// same in each run.
pub const fn on_cpu(thread: usize, window: usize) -> usize {
    match thread % 4 {
        3 => 0,
        busy => (thread * 7_919 + window * 104_729 + busy * 31) % 6_000,
    }
}

/// Bytes unread in a socket after a window.
pub const fn unread(socket: usize, window: usize) -> usize {
    (socket * 31 + window * 17) % 9_973
}

/// A number of hundredths as the report writes it.
fn hundredths(value: usize) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

fn column(windows: usize, value: impl Fn(usize) -> String) -> String {
    let mut text = String::with_capacity(windows * 6);
    for window in 0..windows {
        let comma = if window == 0 { "" } else { "," };
        write!(text, "{comma}{}", value(window)).expect("text grows");
    }
    text
}

/// The report, to be put in the place of a page's own.
pub fn report(size: Size) -> Value {
    let Size {
        threads, windows, ..
    } = size;
    let target = json!({"pid": PID, "comm": "large", "exe": "/usr/bin/large", "threads": threads,
        "exited": false, "parent_pid": null, "python": null});
    json!({
        "schema": 1, "verdict": "unjudged", "verdict_note": "made up", "targets": [target],
        "capture": {"started_unix_s": 1_700_000_000.0, "duration_s": windows as f64, "end": "elapsed",
            "freq_hz": 99, "min_block_ns": 1_000_000, "kernel": "none", "agent_version": "0"},
        "findings": [{"kind": "made_up", "severity": "high", "summary": "a finding <b>of no kind</b>",
            "evidence": [{"what": "socket", "value": "fd 9"}], "next": "nothing", "unheard_of": [1, 2]}],
        "threads": (0..threads).map(|thread| a_thread(thread, windows)).collect::<Vec<_>>(),
        "loops": [{"pid": PID, "tid": PID, "comm": "large-0", "epoll_fd": 5, "mode": "exact",
            "waits": 9, "iterations": 8, "late": 3, "threshold_s": 0.1, "max_s": 0.25, "p50_s": 0.002}],
        "sockets": (0..size.sockets).map(|socket| a_socket(socket, windows)).collect::<Vec<_>>(),
        "locks": [{"pid": PID, "address": "0x7f0000001000", "place": "heap", "kind": "futex", "waits": 3,
            "total_ns": 5_000_000_000_u64, "worst_ns": 2_000_000_000, "waiters": [{"tid": PID + 1,
            "comm": "large-1", "waits": 3, "total_ns": 5}], "owner": null, "shared": false,
            "operations": ["wait"]}],
        "memory": [{"pid": PID, "comm": "large", "growth_bytes": 4096, "start": kinds(0), "end": kinds(4096),
            "faults": 1, "sampled_one_in": 16, "mappings": [], "stacks": [{"bytes": 4096, "count": 1,
            "stack": ["leaf", "root"]}]}],
        "loss": {"event_ring_full": 7, "stack_table_full": 0},
        "stacks": {"taken": 10, "complete": 9, "complete_pct": 90.0, "incomplete": {"lost": 1}},
        "overhead": {"bpf_cpu_pct": 0.5, "agent_cpu_pct": 0.25, "agent_rss_bytes": 1_048_576, "programs": []},
        "timeline": timeline(size),
    })
}

fn kinds(anon: u64) -> Value {
    json!({"anon_bytes": anon, "file_bytes": 0, "shmem_bytes": 0, "swap_bytes": 0})
}

fn a_thread(thread: usize, windows: usize) -> Value {
    let on_cpu_ns: u64 = (0..windows)
        .map(|window| on_cpu(thread, window) as u64 * 100_000)
        .sum();
    let observed_ns = windows as u64 * 1_000_000_000;
    let blocked = json!({"reason": "epoll", "total_ns": observed_ns - on_cpu_ns, "count": 5,
        "short_ns": 0, "short_count": 0, "idle_ns": observed_ns - on_cpu_ns});
    json!({"pid": PID, "tid": PID + thread, "comm": format!("large-{thread}"), "observed_ns": observed_ns,
        "on_cpu_ns": on_cpu_ns, "blocked": [blocked], "idle_ns": observed_ns - on_cpu_ns,
        "idle_inferred": false, "unaccounted_ns": 0, "wakers": [],
        "run_queue": {"after_wake_ns": 0, "wakes": 5, "preempted_ns": 0, "preemptions": 0, "longest_ns": 0},
        "now": {"state": "blocked", "since_s": 0.5, "since_inferred": false, "reason": "epoll",
            "stack": ["epoll_wait", "main"]}})
}

fn a_socket(socket: usize, windows: usize) -> Value {
    json!({"pid": PID, "fd": socket + 10, "inode": 7_000 + socket, "family": "inet", "type": "stream",
        "state": if socket % 10 == 3 { "close_wait" } else { "established" },
        "local": "10.0.0.1:80", "peer": format!("10.0.{}.{}:443", socket / 250, socket % 250),
        "receive_queue_bytes": unread(socket, windows - 1), "send_queue_bytes": 0, "zero_window": false,
        "watched_by": [{"tid": PID, "epoll_fd": 5, "events": ["in"], "armed": true}], "peer_process": null})
}

fn timeline(size: Size) -> Value {
    let windows = size.windows;
    let threads = (0..size.threads).map(|thread| {
        let mut series = json!({"pid": PID, "tid": PID + thread, "comm": format!("large-{thread}"), "first": 0,
            "loop": null});
        for state in STATES {
            series[format!("{state}_pct")] = json!(match state {
                "on_cpu" => column(windows, |window| hundredths(on_cpu(thread, window))),
                "event_wait" => column(windows, |window| hundredths(10_000 - on_cpu(thread, window))),
                _ => format!("0*{windows}"),
            });
        }
        series
    });
    // Connections come and go: each is there for a twentieth of the time.
    let life = (windows / 20).max(1);
    let sockets = (0..size.sockets).map(|socket| {
        let first = (socket * 37) % (windows - life + 1);
        json!({"pid": PID, "fd": socket + 10, "inode": 7_000 + socket, "first": first,
            "receive_queue_bytes": column(life, |window| unread(socket, first + window).to_string()),
            "send_queue_bytes": format!("0*{life}")})
    });
    let memory = json!({"pid": PID, "comm": "large", "first": 0, "file_bytes": format!("4096*{windows}"),
        "anon_bytes": column(windows, |window| (window * 4096).to_string()), "shmem_bytes": format!("0*{windows}"),
        "swap_bytes": format!("0*{windows}"), "faults": format!("1*{windows}"), "open_files": format!("9*{windows}")});
    json!({"window_s": 1.0, "coarsened_windows": 0, "start_s": column(windows, |window| window.to_string()),
        "length_s": format!("1*{windows}"), "threads": threads.collect::<Vec<_>>(),
        "sockets": sockets.collect::<Vec<_>>(), "processes": [memory]})
}

/// A page with this report instead of its own.
///
/// # Panics
/// When the page carries none.
pub fn page_with(page: &str, report: &Value) -> String {
    let open = "<script type=\"application/json\" id=\"report\">";
    let (head, rest) = page.split_once(open).expect("a page carries a report");
    let (_, tail) = rest.split_once("</script>").expect("its element ends");
    let report = report.to_string().replace('<', "\\u003c");
    format!("{head}{open}{report}</script>{tail}")
}
