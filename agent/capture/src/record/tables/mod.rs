//! Unwind tables for the address spaces of the targets: compiled in the background, shared by all
//! processes that map a file, within a budget of kernel memory.
//!
//! | module | what |
//! | --- | --- |
//! | [`worker`] | compiles, beside the capture |
//! | [`chunks`] | which chunks of the kernel's pool are free |
//! | [`files`] | the tables that are there, and which of them is given up for another |
//! | [`layout`] | from mappings to what the kernel side searches |
//! | [`numbers`] | address spaces by content: forked workers share one |
//!
//! Until a file's table is there, its frames are walked along frame pointers, and the stack says so.

mod chunks;
mod files;
mod layout;
mod numbers;
mod worker;

use crate::store::spaces::SpaceKey;
use files::FileTables;
use numbers::{Content, Numbers};
use remora_common::python::Interpreter;
use remora_model::AgentLoss;
use remora_probe::Probe;
use remora_process::maps::Snapshot;
use std::{
    collections::{HashMap, HashSet},
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// Pauses between two looks at mappings: a library that was loaded is known soon; code made at run time
/// lies in mappings that come and go, and is not worth a look each time.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(32);

/// Beats between two looks at which tables are used and which processes are left.
const HOUSEKEEPING: u32 = 8;

/// Longest wait for tables before the recording starts. Files that take longer get theirs later.
const FIRST_TABLES: Duration = Duration::from_secs(2);

/// A process whose stacks are walked by tables.
struct Bound {
    snapshot: Snapshot,
    interpreter: Option<Interpreter>,
    /// The number of its address space, `None` when there is none left.
    number: Option<u32>,
    /// When its mappings were checked.
    checked: Instant,
    /// Until they are checked again, when the kernel side asks for it.
    pause: Duration,
}

/// All unwind tables of a capture.
pub(super) struct Tables {
    files: FileTables,
    numbers: Numbers,
    bound: HashMap<SpaceKey, Bound>,
    /// Address spaces that once found no number.
    unnumbered: HashSet<SpaceKey>,
    /// Mappings beyond what an address space can hold, of the one that has most.
    mappings_left_out: u64,
    /// Writes that the kernel refused.
    refused: u64,
    active: bool,
    beats: u32,
}

impl Tables {
    /// No tables yet; room for `budget_bytes` of them. On a kernel that cannot walk by tables
    /// nothing is compiled.
    ///
    /// # Errors
    /// When the system gives no thread to compile in.
    pub(super) fn new(probe: &Probe, budget_bytes: u64) -> io::Result<Self> {
        Ok(Self {
            files: FileTables::new(budget_bytes)?,
            numbers: Numbers::new(probe.spaces()),
            bound: HashMap::new(),
            unnumbered: HashSet::new(),
            mappings_left_out: 0,
            refused: 0,
            active: probe.unwinds(),
            beats: 0,
        })
    }

    /// Has the stacks of a process walked by the tables of what it maps. `interpreter` describes its
    /// Python interpreter; `None` keeps the one that is known.
    ///
    /// Returns whether other files are mapped than the last time; code made at run time comes and goes.
    pub(super) fn bind(
        &mut self,
        probe: &mut Probe,
        key: SpaceKey,
        snapshot: &Snapshot,
        interpreter: Option<Interpreter>,
    ) -> bool {
        if !self.active {
            return false;
        }
        self.files.want(snapshot);
        let known = self.bound.get(&key);
        let changed = known.is_none_or(|bound| !same_files(&bound.snapshot, snapshot));
        let interpreter = interpreter.or_else(|| known.and_then(|bound| bound.interpreter));
        let before = known.map_or((None, SHORTEST_PAUSE), |bound| (bound.number, bound.pause));
        self.bound.insert(
            key,
            Bound {
                snapshot: snapshot.clone(),
                interpreter,
                number: before.0,
                checked: Instant::now(),
                pause: before.1,
            },
        );
        self.renew(probe, key, false);
        changed
    }

    /// The process is gone, or has another address space now.
    pub(super) fn unbind(&mut self, probe: &mut Probe, key: SpaceKey) {
        if let Some(bound) = self.bound.remove(&key) {
            probe.unbind_space(key.tgid, key.generation);
            self.numbers.release(bound.number);
        }
    }

    /// Lets go of a process that has ended, whose id was given to another.
    pub(super) fn forget(&mut self, probe: &mut Probe, tgid: u32) {
        let own = self.bound.keys().filter(|key| key.tgid == tgid);
        let own: Vec<SpaceKey> = own.copied().collect();
        own.into_iter().for_each(|key| self.unbind(probe, key));
    }

    /// Lets go of the processes that have ended.
    fn let_go(&mut self, probe: &mut Probe) {
        let living: HashSet<u32> = probe.threads().iter().map(|slot| slot.tgid).collect();
        let gone: Vec<SpaceKey> = self
            .bound
            .keys()
            .filter(|key| !living.contains(&key.tgid))
            .copied()
            .collect();
        gone.into_iter().for_each(|key| self.unbind(probe, key));
    }

    /// Waits for the tables of what is mapped already, for a while.
    pub(super) async fn first(&mut self, probe: &mut Probe) {
        let deadline = tokio::time::Instant::now() + FIRST_TABLES;
        while self.files.waiting() > 0 {
            let next = tokio::time::timeout_at(deadline, self.files.next());
            let Ok(compiled) = next.await else {
                break;
            };
            self.place(probe, compiled);
        }
        self.renew_all(probe, false);
    }

    /// Completes when a table was compiled; [`Tables::settle`] takes it.
    pub(super) async fn compiled(&mut self) -> worker::Compiled {
        self.files.next().await
    }

    /// Puts a compiled table, and all others that are done, into the kernel.
    pub(super) fn settle(&mut self, probe: &mut Probe, compiled: worker::Compiled) {
        self.place(probe, compiled);
        while let Some(compiled) = self.files.try_next() {
            self.place(probe, compiled);
        }
        self.renew_all(probe, false);
    }

    /// At each beat: tables that were given up and are missed are asked for again. Returns the
    /// processes whose mappings should be read again, for the kernel side met addresses that lie in
    /// none of them.
    pub(super) fn beat(&mut self, probe: &mut Probe) -> Vec<SpaceKey> {
        self.beats += 1;
        self.files.tick();
        if let Some(parked) = self.files.take_parked() {
            self.settle(probe, parked);
        }
        if self.beats.is_multiple_of(HOUSEKEEPING) {
            self.let_go(probe);
            self.note_use(probe);
            self.files.want_missed();
        }
        let keys: Vec<SpaceKey> = self.bound.keys().copied().collect();
        let again = keys.into_iter().filter(|key| self.check_again(probe, *key));
        again.collect()
    }

    /// Whether the mappings of a process should be read again now: the kernel side met an address
    /// that lies in none of them, and the last look was not just now. Where looks find nothing new,
    /// the pauses between them grow.
    pub(super) fn check_again(&mut self, probe: &Probe, key: SpaceKey) -> bool {
        let Some(bound) = self.bound.get_mut(&key) else {
            return false;
        };
        let Some(number) = bound.number else {
            return false;
        };
        if bound.checked.elapsed() < bound.pause || !probe.met_unknown(number) {
            return false;
        }
        probe.clear_unknown(number);
        bound.checked = Instant::now();
        bound.pause = (bound.pause * 2).min(LONGEST_PAUSE);
        true
    }

    /// The mappings of a process had changed indeed: the next look may come soon.
    pub(super) fn changed(&mut self, key: SpaceKey) {
        if let Some(bound) = self.bound.get_mut(&key) {
            bound.pause = SHORTEST_PAUSE;
        }
    }

    /// Bytes of kernel memory that tables take, and how many tables there are.
    pub(super) fn memory(&self) -> (u64, u64) {
        self.files.memory()
    }

    /// What could not be had, by name in `report.json`.
    pub(super) fn losses(&self) -> [(AgentLoss, u64); 9] {
        let files = self.files.losses();
        [
            (AgentLoss::UnwindTablesUnparsable, files.unparsable),
            (AgentLoss::UnwindTablesOverBudget, files.over_budget),
            (AgentLoss::UnwindTablesEvicted, files.evicted),
            (AgentLoss::UnwindTablesUnfinished, files.unfinished),
            (AgentLoss::UnwindTablesPostponed, files.postponed),
            (AgentLoss::UnwindFilesLeftOut, files.files_left_out),
            (
                AgentLoss::UnwindSpacesUnnumbered,
                self.unnumbered.len() as u64,
            ),
            (AgentLoss::UnwindMappingsLeftOut, self.mappings_left_out),
            (AgentLoss::UnwindWritesRefused, self.refused),
        ]
    }

    fn place(&mut self, probe: &mut Probe, compiled: worker::Compiled) {
        if self.files.room_is_short(&compiled) {
            self.note_use(probe);
        }
        let given_up = self.files.place(probe, compiled, Instant::now());
        if given_up {
            // No walk may find the way to chunks that are written over later.
            self.renew_all(probe, true);
        }
    }

    /// Asks the kernel side which tables it used since the last time.
    fn note_use(&mut self, probe: &Probe) {
        for bound in self.bound.values() {
            let Some(number) = bound.number else { continue };
            let (mappings, _) = layout::mappings(&bound.snapshot, &self.files);
            let used = probe.take_used(number, mappings.len());
            for (mapping, used) in mappings.iter().zip(used) {
                if used && let Some(module) = bound.snapshot.find(mapping.start) {
                    self.files.was_used(module);
                }
            }
        }
    }

    fn renew_all(&mut self, probe: &mut Probe, stale: bool) {
        let keys: Vec<SpaceKey> = self.bound.keys().copied().collect();
        for key in keys {
            self.renew(probe, key, stale);
        }
    }

    /// Writes the address space of a process as it is now.
    ///
    /// `stale`: a table that it may lead to was given up.
    fn renew(&mut self, probe: &mut Probe, key: SpaceKey, stale: bool) {
        let Some(bound) = self.bound.get(&key) else {
            return;
        };
        let (mappings, left_out) = layout::mappings(&bound.snapshot, &self.files);
        let content = Content {
            mappings,
            interpreter: bound.interpreter,
        };
        let before = bound.number;
        let Some(number) = self.numbers.of(content, before, |number, space| {
            probe.put_space(number, space);
        }) else {
            // What it had stays, unless that leads to a table that was given up.
            self.unnumbered.insert(key);
            if stale {
                probe.unbind_space(key.tgid, key.generation);
                self.numbers.release(before);
                if let Some(bound) = self.bound.get_mut(&key) {
                    bound.number = None;
                }
            }
            return;
        };
        if Some(number) == before {
            return;
        }
        let written = probe.bind_space(key.tgid, key.generation, number);
        self.refused += u64::from(written.is_err());
        self.mappings_left_out = self.mappings_left_out.max(left_out);
        self.numbers.release(before);
        if let Some(bound) = self.bound.get_mut(&key) {
            bound.number = Some(number);
        }
    }
}

/// Whether two looks at an address space saw the same files at the same places.
fn same_files(before: &Snapshot, now: &Snapshot) -> bool {
    let files = |snapshot: &Snapshot| {
        let mappings = snapshot.mappings().iter();
        let files = mappings.filter_map(|mapping| {
            let module = mapping.module.as_ref()?;
            Some((mapping.start, mapping.end, Arc::as_ptr(module)))
        });
        files.collect::<Vec<_>>()
    };
    files(before) == files(now)
}
