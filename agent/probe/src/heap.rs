//! Probes in the targets' allocators: uprobes, which patch the text of the process that they are attached to.
//! Nothing here is loaded or attached before it is asked for.

use super::{
    Probe, ProbeError, hooks,
    load::take,
    perf::{Point, Uprobes},
};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::UProbe,
};
use remora_common::heap::{Arguments, Block, BlockKey, HeapCounts, HeapThread, STAGE_SAMPLED};
use remora_process::allocator::Call;
use remora_process::deadline::{self, Step, Subject};
use std::{
    fs::{self, File},
    hint::black_box,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc::{Receiver, sync_channel},
    },
    time::{Duration, Instant},
};

/// Calls that the cost of a probe is measured by, and how often: the quickest counts.
const CALLS: u32 = 500;
const ROUNDS: u32 = 5;

/// Maps of the blocks.
pub(super) struct HeapMaps {
    blocks: HashMap<MapData, BlockKey, Block>,
    threads: Array<MapData, HeapThread>,
    counts: PerCpuArray<MapData, HeapCounts>,
}

impl HeapMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        Ok(Self {
            blocks: take(ebpf, "HEAP_BLOCKS")?,
            threads: take(ebpf, "HEAP_THREADS")?,
            counts: take(ebpf, "HEAP_COUNTS")?,
        })
    }
}

/// A function to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapPoint {
    /// Where the probe belongs in its file, in bytes.
    pub offset: u64,
    /// The processor steps over the instruction there.
    pub stepped: bool,
    /// What it does.
    pub call: Call,
}

/// What a probe costs whoever runs into it, without what the program behind it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrapCost {
    /// At an entry, where the processor steps over the instruction.
    pub stepped: Duration,
    /// At an entry, where the kernel emulates it.
    pub emulated: Duration,
    /// At a return, in addition to the entry.
    pub back: Duration,
}

/// Probes in processes. They are there until this is dropped.
#[derive(Debug, Default)]
pub struct HeapProbes(Vec<OwnedFd>);

impl HeapProbes {
    /// Takes the last ones out again, so that so many are left.
    fn cut(&mut self, left: usize) {
        drop(Self(self.0.split_off(left)));
    }
}

impl Drop for HeapProbes {
    /// The kernel waits for each until no CPU can be in it: together they wait for one grace period.
    fn drop(&mut self) {
        let links = std::mem::take(&mut self.0);
        std::thread::scope(|scope| {
            for link in links {
                // Without a thread for it, it is taken out here.
                let out = std::thread::Builder::new().spawn_scoped(scope, move || drop(link));
                drop(out);
            }
        });
    }
}

/// Probes that are being taken out, by a thread that nobody joins.
pub struct Detached(Receiver<()>);

impl Detached {
    /// Waits until the last one is out; the kernel goes on with it where that takes too long.
    pub fn wait(self) {
        let until = Instant::now() + Step::HeapDetach.limit();
        if deadline::receive(&self.0, until).is_none() {
            deadline::gave_up(Step::HeapDetach, Subject::Host);
        }
    }
}

/// The programs at the functions of an allocator, loaded. It needs nothing of the [`Probe`], for attaching may hang: it
/// waits for a grace period of the kernel's, behind whoever does not give a CPU back.
#[derive(Debug)]
pub struct HeapPrograms {
    enter: OwnedFd,
    back: OwnedFd,
    free: OwnedFd,
    source: Uprobes,
}

impl HeapPrograms {
    fn load(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        let mut load = |name| {
            let program = program(ebpf, name)?;
            let loaded = program.load();
            loaded.map_err(|error| refused(name, hooks::refusal(&error)))?;
            hooks::program_fd(program.fd(), name)
        };
        Ok(Self {
            enter: load("heap_enter")?,
            back: load("heap_return")?,
            free: load("heap_free")?,
            source: Uprobes::find().map_err(|why| refused("the kernel's description", why))?,
        })
    }

    /// Attaches the programs to functions of a process, all or none. `file` is the mapped file. It stops at the next
    /// function when nobody wants it any more.
    ///
    /// # Errors
    /// The kernel's refusal, with the function that it is about.
    pub fn attach(
        &self,
        into: &mut HeapProbes,
        (pid, file): (u32, &File),
        points: &[HeapPoint],
        is_wanted: &AtomicBool,
    ) -> Result<(), ProbeError> {
        let before = into.0.len();
        for point in points {
            let attached = match is_wanted.load(SeqCst) {
                true => self.attach_one(into, (pid, file), point),
                false => Err(refused("all of them", "nobody waits any more".to_owned())),
            };
            if let Err(error) = attached {
                into.cut(before);
                return Err(error);
            }
        }
        Ok(())
    }

    fn attach_one(
        &self,
        into: &mut HeapProbes,
        target: (u32, &File),
        point: &HeapPoint,
    ) -> Result<(), ProbeError> {
        let stepped = point.stepped.into();
        let (program, arguments) = match point.call {
            Call::Frees => (Program::Free, Arguments::default()),
            Call::Allocates(arguments) => {
                into.0
                    .push(self.link(Program::Back, target, point.offset, 0)?);
                (Program::Enter, arguments)
            }
        };
        let cookie = Arguments {
            stepped,
            ..arguments
        }
        .cookie();
        into.0
            .push(self.link(program, target, point.offset, cookie)?);
        Ok(())
    }

    /// Puts a program at a place of a file, in one process.
    fn link(
        &self,
        program: Program,
        (pid, file): (u32, &File),
        offset: u64,
        cookie: u64,
    ) -> Result<OwnedFd, ProbeError> {
        let (name, fd) = match program {
            Program::Enter => ("heap_enter", &self.enter),
            Program::Back => ("heap_return", &self.back),
            Program::Free => ("heap_free", &self.free),
        };
        let point = Point {
            pid,
            file,
            offset,
            at_return: program == Program::Back,
        };
        let attached = self.source.attach(fd.as_fd(), point, cookie);
        attached.map_err(|why| refused(name, why))
    }

    /// Measures what a probe costs, on functions of the agent itself: without probes, with one at the entry, with
    /// both. The agent is no target, so the programs leave at once.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn measure(&self) -> Result<TrapCost, ProbeError> {
        let (stepped, _) = self.measure_one(measured_stepped)?;
        let (emulated, back) = self.measure_one(measured_emulated)?;
        Ok(TrapCost {
            stepped,
            emulated,
            back,
        })
    }

    /// The cost of a probe at the entry of a function, and of one at its return.
    fn measure_one(&self, function: Measured) -> Result<(Duration, Duration), ProbeError> {
        let (own, offset) = own_place(function)?;
        let target = (std::process::id(), &own);
        let mut probes = HeapProbes::default();
        let bare = quickest(function);
        let entry = self.link(Program::Free, target, offset, 0)?;
        probes.0.push(entry);
        let entry = quickest(function);
        let back = self.link(Program::Back, target, offset, 0)?;
        probes.0.push(back);
        let both = quickest(function);
        Ok((entry.saturating_sub(bare), both.saturating_sub(entry)))
    }
}

/// What the programs are for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Program {
    Enter,
    Back,
    Free,
}

impl Probe {
    /// The programs, loaded where they were asked for; once.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn take_heap_programs(&mut self) -> Result<HeapPrograms, ProbeError> {
        let programs = self.heap_programs.take();
        programs.unwrap_or_else(|| Err(refused("heap_enter", "not asked for".to_owned())))
    }

    /// Keeps probes until they are taken out.
    pub fn keep_heap(&mut self, probes: HeapProbes) {
        self.heap_probes = probes;
    }

    /// From now on what the probes see counts; or no longer, from this moment on.
    pub fn watch_heap(&self, on: bool) {
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.control.element(0)).heap).write_volatile(on.into()) };
    }

    /// Takes all probes out, so that the targets' text is as it was.
    pub fn detach_heap(&mut self) -> Detached {
        self.watch_heap(false);
        let probes = std::mem::take(&mut self.heap_probes);
        let (out, detached) = sync_channel(1);
        // Without a thread for it they go with the process.
        let _begun = deadline::begin(Subject::Host, move || {
            drop(probes);
            let _nobody_waits_any_more = out.send(());
        });
        Detached(detached)
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn heap_counts(&self) -> Result<HeapCounts, ProbeError> {
        let mut sum = HeapCounts::default();
        let counts = self.heap.counts.get(&0, 0);
        for one in counts
            .map_err(|error| super::load::map_error("HEAP_COUNTS", &error))?
            .iter()
        {
            sum.add(one);
        }
        Ok(sum)
    }

    /// The sampled blocks that are not freed.
    pub fn heap_blocks(&self) -> Vec<(BlockKey, Block)> {
        self.heap.blocks.iter().filter_map(Result::ok).collect()
    }

    /// Threads that were in a sampled allocation when counting stopped: their blocks are in no figure.
    pub fn heap_in_flight(&self) -> u64 {
        let in_flight = |thread: &HeapThread| thread.stage == STAGE_SAMPLED;
        let mut threads = self.heap.threads.iter().filter_map(Result::ok);
        threads.by_ref().filter(in_flight).count() as u64
    }
}

/// The programs, where a capture may watch allocators.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<HeapPrograms, ProbeError> {
    HeapPrograms::load(ebpf)
}

/// Loads the programs and attaches some to a function of the agent itself; nothing stays attached.
pub(super) fn attempt(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    let programs = HeapPrograms::load(ebpf)?;
    let (own, offset) = own_place(measured_emulated)?;
    let target = (std::process::id(), &own);
    let mut probes = HeapProbes::default();
    for program in [Program::Enter, Program::Back] {
        probes.0.push(programs.link(program, target, offset, 0)?);
    }
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut UProbe, ProbeError> {
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(ProbeError::Mismatch(name))
}

fn refused(hook: &str, why: String) -> ProbeError {
    ProbeError::Hook {
        hook: format!("uprobe ({hook})"),
        why,
    }
}

/// What probes are measured on.
type Measured = unsafe extern "C" fn();

// Two functions that do nothing, whose first instruction is the point.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".text",
    ".p2align 4",
    ".globl remora_measured_stepped",
    "remora_measured_stepped:",
    "test rdi, rdi",
    "ret",
    ".p2align 4",
    ".globl remora_measured_emulated",
    "remora_measured_emulated:",
    "push rbx",
    "pop rbx",
    "ret",
);
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".text",
    ".p2align 4",
    ".globl remora_measured_stepped",
    "remora_measured_stepped:",
    "add x0, x0, #0",
    "ret",
    ".p2align 4",
    ".globl remora_measured_emulated",
    "remora_measured_emulated:",
    "nop",
    "ret",
);

unsafe extern "C" {
    #[link_name = "remora_measured_stepped"]
    fn measured_stepped();
    #[link_name = "remora_measured_emulated"]
    fn measured_emulated();
}

/// The file of the agent, and where a function begins in it.
fn own_place(function: Measured) -> Result<(File, u64), ProbeError> {
    let unread = |error: io::Error| refused("the agent's own file", error.to_string());
    let own = File::open("/proc/self/exe").map_err(unread)?;
    Ok((own, own_offset(function).map_err(unread)?))
}

/// Where it begins in the file of the agent.
fn own_offset(function: Measured) -> io::Result<u64> {
    let address = function as usize as u64;
    let maps = fs::read_to_string("/proc/self/maps")?;
    let found = maps.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (hex(start)?, hex(end)?);
        (start..end)
            .contains(&address)
            .then(|| address - start + offset)
    });
    found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// Time of a call, the quickest of some rounds.
fn quickest(function: Measured) -> Duration {
    let round = |_| {
        let began = Instant::now();
        for _ in 0..CALLS {
            // SAFETY: a function of the agent that does nothing.
            unsafe { black_box(function)() };
        }
        began.elapsed() / CALLS
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_measured_functions_are_in_the_file_of_this_program() {
        use std::os::unix::fs::FileExt;
        for function in [measured_stepped as Measured, measured_emulated] {
            let offset = own_offset(function).unwrap();
            let mut bytes = [0; 4];
            let own = File::open("/proc/self/exe").unwrap();
            own.read_exact_at(&mut bytes, offset).unwrap();
            let at = function as *const [u8; 4];
            // SAFETY: code of this program, which is as long as that.
            assert_eq!(bytes, unsafe { *at });
        }
    }
}
