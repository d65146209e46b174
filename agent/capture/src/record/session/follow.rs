//! What must be known of the processes that are watched, and changes under way: their mappings, the
//! unwind tables and interpreters in them, forks and execs.

use super::{CaptureError, Session};
use crate::store::spaces::SpaceKey;
use remora_common::event::Event;
use remora_model::Process;
use remora_probe::now_ns;
use remora_process::{self as process, Target};

impl Session {
    /// Takes the mappings of an address space in, and has its stacks walked by them.
    pub(super) fn bind(&mut self, key: SpaceKey) -> bool {
        match self.spaces.now(key) {
            Some(snapshot) => {
                let interpreter = self.interpreters.find(key, snapshot);
                self.tables
                    .bind(&mut self.probe, key, snapshot, interpreter)
            }
            None => false,
        }
    }

    /// What happens once a second.
    pub(super) fn beat(&mut self) {
        self.sampling.beat(&mut self.probe);
        for key in self.tables.beat(&mut self.probe) {
            self.read_again(key);
        }
        for key in self.interpreters.due() {
            self.bind(key);
        }
        self.interpreters.note_tasks();
        self.learn_python();
        self.memory.beat();
    }

    /// A walk met code that lies in no known mapping.
    pub(super) fn unknown_code(&mut self, event: &Event) {
        let key = SpaceKey {
            tgid: event.tgid,
            generation: event.generation,
        };
        if self.tables.check_again(&self.probe, key) {
            self.read_again(key);
        }
    }

    fn read_again(&mut self, key: SpaceKey) {
        self.spaces.read(key, now_ns());
        if self.bind(key) {
            self.tables.changed(key);
        }
    }

    /// Reads the code objects that stacks name since the last time, while they are there.
    pub(super) fn learn_python(&mut self) {
        if !self.interpreters.any() {
            return;
        }
        for (tgid, generation, frames) in self.probe.new_python_stacks() {
            self.interpreters
                .learn(SpaceKey { tgid, generation }, &frames);
        }
    }

    /// Reads the mappings of a process, as it is before its first exec.
    pub(super) fn map(&mut self, pid: u32) {
        let key = SpaceKey {
            tgid: pid,
            generation: 0,
        };
        self.spaces.read(key, now_ns());
        self.bind(key);
    }

    /// Whether its mappings were read, as it is before its first exec.
    pub(super) fn is_mapped(&self, pid: u32) -> bool {
        let key = SpaceKey {
            tgid: pid,
            generation: 0,
        };
        self.spaces.now(key).is_some()
    }

    /// Before anything counts: the mappings of the targets, and tables for what they map.
    pub(super) async fn know(&mut self, targets: &[Target]) {
        targets.iter().for_each(|target| self.map(target.pid()));
        self.tables.first(&mut self.probe).await;
    }

    /// That every target has an interpreter that can be read.
    pub(super) fn require_python(&self) -> Result<(), CaptureError> {
        if !self.probe.unwinds() {
            return Err(CaptureError::NoPythonHere);
        }
        match self.interpreters.without().first() {
            None => Ok(()),
            Some((pid, why)) => Err(CaptureError::Python {
                pid: *pid,
                why: *why,
            }),
        }
    }

    pub(super) fn forked(&mut self, event: &Event) {
        let child = SpaceKey {
            tgid: event.tgid,
            generation: 0,
        };
        if self.spaces.get(child).is_some() {
            // A process is forked once: what is known under its id is of one that has ended.
            self.spaces.forget(event.tgid);
            self.interpreters.forget(event.tgid);
            self.tables.forget(&mut self.probe, event.tgid);
        }
        // The parent's generation at the fork is the highest it has had so far.
        let generation = self.spaces.latest(event.parent_tgid);
        let parent = SpaceKey {
            tgid: event.parent_tgid,
            generation,
        };
        self.spaces.inherit(child, parent, event.at_ns);
        self.bind(child);
        self.sockets.watch(event.tgid);
        let parent = self.processes.get(&event.parent_tgid);
        let exe = parent.map(|parent| parent.exe.clone());
        self.processes.entry(event.tgid).or_insert_with(|| Process {
            pid: event.tgid,
            comm: process::name(event.tgid).unwrap_or_default(),
            was: None,
            exe: exe.unwrap_or_default(),
            threads: 0,
            exited: false,
            parent: Some(event.parent_tgid),
            related: None,
            followed: None,
            python: None,
        });
        self.memory.began(event.tgid);
    }

    pub(super) fn execed(&mut self, event: &Event) {
        let key = SpaceKey {
            tgid: event.tgid,
            generation: event.generation,
        };
        self.spaces.read(key, event.at_ns);
        if let Some(generation) = event.generation.checked_sub(1) {
            let before = SpaceKey { generation, ..key };
            self.tables.unbind(&mut self.probe, before);
            self.spaces.ended(before);
            self.interpreters.replaced(before);
        }
        self.bind(key);
        self.memory.replaced(event.tgid, event.generation);
        if let (Some(process), Ok(now)) =
            (self.processes.get_mut(&event.tgid), Target::of(event.tgid))
        {
            let before = std::mem::replace(&mut process.comm, now.comm);
            process.was.get_or_insert(before);
            process.exe = now
                .exe
                .map(|exe| exe.path.display().to_string())
                .unwrap_or_default();
        }
    }
}
