//! Sockets as the report has them, as a specimen knows them, and as `ss` shows them.

use crate::python::{Program, interpreters, specimen};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use tempfile::TempDir;

/// A descriptor of a socket in the report.
#[derive(Clone, Debug, Deserialize)]
pub struct Socket {
    /// Unique in the capture.
    pub id: u32,
    /// Process.
    pub pid: u32,
    /// Descriptor.
    pub fd: u32,
    /// Inode number.
    pub inode: u64,
    /// That of its network namespace.
    pub netns_inode: u64,
    /// `tcp`, `udp`, `unix`…
    pub protocol: String,
    /// `inet`, `inet6`, `unix`…
    pub family: String,
    /// `stream`, `dgram`…
    pub kind: String,
    /// `established`, `listen`…
    pub state: String,
    /// Own address.
    pub local: Option<String>,
    /// The peer's.
    pub peer: Option<String>,
    /// There at the last sample.
    pub open: bool,
    /// Since the beginning.
    pub first_seen_s: f64,
    /// The same.
    pub last_seen_s: f64,
    /// Samples.
    pub samples: u64,
    /// Unread; none when it listens.
    pub receive_queue: Option<Queue>,
    /// Messages unread.
    pub receive_queue_messages: u64,
    /// The bytes are those of some messages only.
    pub receive_queue_is_lower_bound: bool,
    /// Not yet acknowledged.
    pub send_queue: Option<Queue>,
    /// Limits.
    pub receive_buffer_limit_bytes: u64,
    /// The same.
    pub send_buffer_limit_bytes: u64,
    /// Waiting to be accepted.
    pub accept_backlog: Option<u64>,
    /// The most.
    pub accept_backlog_limit: Option<u64>,
    /// Age of what is unread.
    pub oldest_unread_min_s: Option<f64>,
    /// The same.
    pub oldest_unread_max_s: Option<f64>,
    /// The lower bound is.
    pub oldest_unread_inferred: bool,
    /// Counters.
    pub tcp: Option<Tcp>,
    /// Dropped so far.
    pub drops: u64,
    /// Event loops.
    pub watched_by: Vec<Watch>,
    /// Who is at the other end.
    pub peer_process: Option<Peer>,
}

/// A queue over the samples.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Queue {
    /// Last.
    pub bytes: u64,
    /// Smallest.
    pub min_bytes: u64,
    /// Mean.
    pub mean_bytes: f64,
    /// Largest.
    pub max_bytes: u64,
    /// Last without first.
    pub growth_bytes: i64,
}

/// What TCP counts.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Tcp {
    /// So far.
    pub bytes_received: u64,
    /// So far.
    pub bytes_sent: u64,
    /// While it was watched.
    pub received_in_capture_bytes: u64,
    /// While it was watched.
    pub sent_in_capture_bytes: u64,
    /// A second.
    pub received_bytes_per_s: Option<f64>,
    /// The peer takes no more.
    pub zero_window: bool,
    /// Since then nothing moved.
    pub silence_s: f64,
}

/// An interest of an epoll set.
#[derive(Clone, Debug, Deserialize)]
pub struct Watch {
    /// Process.
    pub pid: u32,
    /// Epoll instance.
    pub epoll_fd: u32,
    /// Threads seen there.
    pub tids: Vec<u32>,
    /// Names.
    pub events: Vec<String>,
    /// Reports anything.
    pub armed: bool,
}

/// A process at the other end.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Its descriptor.
    pub fd: u32,
    /// Inode number of the peer.
    pub inode: u64,
    /// Not in a backlog.
    pub accepted: bool,
}

/// How many came and went.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct SocketCounts {
    /// Samples.
    pub samples: u64,
    /// Time in all of them.
    pub sampling_s: f64,
    /// Time in the longest.
    pub longest_sample_s: f64,
    /// At the first.
    pub at_start: u64,
    /// Later.
    pub opened: u64,
    /// Gone.
    pub closed: u64,
    /// Numbers used again.
    pub reused: u64,
}

/// `specimens/sockets.py` in one of its modes.
#[derive(Debug)]
pub struct Specimen {
    program: Program,
    /// The first line that it said.
    pub said: Value,
    _folder: TempDir,
}

impl Specimen {
    /// Starts it, by another program if there is a prefix; `None` without an interpreter.
    pub fn start(prefix: &[&str], arguments: &[&str]) -> Option<Self> {
        let python = interpreters().into_iter().next_back()?;
        let folder = TempDir::new().expect("a temporary folder");
        let python = python.to_str().expect("a path that can be printed");
        let mut words = prefix.iter().copied().chain([python]);
        let mut command = Command::new(words.next().expect("the interpreter at least"));
        command
            .args(words)
            .arg(specimen("sockets.py"))
            .args(arguments);
        command.env("TMPDIR", folder.path());
        let mut program = Program::start(&mut command);
        let said = parse(&program.line());
        Some(Self {
            program,
            said,
            _folder: folder,
        })
    }

    /// Gives it a line and reads its answer.
    pub fn ask(&mut self) -> Value {
        self.program.tell("go");
        parse(&self.program.line())
    }

    /// The next line that it says.
    pub fn listen(&mut self) -> Value {
        parse(&self.program.line())
    }

    /// A number of its first line.
    pub fn number(&self, name: &str) -> u32 {
        let number = self.said[name].as_u64();
        number.unwrap_or_else(|| panic!("no {name} in {}", self.said)) as u32
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.number("pid")
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Receive and send queue of each socket by inode, as `ss` of iproute2 asks the kernel for them.
///
/// # Errors
/// In words, when it is not installed.
pub fn ss(prefix: &[&str]) -> Result<BTreeMap<u64, (u64, u64)>, String> {
    let mut words = prefix.iter().copied().chain(["ss", "-Htuxanpe"]);
    let program = words.next().expect("ss at least");
    let output = Command::new(program)
        .args(words)
        .output()
        .map_err(|error| format!("{program}: {error} (Debian package iproute2)"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut queues = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let inode = match words.first() {
            Some(kind) if kind.starts_with("u_") => words.get(5).copied(),
            _ => words.iter().find_map(|word| word.strip_prefix("ino:")),
        };
        let numbers = (
            inode.and_then(|inode| inode.parse().ok()),
            words.get(2).and_then(|word| word.parse().ok()),
            words.get(3).and_then(|word| word.parse().ok()),
        );
        if let (Some(inode), Some(receive), Some(send)) = numbers {
            queues.insert(inode, (receive, send));
        }
    }
    Ok(queues)
}
