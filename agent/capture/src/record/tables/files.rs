//! The tables by file: wanted, there, given up.

use super::{
    chunks::Chunks,
    worker::{Compiled, Worker},
};
use remora_common::unwind::{Chunk, SEGMENT_CHUNKS};
use remora_probe::Probe;
use remora_process::maps::{self, Content, Identity, Module, Snapshot};
use remora_process::unwind::{self, CompileError, Table};
use std::{collections::HashMap, io, sync::Arc, time::Instant};

/// Files that are asked for at the most, in a capture.
const MAX_FILES: usize = 65_536;

/// A table that was used within so many beats is not given up for another: use is looked at every eight.
const YOUNG: u64 = 16;

/// From this beat on, tables that were never used are given up for others.
const SETTLED: u64 = 2;

/// A table in the kernel.
#[derive(Debug)]
pub(super) struct Ready {
    /// Chunk of the tree's root.
    pub root: u32,
    /// Levels of the tree.
    pub depth: u16,
    /// The table without its rows: it knows where the file's code lies.
    pub table: Table,
    chunks: Vec<u32>,
    /// The beat at which its use was seen last.
    used_at: Option<u64>,
}

/// What became of a file's table.
#[derive(Debug)]
pub(super) enum State {
    /// It is being compiled.
    Wanted,
    /// It is in the kernel.
    Ready(Box<Ready>),
    /// It was given up for others, or found no room, there or among those that wait; `missed`: the kernel side needed it since.
    GivenUp {
        /// The kernel side needed it since.
        missed: bool,
    },
    /// The file has no table, a damaged one, or one that is larger than all room.
    Absent,
}

/// What could not be had.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TableLosses {
    /// Files without usable call frame information.
    pub unparsable: u64,
    /// Tables that found no room in the budget.
    pub over_budget: u64,
    /// Tables that were given up for others.
    pub evicted: u64,
    /// Tables that are being compiled still.
    pub unfinished: u64,
    /// Tables that could not be asked for at once: too many waited.
    pub postponed: u64,
    /// Files that were not asked for, at each sight of them: there are too many.
    pub files_left_out: u64,
}

struct File {
    module: Arc<Module>,
    state: State,
}

/// All files that somebody maps.
pub(super) struct FileTables {
    worker: Worker,
    chunks: Chunks,
    files: HashMap<Arc<Identity>, File>,
    losses: TableLosses,
    /// Compiled tables that wait until the room that was made for them is free.
    parked: Vec<Compiled>,
    /// Counts the beats.
    time: u64,
}

impl FileTables {
    /// None yet; room for `budget_bytes`.
    pub(super) fn new(budget_bytes: u64) -> io::Result<Self> {
        // Whole segments: the pool grows by them.
        let segment = u64::from(SEGMENT_CHUNKS) * size_of::<Chunk>() as u64;
        let segments = u32::try_from(budget_bytes / segment).unwrap_or(u32::MAX);
        Ok(Self {
            worker: Worker::start()?,
            chunks: Chunks::new(segments.saturating_mul(SEGMENT_CHUNKS)),
            files: HashMap::new(),
            losses: TableLosses::default(),
            parked: Vec::new(),
            time: 0,
        })
    }

    /// Asks for the tables of all files of an address space that were not asked for before.
    pub(super) fn want(&mut self, snapshot: &Snapshot) {
        for module in snapshot.mappings().iter().filter_map(|m| m.module.as_ref()) {
            let readable = !matches!(module.content, Content::Missing) && module.layout.is_some();
            if self.files.contains_key(&module.identity) {
                continue;
            }
            if self.files.len() >= MAX_FILES {
                self.losses.files_left_out += 1;
                continue;
            }
            let state = if !readable {
                State::Absent
            } else if self.worker.compile(module) {
                State::Wanted
            } else {
                self.losses.postponed += 1;
                State::GivenUp { missed: true }
            };
            let file = File {
                module: Arc::clone(module),
                state,
            };
            self.files.insert(Arc::clone(&module.identity), file);
        }
    }

    /// Asks again for tables that were given up and are missed, as far as there is room.
    pub(super) fn want_missed(&mut self) {
        for file in self.files.values_mut() {
            let missed = matches!(file.state, State::GivenUp { missed: true });
            if missed && self.worker.compile(&file.module) {
                file.state = State::Wanted;
            }
        }
    }

    /// What became of a file's table; `None` when it was never asked for.
    pub(super) fn state(&self, identity: &Identity) -> Option<&State> {
        self.files.get(identity).map(|file| &file.state)
    }

    /// Files that are being compiled.
    pub(super) fn waiting(&self) -> usize {
        self.worker.waiting()
    }

    /// The next table that is done.
    pub(super) async fn next(&mut self) -> Compiled {
        self.worker.next().await
    }

    /// One that is done already.
    pub(super) fn try_next(&mut self) -> Option<Compiled> {
        self.worker.try_next()
    }

    /// A table that waits for room which may be free by now.
    pub(super) fn take_parked(&mut self) -> Option<Compiled> {
        self.parked.pop()
    }

    /// Time passes for [`FileTables::was_used`].
    pub(super) fn tick(&mut self) {
        self.time += 1;
    }

    /// The kernel side looked for a row in this mapping.
    pub(super) fn was_used(&mut self, mapping: &maps::Mapping) {
        let Some(module) = &mapping.module else {
            return;
        };
        match self.files.get_mut(&module.identity).map(|f| &mut f.state) {
            Some(State::Ready(ready)) => ready.used_at = Some(self.time),
            Some(State::GivenUp { missed }) => *missed = true,
            _ => {}
        }
    }

    /// Whether others may have to be given up for this one.
    pub(super) fn room_is_short(&mut self, compiled: &Compiled) -> bool {
        let available = self.chunks.available(Instant::now());
        let needed = compiled.table.as_ref().map_or(0, Table::chunks);
        needed > available
    }

    /// Puts a table into the kernel; returns whether others were given up for it.
    pub(super) fn place(&mut self, probe: &mut Probe, compiled: Compiled, now: Instant) -> bool {
        let Compiled { identity, table } = compiled;
        let table = match table {
            Ok(table) => table,
            Err(why) => {
                // A 32-bit process is walked by the kernel; it is counted where its waits are.
                self.losses.unparsable += u64::from(!matches!(why, CompileError::Machine));
                self.set(&identity, State::Absent);
                return false;
            }
        };
        if !self.chunks.could_hold(table.chunks()) {
            // Not asked for again: it would not fit then either.
            self.losses.over_budget += 1;
            self.set(&identity, State::Absent);
            return false;
        }
        let given_up = self.make_room(table.chunks(), now);
        if self.chunks.available(now) < table.chunks() {
            // What was given up rests for a moment; where nothing was, others are used as much.
            if given_up || self.chunks.resting() > 0 {
                self.parked.push(Compiled {
                    identity,
                    table: Ok(table),
                });
                return given_up;
            }
        }
        let state = match self.write(probe, table, now) {
            Some(ready) => State::Ready(Box::new(ready)),
            None => {
                self.losses.over_budget += 1;
                State::GivenUp { missed: false }
            }
        };
        self.set(&identity, state);
        given_up
    }

    /// Bytes of kernel memory that tables take, and how many tables there are.
    pub(super) fn memory(&self) -> (u64, u64) {
        let ready = |file: &&File| matches!(file.state, State::Ready(_));
        let count = self.files.values().filter(ready).count();
        (self.chunks.used_bytes(), count as u64)
    }

    /// What could not be had so far.
    pub(super) fn losses(&self) -> TableLosses {
        let parked = self.parked.len() as u64;
        let wanted = |file: &&File| matches!(file.state, State::Wanted);
        let wanted = self.files.values().filter(wanted).count() as u64;
        TableLosses {
            over_budget: self.losses.over_budget + parked,
            // A table that waits for room is compiled.
            unfinished: wanted.saturating_sub(parked),
            ..self.losses
        }
    }

    fn set(&mut self, identity: &Identity, state: State) {
        if let Some(file) = self.files.get_mut(identity) {
            file.state = state;
        }
    }

    /// Gives up the tables that were used least lately, until there is room for `needed` chunks
    /// (which rest for a moment first: see [`Chunks`]).
    fn make_room(&mut self, needed: usize, now: Instant) -> bool {
        let mut room = self.chunks.available(now) + self.chunks.resting();
        let mut given_up = false;
        while room < needed {
            let oldest = self
                .files
                .values_mut()
                .filter_map(|file| match &file.state {
                    State::Ready(ready) => Some((ready.used_at, file)),
                    _ => None,
                })
                .min_by_key(|(used_at, _)| *used_at);
            let Some((used_at, file)) = oldest else { break };
            let rested = used_at.map_or(SETTLED, |at| at + YOUNG);
            if self.time < rested {
                break;
            }
            let given = std::mem::replace(&mut file.state, State::GivenUp { missed: false });
            if let State::Ready(ready) = given {
                room += ready.chunks.len();
                self.chunks.give_back(ready.chunks, now);
            }
            self.losses.evicted += 1;
            given_up = true;
        }
        given_up
    }

    fn write(&mut self, probe: &mut Probe, mut table: Table, now: Instant) -> Option<Ready> {
        let needed = table.chunks();
        if self.chunks.available(now) < needed {
            return None;
        }
        for _ in 0..self.chunks.segments_missing(needed) {
            probe.grow_chunks().ok()?;
            self.chunks.grew();
        }
        let taken: Vec<u32> = (0..needed).filter_map(|_| self.chunks.take()).collect();
        let put = |number, chunk: &_| probe.put_chunk(number, chunk);
        let Ok(Some(root)) = unwind::pack(&table, taken.clone(), put) else {
            self.chunks.give_back(taken, now);
            return None;
        };
        table.rows = Vec::new();
        Some(Ready {
            root: root.chunk,
            depth: root.depth as u16,
            table,
            chunks: root.chunks,
            used_at: None,
        })
    }
}
