//! Probes enter the targets' text: on a thread that nobody joins, for each waits for a grace period of the kernel's, and
//! what it looks at may lie on a file system that does not answer.
//!
//! For each probe the kernel takes the memory lock of every process that maps the file, target or not, and meanwhile lets
//! nobody on the host fork (`register_for_each_vma`). Behind a process whose lock is held for long all would stand
//! still. So each process is asked for that lock first, and none is attached where one does not answer.

use super::HeapPlan;
use crate::store::spaces::{SpaceKey, Spaces};
use remora_model::{Process, WatchedFile, WatchedProcess};
use remora_probe::{HeapPoint, HeapProbes, HeapPrograms, TrapCost};
use remora_process::{
    self as process,
    allocator::{self, Allocator},
    deadline::{self, Step, Subject},
    maps::Content,
    proc_fs,
};
use std::{
    collections::BTreeMap,
    fmt::Write,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

/// The allocators of a process; `None`: what it maps did not answer.
pub(super) type Found = (u32, Option<Vec<Allocator>>);

/// What is attached.
pub(super) struct Attached {
    pub(super) trap: TrapCost,
    pub(super) processes: Vec<WatchedProcess>,
    pub(super) probes: HeapProbes,
}

/// Finds the allocators of a process in the files that it maps.
pub(super) fn inspect(process: &Process, spaces: &Spaces) -> Found {
    let pid = process.pid;
    let key = SpaceKey {
        tgid: pid,
        generation: spaces.latest(pid),
    };
    let Some(space) = spaces.get(key).cloned() else {
        return (pid, Some(Vec::new()));
    };
    let exe = PathBuf::from(&process.exe);
    let found = deadline::run(Step::HeapAttach, Subject::Process(pid), move || {
        let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or(exe);
        allocator::find(&space, Some(&program))
    });
    (pid, found)
}

/// Attaches to all that was found. What hangs stops as soon as it goes on, and takes out what it put in.
///
/// # Errors
/// Why nothing is attached, in words.
pub(super) fn attach(programs: HeapPrograms, found: Vec<Found>) -> Result<Attached, String> {
    if let Some(pid) = locked() {
        let name = process::name(pid).unwrap_or_default();
        return Err(format!(
            "the memory of {name} ({pid}) is locked: for probes in a file that it maps the kernel would wait for it, and \
             nobody could fork meanwhile; try again when it moves"
        ));
    }
    let is_wanted = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&is_wanted);
    let attached = deadline::run(Step::HeapAttach, Subject::Host, move || {
        all(&programs, &found, &still)
    });
    attached.unwrap_or_else(|| {
        is_wanted.store(false, SeqCst);
        Err(format!(
            "the kernel did not attach the probes in {} s; what it has attached is taken out when it answers",
            Step::HeapAttach.limit().as_secs()
        ))
    })
}

/// A process whose memory lock is not to be had in time.
fn locked() -> Option<u32> {
    let asked = Arc::new(AtomicU32::new(0));
    let asks = Arc::clone(&asked);
    let answered = deadline::run(Step::HeapAttach, Subject::Host, move || {
        for pid in proc_fs::processes().unwrap_or_default() {
            asks.store(pid, SeqCst);
            // Its arguments lie in its memory.
            let _one_without_memory = proc_fs::read(format!("/proc/{pid}/cmdline"), 1);
        }
    });
    answered.is_none().then(|| asked.load(SeqCst))
}

fn all(
    programs: &HeapPrograms,
    found: &[Found],
    is_wanted: &AtomicBool,
) -> Result<Attached, String> {
    let trap = programs.measure().map_err(|error| error.to_string())?;
    let mut probes = HeapProbes::default();
    let mut one = |(pid, allocators): &Found| {
        let Some(allocators) = allocators else {
            return WatchedProcess {
                pid: *pid,
                why_not: Some("its files did not answer in time".to_owned()),
                ..WatchedProcess::default()
            };
        };
        attach_process(programs, &mut probes, *pid, allocators, is_wanted)
    };
    let processes = found.iter().map(&mut one).collect();
    Ok(Attached {
        trap,
        processes,
        probes,
    })
}

fn attach_process(
    programs: &HeapPrograms,
    probes: &mut HeapProbes,
    pid: u32,
    allocators: &[Allocator],
    is_wanted: &AtomicBool,
) -> WatchedProcess {
    let mut process = WatchedProcess {
        pid,
        ..WatchedProcess::default()
    };
    for allocator in allocators {
        let Content::File(file) = &allocator.module.content else {
            continue;
        };
        let points: Vec<_> = allocator
            .functions
            .iter()
            .map(|function| HeapPoint {
                offset: function.offset + function.place.skip,
                stepped: function.place.stepped,
                call: function.call,
            })
            .collect();
        if let Err(error) = programs.attach(probes, (pid, file), &points, is_wanted) {
            process.why_not = Some(error.to_string());
            continue;
        }
        process.files.push(WatchedFile {
            path: path(allocator),
            functions: allocator
                .functions
                .iter()
                .map(|function| function.name.clone())
                .collect(),
            operator_new: allocator.has_operator_new,
        });
    }
    if process.files.is_empty() && process.why_not.is_none() {
        process.why_not = Some(
            "no allocator is known in its files (malloc and free of libc, jemalloc, mimalloc, tcmalloc)"
                .to_owned(),
        );
    }
    process
}

fn path(allocator: &Allocator) -> String {
    let path = allocator.module.path.as_os_str();
    process::escape(path.as_encoded_bytes())
}

/// What the user is told before anything is patched.
pub(super) fn announcement(
    plan: &HeapPlan,
    processes: &BTreeMap<u32, Process>,
    found: &[Found],
) -> String {
    let mut text = "--heap patches the text of".to_owned();
    let mut first = true;
    let known = found.iter();
    let known = known.filter_map(|(pid, found)| Some((pid, found.as_ref()?)));
    for (pid, allocators) in known.filter(|(_, found)| !found.is_empty()) {
        let comm = processes.get(pid).map_or("", |one| one.comm.as_str());
        let _ = write!(text, "{} {comm} ({pid})", if first { "" } else { "," });
        for allocator in allocators {
            let count = allocator.functions.len();
            let _ = write!(text, " in {count} functions of {}", path(allocator));
        }
        first = false;
    }
    if first {
        return "--heap: no allocator to watch was found".to_owned();
    }
    let _ = write!(
        text,
        ", for {} at the most, and takes that back when it slows it down by more than {:.0} %",
        humantime::format_duration(plan.length),
        plan.budget * 100.0
    );
    text
}
