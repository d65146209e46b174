//! The symboliser: batches of raw stacks in, stacks of named frames out.

use super::cache::Cache;
use super::plan::{JitAddresses, Plan, Site};
use super::resolve::{self, Frames};
use super::text::Names;
use super::{jit, kernel};
use crate::deadline::{self, Step, Subject};
use crate::maps::{Module, Snapshot};
use remora_model::{AgentLoss, Frame, FrameKind, Stack, UNMAPPED};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// What symbolisation may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Read debug information: file, line and inlined functions. Without it, only symbol tables,
    /// which take a tenth of the time and memory.
    pub debug_info: bool,
    /// Debug information larger than this is left alone, in bytes, packed and unpacked together:
    /// such a file is symbolised by its symbol tables. Reading takes about this much memory.
    pub debug_bytes: u64,
    /// Symbol tables larger than this are left alone, in bytes.
    pub symbol_bytes: u64,
    /// Bytes of a perf map that are read.
    pub perf_map_bytes: u64,
    /// Bytes of a jitdump that are read; it holds the code itself beside the names.
    pub jitdump_bytes: u64,
    /// Bytes of perf maps and jitdumps that are read for one batch, of all processes together.
    pub jit_bytes: u64,
    /// Frames that are remembered between batches.
    pub cached_frames: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            debug_info: true,
            debug_bytes: 512 << 20,
            symbol_bytes: 256 << 20,
            perf_map_bytes: 256 << 20,
            jitdump_bytes: 1 << 30,
            jit_bytes: 2 << 30,
            cached_frames: 1 << 18,
        }
    }
}

/// What could not be named, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SymbolLosses {
    /// Frames of the stacks given that have no name, user and kernel, apart from unmapped ones.
    pub unsymbolised_frames: u64,
    /// Frames that no mapping holds: a damaged stack, or code that was unmapped.
    pub unmapped_frames: u64,
    /// Lines of perf maps that could not be read.
    pub perf_map_bad_lines: u64,
    /// Perf maps that belong to a stranger, or were not read to their end.
    pub perf_maps_refused: u64,
    /// Jitdumps that were not read to their end: malformed, or over the limit.
    pub jitdumps_cut: u64,
    /// Functions whose lines in a jitdump could not be read.
    pub jitdump_lines_damaged: u64,
    /// Files whose symbols could not be read.
    pub files_unparsable: u64,
    /// Files whose debug information was over the limit or damaged.
    pub debug_info_skipped: u64,
}

impl SymbolLosses {
    /// Adds those of a part.
    fn add(&mut self, part: &Self) {
        self.unsymbolised_frames += part.unsymbolised_frames;
        self.unmapped_frames += part.unmapped_frames;
        self.perf_map_bad_lines += part.perf_map_bad_lines;
        self.perf_maps_refused += part.perf_maps_refused;
        self.jitdumps_cut += part.jitdumps_cut;
        self.jitdump_lines_damaged += part.jitdump_lines_damaged;
        self.files_unparsable += part.files_unparsable;
        self.debug_info_skipped += part.debug_info_skipped;
    }

    /// Each counter under its name in `report.json`.
    pub fn by_name(&self) -> [(AgentLoss, u64); 8] {
        let Self {
            unsymbolised_frames,
            unmapped_frames,
            perf_map_bad_lines,
            perf_maps_refused,
            jitdumps_cut,
            jitdump_lines_damaged,
            files_unparsable,
            debug_info_skipped,
        } = *self;
        [
            (AgentLoss::UnsymbolisedFrames, unsymbolised_frames),
            (AgentLoss::UnmappedFrames, unmapped_frames),
            (AgentLoss::PerfMapBadLines, perf_map_bad_lines),
            (AgentLoss::PerfMapsRefused, perf_maps_refused),
            (AgentLoss::JitdumpsCut, jitdumps_cut),
            (AgentLoss::JitdumpLinesDamaged, jitdump_lines_damaged),
            (AgentLoss::SymbolFilesUnparsable, files_unparsable),
            (AgentLoss::DebugInfoSkipped, debug_info_skipped),
        ]
    }
}

/// A stack as the kernel side took it.
#[derive(Clone, Copy, Debug)]
pub struct RawStack<'a> {
    /// The address space of the user addresses; `None` when it could not be read.
    pub space: Option<&'a Snapshot>,
    /// User addresses, leaf first.
    pub user: &'a [u64],
    /// Kernel addresses, leaf first.
    pub kernel: &'a [u64],
    /// Frames that are named already and stand in for user frames.
    pub stand_ins: &'a [StandIn],
    /// The root is missing.
    pub truncated: bool,
}

/// Named frames in the place of a user frame: those of a Python interpreter for its evaluation loop.
#[derive(Clone, Debug)]
pub struct StandIn {
    /// Which user frame, counted from the leaf; one behind the last adds frames at the root.
    pub at: usize,
    /// Leaf first.
    pub frames: Vec<Frame>,
}

/// Names addresses, and remembers the names.
#[derive(Debug)]
pub struct Symbolizer {
    limits: Limits,
    cache: Cache<Site, Frames>,
    losses: SymbolLosses,
}

impl Symbolizer {
    /// A symboliser that keeps to `limits`.
    pub fn new(limits: Limits) -> Self {
        let cache = Cache::new(limits.cached_frames);
        Self {
            limits,
            cache,
            losses: SymbolLosses::default(),
        }
    }

    /// What could not be named so far.
    pub fn losses(&self) -> SymbolLosses {
        self.losses
    }

    /// Names one stack; see [`Symbolizer::symbolize_all`], which is the one for many.
    pub fn symbolize(&mut self, stack: RawStack<'_>) -> Stack {
        self.symbolize_all(&[stack]).pop().unwrap_or_default()
    }

    /// Names a batch of stacks, in their order: root first, inlined functions behind the function
    /// that holds them, kernel frames behind user ones.
    ///
    /// Unmapped frames that follow each other become one `[unmapped]`, and anonymous code that
    /// nothing names is `[jit]`: their addresses differ from run to run and say nothing.
    pub fn symbolize_all(&mut self, stacks: &[RawStack<'_>]) -> Vec<Stack> {
        let mut names = Names::default();
        let mut frames = self.jit_frames(stacks, &mut names);
        let plan = Plan::of(stacks, |site| frames.contains_key(site));
        self.module_frames(&plan, &mut names, &mut frames);
        self.kernel_frames(&plan, &mut names, &mut frames);
        frames.insert(Site::Anonymous, Arc::new([place(jit::JIT, FrameKind::Jit)]));
        frames.insert(
            Site::Unmapped,
            Arc::new([place(UNMAPPED, FrameKind::Native)]),
        );
        let planned = plan.stacks.iter().zip(stacks);
        planned
            .map(|((user, kernel), raw)| Stack {
                frames: self.assemble(user, kernel, raw.stand_ins, &frames),
                truncated: raw.truncated,
                walk: None,
            })
            .collect()
    }

    /// Frames of code made at run time. Not cached: there is ever more, and its addresses are used
    /// again.
    fn jit_frames(&mut self, stacks: &[RawStack<'_>], names: &mut Names) -> HashMap<Site, Frames> {
        let mut frames = HashMap::new();
        let mut room = jit::Room::of(&self.limits);
        for (token, (space, addresses)) in JitAddresses::collect(stacks).0 {
            let addresses: Vec<u64> = addresses.into_iter().collect();
            let (space, mut own, limits) = (space.clone(), std::mem::take(names), self.limits);
            let left = room;
            let found = deadline::run(Step::JitNames, Subject::Process(space.pid()), move || {
                let (mut room, mut losses) = (left, SymbolLosses::default());
                let found = jit::resolve(
                    &space,
                    &addresses,
                    (&limits, &mut room),
                    &mut own,
                    &mut losses,
                );
                (found, own, losses, room)
            });
            let Some((found, own, losses, left)) = found else {
                continue;
            };
            (*names, room) = (own, left);
            self.losses.add(&losses);
            for (address, frame) in found {
                frames.insert(Site::Jit(token, address), Arc::from([frame]));
            }
        }
        frames
    }

    fn module_frames(
        &mut self,
        plan: &Plan,
        names: &mut Names,
        frames: &mut HashMap<Site, Frames>,
    ) {
        for (identity, (module, offsets)) in &plan.modules {
            let site = |offset| Site::Code(identity.clone(), offset);
            let missing = self.take_cached(offsets, site, frames);
            if missing.is_empty() {
                continue;
            }
            let found = self.names_of(module, &missing, names);
            for (offset, found) in missing.into_iter().zip(found) {
                self.cache.insert(site(offset), found.clone());
                frames.insert(site(offset), found);
            }
        }
    }

    /// Frames of the code at these offsets of a module. Without names, where its file does not answer.
    fn names_of(
        &mut self,
        module: &Arc<Module>,
        offsets: &[u64],
        names: &mut Names,
    ) -> Vec<Frames> {
        let (file, wanted, limits) = (Arc::clone(module), offsets.to_vec(), self.limits);
        let mut own = std::mem::take(names);
        let found = deadline::run(Step::Names, Subject::Device(module.device), move || {
            let mut losses = SymbolLosses::default();
            let found = resolve::resolve(&file, &wanted, &limits, &mut own, &mut losses);
            (found, own, losses)
        });
        match found {
            Some((found, own, losses)) => {
                *names = own;
                self.losses.add(&losses);
                found
            }
            None => resolve::without_names(module, offsets, names),
        }
    }

    fn kernel_frames(
        &mut self,
        plan: &Plan,
        names: &mut Names,
        frames: &mut HashMap<Site, Frames>,
    ) {
        let missing = self.take_cached(&plan.kernel, Site::Kernel, frames);
        if missing.is_empty() {
            return;
        }
        let found = kernel::resolve(&missing, names);
        for (address, frame) in missing.into_iter().zip(found) {
            let frame: Frames = Arc::new([frame]);
            self.cache.insert(Site::Kernel(address), frame.clone());
            frames.insert(Site::Kernel(address), frame);
        }
    }

    /// Moves what the cache knows into `frames`; returns the rest, sorted.
    fn take_cached(
        &mut self,
        places: &HashSet<u64>,
        site: impl Fn(u64) -> Site,
        frames: &mut HashMap<Site, Frames>,
    ) -> Vec<u64> {
        let mut missing = Vec::new();
        for place in places {
            match self.cache.get(&site(*place)) {
                Some(known) => drop(frames.insert(site(*place), known)),
                None => missing.push(*place),
            }
        }
        missing.sort_unstable();
        missing
    }

    fn assemble(
        &mut self,
        user: &[Site],
        kernel: &[Site],
        stand_ins: &[StandIn],
        frames: &HashMap<Site, Frames>,
    ) -> Vec<Frame> {
        let mut stack = Vec::with_capacity(user.len() + kernel.len());
        let mut unmapped = false;
        // Both are in the order of the user frames, leaf first.
        let mut stand_ins = stand_ins.iter().rev().peekable();
        while let Some(beyond) = stand_ins.next_if(|frames| frames.at >= user.len()) {
            stack.extend(beyond.frames.iter().rev().cloned());
        }
        let user = user
            .iter()
            .enumerate()
            .rev()
            .map(|(at, site)| (Some(at), site));
        let kernel = kernel.iter().rev().map(|site| (None, site));
        for (at, site) in user.chain(kernel) {
            if let Some(instead) = stand_ins.next_if(|frames| Some(frames.at) == at) {
                stack.extend(instead.frames.iter().rev().cloned());
                unmapped = false;
                continue;
            }
            let again = unmapped;
            unmapped = *site == Site::Unmapped;
            self.losses.unmapped_frames += u64::from(unmapped);
            if unmapped && again {
                continue;
            }
            let found = frames.get(site).map_or(&[][..], |found| found);
            if !unmapped {
                let unnamed = found.iter().filter(|frame| !frame.named).count();
                self.losses.unsymbolised_frames += unnamed as u64;
            }
            stack.extend_from_slice(found);
        }
        stack
    }
}

/// A frame that says only where the code lies.
fn place(name: &str, kind: FrameKind) -> Frame {
    let name: Arc<str> = name.into();
    Frame {
        module: Some(name.clone()),
        name,
        file: None,
        line: None,
        kind,
        named: false,
    }
}
