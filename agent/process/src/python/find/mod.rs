//! Finding the interpreter in a process: which mapped file holds it, whatever that file's name,
//! where its state lies, its version, and which code runs Python frames.
//!
//! A process that does not run Python costs a look into a hash table for each of its modules: what
//! a file has to say is read once (`program`). All that was found is tried on the process's
//! memory before it is believed: an interpreter whose thread does not point back to it is none.

#[cfg(test)]
mod embedded;
mod pieces;
mod program;
mod split;
#[cfg(test)]
mod tests;
mod text;

use super::Version;
use super::layout::{Layout, published};
use crate::maps::{Identity, Module, Snapshot};
use crate::memory::Memory;
use program::Program;
use remora_common::python::Interpreter;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Files of which is remembered whether they hold an interpreter.
const MAX_FILES: usize = 16_384;
/// Threads without an id, newborn ones, that are passed over on the way to one with it.
const MAX_NEWBORN: usize = 64;
/// Interpreters that are looked at to find one with a thread.
const MAX_INTERPRETERS: usize = 64;
/// How often the state of an interpreter is read before it is said to be implausible.
const READINGS: usize = 8;

/// An interpreter in a process.
#[derive(Clone, Debug)]
pub struct Python {
    /// Its version.
    pub version: Version,
    /// How its structures are laid out.
    pub layout: Layout,
    /// What the kernel side must know.
    pub interpreter: Interpreter,
    /// The file that holds it.
    pub module: Arc<Module>,
    /// The code of the evaluation loop, as addresses in the process.
    pub evaluation: Vec<Range<u64>>,
    /// No part of that code is missing. Otherwise one that the compiler split off as rarely run
    /// could not be found.
    pub evaluation_complete: bool,
}

impl Python {
    /// Address of `_PyRuntime` in the process.
    pub fn runtime(&self) -> u64 {
        self.interpreter.runtime
    }

    /// Whether an instruction at `address` is the evaluation loop's. For a return address, ask for
    /// the byte in front of it: the call may be the function's last instruction.
    pub fn evaluates(&self, address: u64) -> bool {
        self.evaluation.iter().any(|code| code.contains(&address))
    }
}

/// Why a process has no interpreter that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// No mapped file holds one.
    #[error("no CPython interpreter is mapped")]
    NoInterpreter,
    /// Its version is not known.
    #[error("the version of its CPython interpreter could not be told")]
    NoVersion,
    /// Its structures are not known.
    #[error("CPython {0} is not supported (3.8 to 3.14 are)")]
    Unsupported(Version),
    /// It has no thread yet, or no more: ask again later.
    #[error("its CPython {0} interpreter is not initialised")]
    NotReady(Version),
    /// Its memory does not look as its version would have it: a debug build, perhaps.
    #[error("the state of its CPython {0} interpreter is not laid out as that version's is")]
    Implausible(Version),
    /// Its files or its memory were not there in time.
    #[error("its memory or its files do not answer")]
    NoAnswer,
}

/// Finds interpreters, and remembers what the files say.
#[derive(Debug, Default)]
pub struct Finder {
    files: HashMap<Arc<Identity>, Option<Arc<Program>>>,
}

/// A module that holds (a part of) an interpreter, and where it is mapped.
struct Candidate<'a> {
    module: &'a Arc<Module>,
    program: Arc<Program>,
    /// What to add to an address of the file.
    bias: u64,
}

impl Finder {
    /// The interpreter of the process that `snapshot` and `memory` show.
    ///
    /// # Errors
    /// Says why there is none to read.
    pub fn find(&mut self, snapshot: &Snapshot, memory: &impl Memory) -> Result<Python, NotFound> {
        let candidates = self.candidates(snapshot);
        let mut reason = NotFound::NoInterpreter;
        for candidate in &candidates {
            match examine(candidate, &candidates, memory) {
                Ok(python) => return Ok(python),
                Err(NotFound::NoInterpreter) => {}
                Err(other) => reason = other,
            }
        }
        Err(reason)
    }

    fn candidates<'a>(&mut self, snapshot: &'a Snapshot) -> Vec<Candidate<'a>> {
        let mut candidates: Vec<Candidate<'a>> = Vec::new();
        for mapping in snapshot.mappings() {
            let Some(module) = &mapping.module else {
                continue;
            };
            let seen = candidates
                .iter()
                .any(|known| Arc::ptr_eq(known.module, module));
            if let (false, Some(program)) = (seen, self.program(module))
                && let Some(bias) = mapping.bias()
            {
                candidates.push(Candidate {
                    module,
                    program,
                    bias,
                });
            }
        }
        candidates
    }

    fn program(&mut self, module: &Module) -> Option<Arc<Program>> {
        if let Some(known) = self.files.get(&module.identity) {
            return known.clone();
        }
        if self.files.len() >= MAX_FILES {
            self.files.clear();
        }
        let program = Program::read(module).map(Arc::new);
        self.files.insert(module.identity.clone(), program.clone());
        program
    }
}

/// The interpreter of one process; [`Finder`] is cheaper for several.
///
/// # Errors
/// Says why there is none to read.
pub fn find(snapshot: &Snapshot, memory: &impl Memory) -> Result<Python, NotFound> {
    Finder::default().find(snapshot, memory)
}

/// What is at a candidate. A program that was linked against `libpython` may have a copy of
/// `_PyRuntime` of its own, which then is the one in use: code and state may lie in two files.
fn examine(
    candidate: &Candidate<'_>,
    all: &[Candidate<'_>],
    memory: &impl Memory,
) -> Result<Python, NotFound> {
    let runtime = candidate.program.runtime.ok_or(NotFound::NoInterpreter)?;
    let runtime = candidate.bias.wrapping_add(runtime);
    let (version, layout) = match published::read(memory, runtime) {
        Some(published) => published,
        None => {
            let version = all.iter().find_map(|one| version(one, memory));
            let version = version.ok_or(NotFound::NoVersion)?;
            let layout = Layout::of(version).ok_or(NotFound::Unsupported(version))?;
            (version, layout)
        }
    };
    plausible(&layout, version, runtime, memory)?;
    let evaluation = |one: &Candidate<'_>| {
        let bias = one.bias;
        let moved = one.program.evaluation.iter();
        let moved = moved.map(|code| {
            let end = bias.wrapping_add(code.end);
            bias.wrapping_add(code.start)..end
        });
        moved.collect::<Vec<_>>()
    };
    let code = all.iter().find(|one| !one.program.evaluation.is_empty());
    Ok(Python {
        version,
        layout,
        interpreter: layout.interpreter(runtime, thread_id_bias(all, memory)),
        module: candidate.module.clone(),
        evaluation: code.map(evaluation).unwrap_or_default(),
        evaluation_complete: code.is_some_and(|one| one.program.evaluation_complete),
    })
}

/// What makes `pthread_self` of the TLS base: they are one on x86-64. On arm64 glibc's structure lies
/// below; where libc does not say its size (musl) the two cannot be brought together.
fn thread_id_bias(candidates: &[Candidate<'_>], memory: &impl Memory) -> u64 {
    if !cfg!(target_arch = "aarch64") {
        return 0;
    }
    u64::from(pthread_size(candidates, memory).unwrap_or(0)).wrapping_neg()
}

/// The size of libc's structure for a thread, in bytes.
fn pthread_size(candidates: &[Candidate<'_>], memory: &impl Memory) -> Option<u32> {
    let mut sizes = candidates.iter().filter_map(|one| {
        let at = one.bias.wrapping_add(one.program.pthread_size_at?);
        memory.u32(at)
    });
    sizes.next()
}

/// From `Py_Version` (3.11 on), or from the file's constants.
fn version(candidate: &Candidate<'_>, memory: &impl Memory) -> Option<Version> {
    let program = &candidate.program;
    let hex = program
        .version_at
        .and_then(|at| memory.u64(candidate.bias.wrapping_add(at)));
    let hex = hex.and_then(|hex| u32::try_from(hex).ok());
    hex.map(Version::from_hex).or(program.version)
}

/// An interpreter's first thread belongs to it and has an id. Threads come and go while this is
/// read, so it is asked for more than once.
fn plausible(
    layout: &Layout,
    version: Version,
    runtime: u64,
    memory: &impl Memory,
) -> Result<(), NotFound> {
    let mut result = Ok(());
    for _ in 0..READINGS {
        result = is_plausible(layout, version, runtime, memory);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn is_plausible(
    layout: &Layout,
    version: Version,
    runtime: u64,
    memory: &impl Memory,
) -> Result<(), NotFound> {
    let word = |base: u64, offset: u16| {
        let value = memory.u64(base.wrapping_add(offset.into()));
        value.ok_or(NotFound::Implausible(version))
    };
    let mut interpreter = word(runtime, layout.runtime.interpreters_head)?;
    for _ in 0..MAX_INTERPRETERS {
        if interpreter == 0 {
            break;
        }
        let mut thread = word(interpreter, layout.interpreter.threads_head)?;
        for _ in 0..MAX_NEWBORN {
            if thread == 0 {
                break;
            }
            if word(thread, layout.thread.interpreter)? != interpreter {
                return Err(NotFound::Implausible(version));
            }
            // One that is being born has no id yet.
            if word(thread, layout.thread.thread_id)? != 0 {
                return Ok(());
            }
            thread = word(thread, layout.thread.next)?;
        }
        interpreter = word(interpreter, layout.interpreter.next)?;
    }
    Err(NotFound::NotReady(version))
}
