//! Threads of running programs against what the program says of itself.

use super::*;
use crate::python::code::Resolver;
use crate::python::find::find;
use crate::python::installed::{self, Installed};
use crate::python::specimen::Specimen;
use remora_common::python::ENTRY_FRAME;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

/// Threads that sleep, each at the end of another kind of call; prints their frames.
const PROGRAM: &str = include_str!("program.py");

/// What the program printed of each thread, by `pthread_self`: its kernel id, and its frames.
fn truth(specimen: &mut Specimen) -> BTreeMap<u64, (u64, Vec<String>)> {
    let lines = std::iter::repeat_with(|| specimen.line());
    let lines = lines.take_while(|line| line != "end").map(|line| {
        let mut fields = line.split(' ');
        let mut number = || fields.next().unwrap().parse().unwrap();
        let (thread, native) = (number(), number());
        (thread, (native, fields.map(str::to_owned).collect()))
    });
    lines.collect()
}

fn shown(resolver: &mut Resolver, memory: &impl Memory, thread: &PythonThread) -> Vec<String> {
    let frames = thread.frames.iter().map(|frame| {
        let code = resolver
            .resolve(memory, frame)
            .expect("the code of a live frame");
        let line = code.line(frame.instruction).expect("a frame's line");
        format!("{}:{line}", code.name)
    });
    frames.collect()
}

#[test]
fn sleeping_threads_are_seen_as_the_program_sees_them() {
    for installed in installed::all() {
        let mut specimen = Specimen::start(&installed, PROGRAM);
        let truth = truth(&mut specimen);
        assert_eq!(truth.len(), 7);
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        let seen = threads(&python, &memory);
        assert!(!seen.torn && !seen.truncated);
        assert_eq!(seen.threads.len(), truth.len() + 1);
        let states: Vec<u64> = seen.threads.iter().map(|thread| thread.state).collect();
        let minor = python.version.minor;
        let mut named: Vec<String> = names::names(&python, minor, &memory, &states)
            .into_iter()
            .map(|(_, name)| name)
            .collect();
        named.sort();
        let expected: Vec<String> = match minor {
            11..=13 => (0..7).map(|at| format!("at work {at}")).collect(),
            _ => Vec::new(),
        };
        assert_eq!(named, expected, "{}", installed.version);
        let mut resolver = Resolver::new(python.layout);
        for thread in &seen.threads {
            assert!(!thread.torn && !thread.truncated);
            assert_eq!((thread.interpreter, thread.holds_gil), (0, Some(false)));
            let frames = shown(&mut resolver, &memory, thread);
            let Some((native, expected)) = truth.get(&thread.thread_id) else {
                assert_eq!(frames, ["<module>:122"]);
                assert!(
                    thread
                        .native_thread_id
                        .is_none_or(|id| id == u64::from(specimen.pid()))
                );
                continue;
            };
            assert_eq!(&frames, expected, "{}", installed.version);
            assert!(thread.native_thread_id.is_none_or(|id| id == *native));
            assert_eq!(
                thread.native_thread_id.is_some(),
                installed.version.is_from(11)
            );
            assert!(thread.frames.last().unwrap().code & ENTRY_FRAME != 0);
        }
    }
}

/// Looks until it sees what it waits for: machines are busy. Panics with the last look.
fn eventually(python: &Python, memory: &impl Memory, seen: impl Fn(&Threads) -> bool) {
    let mut last = Threads::default();
    for _ in 0..100 {
        last = threads(python, memory);
        if seen(&last) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{}: {last:?}", python.version);
}

const BUSY: &str = "
import threading
def spin():
    while True: pass
thread = threading.Thread(target=spin, daemon=True)
thread.start()
print(thread.ident, flush=True)
input()
";

#[test]
fn the_busy_thread_holds_the_gil() {
    for installed in installed::all() {
        let mut specimen = Specimen::start(&installed, BUSY);
        let busy: u64 = specimen.line().parse().unwrap();
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        eventually(&python, &memory, |seen| {
            seen.gil_holder(0)
                .is_some_and(|thread| thread.thread_id == busy)
        });
    }
}

/// Runs a program in another interpreter, in a thread of its own.
const SUBINTERPRETER: &str = "
import sys, threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
sub = interpreters.create()
code = 'import time\\ndef inner():\\n CALL\\nprint(1, flush=True)\\ninner()'
run = getattr(interpreters, 'exec', None) or interpreters.run_string
threading.Thread(target=run, args=(sub, code), daemon=True).start()
input()
";

#[test]
fn threads_of_another_interpreter_are_seen() {
    for installed in installed::all() {
        let script = SUBINTERPRETER.replace("CALL", "time.sleep(1000)");
        let mut specimen = Specimen::start(&installed, &script);
        assert_eq!(specimen.line(), "1");
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        eventually(&python, &memory, |seen| {
            let mut resolver = Resolver::new(python.layout);
            let mut names = |thread: &PythonThread| shown(&mut resolver, &memory, thread);
            let expected = ["inner:3", "<module>:5"];
            let mut sub = seen.threads.iter().filter(|thread| thread.interpreter == 1);
            sub.any(|thread| names(thread) == expected)
                && seen.threads.iter().any(|thread| thread.interpreter == 0)
        });
    }
}

#[test]
fn a_busy_thread_of_another_interpreter_holds_its_gil() {
    for installed in installed::all() {
        let script = SUBINTERPRETER.replace("CALL", "while True: pass");
        let mut specimen = Specimen::start(&installed, &script);
        assert_eq!(specimen.line(), "1");
        std::thread::sleep(Duration::from_millis(100));
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        let seen = threads(&python, &memory);
        assert!(
            seen.gil_holder(1).is_some(),
            "{}: {seen:?}",
            installed.version
        );
        assert_eq!(seen.gil_holder(0), None, "{}", installed.version);
        // From 3.12 on each interpreter has a GIL of its own.
        let own = python.interpreter.shared_gil == 0;
        assert_eq!(own, installed.version.is_from(12));
    }
}

const RESTLESS: &str = "
import threading
def down(left):
    return down(left - 1) if left else 0
def climb():
    while True: down(40)
def come_and_go():
    while True:
        thread = threading.Thread(target=down, args=(5,))
        thread.start()
        thread.join()
for work in climb, climb, come_and_go:
    threading.Thread(target=work, daemon=True).start()
print(1, flush=True)
input()
";

/// Reads a program again and again whose stacks and threads change all the time: whatever is not
/// said to be torn is a stack that the program can have.
fn read_restless(installed: &Installed) -> (usize, usize) {
    let mut specimen = Specimen::start(installed, RESTLESS);
    assert_eq!(specimen.line(), "1");
    let memory = specimen.memory();
    let python = find(&specimen.snapshot(), &memory).unwrap();
    let mut resolver = Resolver::new(python.layout);
    let (mut whole, mut torn) = (0, 0);
    for _ in 0..300 {
        // Time for others to run, and for this to meet them at another place.
        std::thread::sleep(Duration::from_millis(1));
        for thread in threads(&python, &memory).threads {
            let root = thread.frames.last();
            let root = root.and_then(|frame| resolver.resolve(&memory, frame));
            let ends = root.is_some_and(|code| ["_bootstrap", "<module>"].contains(&&*code.name));
            match thread.torn {
                true => torn += 1,
                // A thread that begins or ends has no frames, or not yet its first.
                false if thread.frames.len() < 3 => {}
                false => {
                    assert!(ends, "{}: {:?}", installed.version, thread.frames);
                    whole += 1;
                }
            }
        }
    }
    (whole, torn)
}

#[test]
fn a_restless_program_is_read_whole_or_said_to_be_torn() {
    for installed in installed::all() {
        let (whole, torn) = read_restless(&installed);
        eprintln!("{}: {whole} whole, {torn} torn", installed.version);
        assert!(
            whole > 200,
            "{}: {whole} whole, {torn} torn",
            installed.version
        );
    }
}

/// Memory in which every so many reads a byte is wrong.
pub(super) struct Damaged<M> {
    memory: M,
    random: Cell<u64>,
    one_in: u64,
}

impl<M> Damaged<M> {
    pub(super) fn new(memory: M, seed: u64, one_in: u64) -> Self {
        Self {
            memory,
            random: Cell::new(seed),
            one_in,
        }
    }
}

impl<M: Memory> Memory for Damaged<M> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        self.memory.read(address, buffer)?;
        let next = self
            .random
            .get()
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.random.set(next);
        let len = buffer.len() as u64;
        if (next >> 33).is_multiple_of(self.one_in) && len > 0 {
            buffer[(next >> 40).rem_euclid(len) as usize] ^= (next >> 20) as u8;
        }
        Some(())
    }
}

#[test]
fn damaged_memory_is_survived() {
    for installed in installed::all() {
        let mut specimen = Specimen::start(&installed, PROGRAM);
        truth(&mut specimen);
        let snapshot = specimen.snapshot();
        let (mut found, mut whole, mut named) = (0, 0, 0);
        for seed in 0..16 {
            let damaged = Damaged::new(specimen.memory(), seed, 10 << (seed % 8));
            let Ok(python) = find(&snapshot, &damaged) else {
                continue;
            };
            found += 1;
            let mut resolver = Resolver::new(python.layout);
            for thread in threads(&python, &damaged).threads {
                whole += usize::from(!thread.torn);
                for frame in &thread.frames {
                    let code = resolver.resolve(&damaged, frame);
                    named += usize::from(code.is_some_and(|code| code.line(7).is_some()));
                }
            }
        }
        assert!(
            found > 8 && whole > 8 && named > 100,
            "{found} {whole} {named}"
        );
    }
}
