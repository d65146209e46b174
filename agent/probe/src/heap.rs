//! Probes in the targets' allocators: uprobes, which patch the text of the process that they are attached to.
//! Nothing here is loaded or attached before it is asked for.

use super::{Probe, ProbeError, hooks, load::take};
use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, PerCpuArray},
    programs::{
        UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope},
    },
};
use remora_common::heap::{Arguments, Block, BlockKey, HeapCounts, HeapThread, STAGE_SAMPLED};
use remora_process::allocator::Call;
use remora_process::deadline::{self, Step, Subject};
use std::{
    fs::{self, File},
    hint::black_box,
    io,
    num::NonZeroU32,
    os::fd::{AsFd, AsRawFd},
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};

/// Programs at the functions of an allocator.
const PROGRAMS: [&str; 3] = ["heap_enter", "heap_return", "heap_free"];

/// Calls that the cost of a probe is measured by, and how often: the quickest counts.
const CALLS: u32 = 500;
const ROUNDS: u32 = 5;

/// A probe in a process. It is there until this is dropped.
pub(super) type Link = UProbeLink;

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

/// Probes that are being taken out, in a thread of its own: the kernel waits for each until no CPU can be in it.
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

impl Probe {
    /// Loads the programs and measures what a probe costs, on functions of the agent itself.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn load_heap(&mut self) -> Result<TrapCost, ProbeError> {
        load(&mut self.ebpf)?;
        self.measure_trap()
    }

    /// Attaches the programs to functions of a process, all or none. `file` is the mapped file.
    ///
    /// # Errors
    /// The kernel's refusal, with the function that it is about.
    pub fn attach_heap(
        &mut self,
        pid: u32,
        file: &File,
        points: &[HeapPoint],
    ) -> Result<(), ProbeError> {
        let before = self.heap_links.len();
        for point in points {
            let stepped = point.stepped.into();
            let attached = match point.call {
                Call::Frees => {
                    let arguments = Arguments {
                        stepped,
                        ..Arguments::default()
                    };
                    self.attach("heap_free", (pid, file), point.offset, arguments.cookie())
                }
                Call::Allocates(arguments) => self
                    .attach("heap_return", (pid, file), point.offset, 0)
                    .and_then(|()| {
                        let cookie = Arguments {
                            stepped,
                            ..arguments
                        }
                        .cookie();
                        self.attach("heap_enter", (pid, file), point.offset, cookie)
                    }),
            };
            if let Err(error) = attached {
                self.heap_links.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    fn attach(
        &mut self,
        name: &'static str,
        target: (u32, &File),
        offset: u64,
        cookie: u64,
    ) -> Result<(), ProbeError> {
        let link = link(&mut self.ebpf, name, target, offset, cookie)?;
        self.heap_links.push(link);
        Ok(())
    }

    /// From now on what the probes see counts; or no longer, from this moment on.
    pub fn watch_heap(&self, on: bool) {
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*self.control.element(0)).heap).write_volatile(on.into()) };
    }

    /// Takes all probes out, so that the targets' text is as it was.
    pub fn detach_heap(&mut self) -> Detached {
        self.watch_heap(false);
        let links = std::mem::take(&mut self.heap_links);
        let (out, detached) = sync_channel(1);
        std::thread::spawn(move || {
            // Each waits for a grace period of the kernel's: together they wait for one.
            std::thread::scope(|scope| {
                for link in links {
                    scope.spawn(move || drop(link));
                }
            });
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

    /// By calls of functions of the agent's own, without probes, with one at the entry, with both. The agent
    /// is no target, so the programs leave at once.
    fn measure_trap(&mut self) -> Result<TrapCost, ProbeError> {
        let (stepped, _) = self.measure(measured_stepped)?;
        let (emulated, back) = self.measure(measured_emulated)?;
        Ok(TrapCost {
            stepped,
            emulated,
            back,
        })
    }

    /// The cost of a probe at the entry of a function, and of one at its return.
    fn measure(&mut self, function: Measured) -> Result<(Duration, Duration), ProbeError> {
        let unmeasured =
            |error: io::Error| refused("the measurement of a probe", error.to_string());
        let own = File::open("/proc/self/exe").map_err(unmeasured)?;
        let offset = own_offset(function).map_err(unmeasured)?;
        let target = (std::process::id(), &own);
        let bare = quickest(function);
        self.attach("heap_free", target, offset, 0)?;
        let entry = quickest(function);
        let attached = self.attach("heap_return", target, offset, 0);
        let both = quickest(function);
        self.detach_heap().wait();
        attached?;
        Ok((entry.saturating_sub(bare), both.saturating_sub(entry)))
    }
}

/// Loads the programs and attaches some to a function of the agent itself; nothing stays attached.
pub(super) fn attempt(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    load(ebpf)?;
    let unread = |error: io::Error| refused("the agent's own file", error.to_string());
    let own = File::open("/proc/self/exe").map_err(unread)?;
    let offset = own_offset(measured_emulated).map_err(unread)?;
    let target = (std::process::id(), &own);
    let _entry = link(ebpf, "heap_enter", target, offset, 0)?;
    link(ebpf, "heap_return", target, offset, 0).map(drop)
}

fn load(ebpf: &mut Ebpf) -> Result<(), ProbeError> {
    for name in PROGRAMS {
        program(ebpf, name)?
            .load()
            .map_err(|error| refused(name, hooks::refusal(&error)))?;
    }
    Ok(())
}

/// Puts a program at a place of a file, in one process.
fn link(
    ebpf: &mut Ebpf,
    name: &'static str,
    (pid, file): (u32, &File),
    offset: u64,
    cookie: u64,
) -> Result<Link, ProbeError> {
    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let pid = NonZeroU32::new(pid).ok_or(ProbeError::Mismatch("pid"))?;
    let point = UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(offset),
        cookie: Some(cookie),
    };
    let program = program(ebpf, name)?;
    program
        .attach(point, path, UProbeScope::OneProcess(pid))
        .and_then(|id| program.take_link(id))
        .map_err(|error| refused(name, hooks::refusal(&error)))
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
