//! The objects of Python interpreters at the start and at the end of a capture, counted in a thread of its
//! own: an interpreter with millions of them takes a second.

use crate::{
    model::{PythonObjects, TypeCount},
    python::{
        Python,
        census::{Census, Count, census},
    },
    target::memory::ProcessMemory,
};
use rustix::{process::setpriority_process, thread::gettid};
use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// A capture that is shorter shows no growth of objects that would mean something.
const MIN_CAPTURE: Duration = Duration::from_secs(5);

/// Processes that are looked at.
const MAX_PROCESSES: usize = 16;

/// One look at all of them takes that part of the capture's length, within these bounds: time on a CPU that
/// nobody else wants.
const SHARE: u32 = 10;
const MIN_LOOK: Duration = Duration::from_secs(1);
const MAX_LOOK: Duration = Duration::from_secs(3);

/// The least of all claims to a CPU: setpriority(2).
const NICE: i32 = 19;

/// Types that are kept of a process.
const MAX_TYPES: usize = 100;

/// How long the end of a capture waits for the second look, beside its own time.
const PATIENCE: Duration = Duration::from_secs(2);

/// The thread, seen from outside.
pub struct ObjectWatch {
    /// Asks for the second look.
    end: SyncSender<()>,
    found: Receiver<Vec<PythonObjects>>,
    look: Duration,
}

impl ObjectWatch {
    /// Looks at these interpreters, for a capture of this length; `None` where there is nothing to look
    /// at, or no time.
    pub fn start(mut interpreters: Vec<(u32, Python)>, capture: Duration) -> Option<Self> {
        interpreters.truncate(MAX_PROCESSES);
        if interpreters.is_empty() || capture < MIN_CAPTURE {
            return None;
        }
        let look = (capture / SHARE).clamp(MIN_LOOK, MAX_LOOK);
        let (end, ended) = sync_channel(1);
        let (give, found) = sync_channel(1);
        let work = move || {
            // Without it, it is a thread like others.
            let _ = setpriority_process(Some(gettid()), NICE);
            let each = look / u32::try_from(interpreters.len()).unwrap_or(1);
            let first: Vec<First> = interpreters
                .into_iter()
                .filter_map(|(pid, python)| First::look(pid, python, each))
                .collect();
            if ended.recv().is_ok() {
                let both = first.iter().filter_map(|first| first.again(each));
                // Nobody waits any more: nobody's loss.
                drop(give.send(both.collect()));
            }
        };
        let thread = thread::Builder::new().name("remora-objects".to_owned());
        thread.spawn(work).ok()?;
        Some(Self { end, found, look })
    }

    /// Asks for the second look.
    pub fn ending(&self) {
        let asked = self.end.try_send(());
        debug_assert!(
            asked.is_ok(),
            "the thread waits for one word, and it is sent once"
        );
    }

    /// What was found; nothing when it does not come in time.
    pub fn finish(self) -> Option<Vec<PythonObjects>> {
        self.found.recv_timeout(self.look * 3 + PATIENCE).ok()
    }
}

/// A process that was looked at once.
struct First {
    pid: u32,
    python: Python,
    memory: ProcessMemory,
    at: Instant,
    census: Census,
}

impl First {
    fn look(pid: u32, python: Python, time: Duration) -> Option<Self> {
        let memory = ProcessMemory::open(pid).ok()?;
        let at = Instant::now();
        let census = census(&python, &memory, time)?;
        Some(Self {
            pid,
            python,
            memory,
            at,
            census,
        })
    }

    /// Its memory stays that of the process that was opened: after an exec or the exit, nothing is read.
    fn again(&self, time: Duration) -> Option<PythonObjects> {
        let apart = self.at.elapsed();
        let now = census(&self.python, &self.memory, time)?;
        Some(compare(self.pid, apart, &self.census, &now))
    }
}

/// Two looks side by side.
fn compare(pid: u32, apart: Duration, start: &Census, end: &Census) -> PythonObjects {
    let names: BTreeSet<&String> = start.types.keys().chain(end.types.keys()).collect();
    let of = |census: &Census, name: &str| census.types.get(name).copied().unwrap_or_default();
    let count = |name: &String| {
        let (before, after): (Count, Count) = (of(start, name), of(end, name));
        TypeCount {
            name: name.clone(),
            start: before.objects,
            end: after.objects,
            size_bytes: before.size_bytes.max(after.size_bytes),
        }
    };
    let mut types: Vec<TypeCount> = names.into_iter().map(count).collect();
    types.sort_by(|a, b| (b.growth(), b.end, &a.name).cmp(&(a.growth(), a.end, &b.name)));
    types.truncate(MAX_TYPES);
    PythonObjects {
        pid,
        apart,
        start: start.objects,
        end: end.objects,
        cut: start.cut || end.cut,
        torn: start.torn + end.torn,
        unknown: start.unknown + end.unknown,
        took: start.took.max(end.took),
        types,
    }
}
