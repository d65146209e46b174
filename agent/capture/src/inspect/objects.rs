//! What is inside the heaps of the targets at the start and at the end of a capture: objects of Python
//! interpreters by type, blocks of glibc's malloc by size. Looked at in a thread of its own: millions of either
//! take a second.

use remora_model::{HeapSizes, HeapUse, PythonObjects, SizeClass, TypeCount};
use remora_process::deadline::{self, Step, Subject};
use remora_process::glibc::{self, Blocks};
use remora_process::python::{
    Python,
    census::{Census, Count, census},
};
use remora_process::{Budget, memory::ProcessMemory, proc_fs, vm_swap_bytes};
use rustix::{process::setpriority_process, thread::gettid};
use std::{
    collections::BTreeSet,
    fs,
    io::Read,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::{Duration, Instant},
};

/// A capture that is shorter shows no growth of objects that would mean something.
const MIN_CAPTURE: Duration = Duration::from_secs(5);

/// Processes that are looked at.
const MAX_PROCESSES: usize = 16;

/// One look at all of them takes that part of the capture's length, within these bounds: time on a CPU.
const SHARE: u32 = 10;
const MIN_TIME: Duration = Duration::from_secs(1);
const MAX_TIME: Duration = Duration::from_secs(3);

/// A lesser claim to a CPU than that of the targets: setpriority(2).
const NICE: i32 = 5;

/// Types and sizes that are kept of a process.
const MAX_KEPT: usize = 100;

/// Heaps of a process that are kept.
const MAX_HEAPS: usize = 32;

/// Bytes of the list of mappings.
const MAX_MAPS: u64 = 16 << 20;

/// How long the end of a capture waits for the second look, beside its own time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found in the processes.
#[derive(Debug, Default)]
pub(crate) struct HeapCensus {
    pub objects: Vec<PythonObjects>,
    pub heaps: Vec<HeapSizes>,
}

/// The thread, seen from outside.
pub(crate) struct ObjectWatch {
    /// Asks for the second look.
    end: SyncSender<()>,
    found: Receiver<HeapCensus>,
    time: Duration,
}

impl ObjectWatch {
    /// Looks at these processes and the interpreters in them, for a capture of this length; `None` where
    /// there is nothing to look at, or no time.
    pub(crate) fn start(
        mut targets: Vec<(u32, Option<Python>)>,
        capture: Duration,
    ) -> Option<Self> {
        targets.truncate(MAX_PROCESSES);
        if targets.is_empty() || capture < MIN_CAPTURE {
            return None;
        }
        let time = (capture / SHARE).clamp(MIN_TIME, MAX_TIME);
        let (end, ended) = sync_channel(1);
        let (give, found) = sync_channel(1);
        let work = move || {
            // Without it, it is a thread like others.
            let _ = setpriority_process(Some(gettid()), NICE);
            let each = time / u32::try_from(targets.len()).unwrap_or(1);
            let first: Vec<First> = targets
                .into_iter()
                .filter_map(|(pid, python)| First::inspect(pid, python, each))
                .collect();
            if ended.recv().is_ok() {
                let mut census = HeapCensus::default();
                for first in &first {
                    census.objects.extend(first.objects_again(each));
                    census.heaps.extend(first.heap_again(each));
                }
                // Nobody waits any more: nobody's loss.
                drop(give.send(census));
            }
        };
        let thread = thread::Builder::new().name("remora-objects".to_owned());
        thread.spawn(work).ok()?;
        Some(Self { end, found, time })
    }

    /// Asks for the second look.
    pub(crate) fn ending(&self) {
        let asked = self.end.try_send(());
        debug_assert!(
            asked.is_ok(),
            "the thread waits for one word, and it is sent once"
        );
    }

    /// What was found; nothing when it does not come in time.
    pub(crate) fn finish(self) -> Option<HeapCensus> {
        let longest = (self.time * Budget::WAITS + PATIENCE).min(Step::HeapCensus.limit());
        let found = deadline::receive(&self.found, Instant::now() + longest);
        if found.is_none() {
            deadline::gave_up(Step::HeapCensus, Subject::Host);
        }
        found
    }
}

/// A process that was looked at once.
struct First {
    pid: u32,
    memory: ProcessMemory,
    at: Instant,
    python: Option<(Python, Census)>,
    blocks: Option<Blocks>,
}

impl First {
    fn inspect(pid: u32, python: Option<Python>, time: Duration) -> Option<Self> {
        let memory = ProcessMemory::open(pid).ok()?;
        let at = Instant::now();
        let python = python.and_then(|python| {
            let census = census(&python, &memory, time)?;
            Some((python, census))
        });
        let blocks = blocks(pid, &memory, time);
        (python.is_some() || blocks.is_some()).then_some(Self {
            pid,
            memory,
            at,
            python,
            blocks,
        })
    }

    /// Its memory stays that of the process that was opened: after an exec or the exit, nothing is read.
    fn objects_again(&self, time: Duration) -> Option<PythonObjects> {
        let (python, before) = self.python.as_ref()?;
        let apart = self.at.elapsed();
        let now = census(python, &self.memory, time)?;
        Some(compare(self.pid, apart, before, &now))
    }

    fn heap_again(&self, time: Duration) -> Option<HeapSizes> {
        let before = self.blocks.as_ref()?;
        let apart = self.at.elapsed();
        let now = blocks(self.pid, &self.memory, time)?;
        Some(compare_blocks(self.pid, apart, before, &now))
    }
}

/// What is swapped out would be swapped in by being read: such a process is left alone.
fn blocks(pid: u32, memory: &ProcessMemory, time: Duration) -> Option<Blocks> {
    if vm_swap_bytes(pid)? > 0 {
        return None;
    }
    let mut maps = Vec::new();
    let file = fs::File::open(format!("/proc/{}/maps", proc_fs::speaker(pid))).ok()?;
    file.take(MAX_MAPS).read_to_end(&mut maps).ok()?;
    let heaps = glibc::heaps(&String::from_utf8_lossy(&maps));
    glibc::blocks(memory, &heaps, time)
}

/// Two looks at blocks side by side.
fn compare_blocks(pid: u32, apart: Duration, start: &Blocks, end: &Blocks) -> HeapSizes {
    let sizes: BTreeSet<u64> = start
        .classes
        .keys()
        .chain(end.classes.keys())
        .copied()
        .collect();
    let of = |blocks: &Blocks, size: u64| blocks.classes.get(&size).copied().unwrap_or(0);
    let class = |size_bytes: u64| SizeClass {
        size_bytes,
        start: of(start, size_bytes),
        end: of(end, size_bytes),
    };
    let mut classes: Vec<SizeClass> = sizes.into_iter().map(class).collect();
    classes.sort_by_key(|class| (std::cmp::Reverse(class.growth_bytes()), class.size_bytes));
    classes.truncate(MAX_KEPT);
    let heaps = end.by_heap.iter();
    let mut by_heap: Vec<HeapUse> = heaps
        .map(|(heap, used_bytes, free_bytes)| HeapUse {
            start: heap.start,
            main: heap.main,
            used_bytes: *used_bytes,
            free_bytes: *free_bytes,
        })
        .collect();
    by_heap.sort_by_key(|heap| (std::cmp::Reverse(heap.free_bytes), heap.start));
    by_heap.truncate(MAX_HEAPS);
    HeapSizes {
        pid,
        apart,
        start_bytes: start.bytes,
        end_bytes: end.bytes,
        start_free_bytes: start.free_bytes,
        end_free_bytes: end.free_bytes,
        end_top_bytes: end.top_bytes,
        by_heap,
        heaps: end.heaps,
        cut: start.cut || end.cut,
        torn: start.torn + end.torn,
        took: start.took.max(end.took),
        classes,
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
    types.truncate(MAX_KEPT);
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
