//! Hostile memory: that of a real program in which words change at random while it is read. A look
//! at it ends, within its bounds, and what it shows is what it may show.

use super::*;
use crate::memory::ProcessMemory;
use crate::python::installed;
use crate::python::specimen::Specimen;
use std::cell::Cell;

const PROGRAM: &str = "
import asyncio, sys
async def deep(levels, what):
    if levels: await deep(levels - 1, what)
    else: await what
async def numbers(what):
    await what
    yield 1
async def iterate(what):
    async for _ in numbers(what): pass
async def main():
    forever = asyncio.get_running_loop().create_future()
    lock = asyncio.Lock()
    await lock.acquire()
    tasks = [asyncio.ensure_future(task) for task in (
        deep(4, asyncio.sleep(3600)), deep(1, forever), iterate(forever), lock.acquire(),
        asyncio.Queue().get(), asyncio.Event().wait(), deep(0, asyncio.shield(forever)))]
    tasks.append(asyncio.ensure_future(deep(0, asyncio.gather(*tasks))))
    tasks.append(asyncio.ensure_future(asyncio.wait(tasks)))
    tasks.append(asyncio.tasks._PyTask(deep(2, forever), loop=asyncio.get_running_loop()))
    await asyncio.sleep(0.1)
    print(len(tasks) + 1, flush=True)
    sys.stdin.read()
asyncio.run(main())
";

/// Memory of a process of which one word in `rate` is read wrongly.
struct Hostile {
    memory: ProcessMemory,
    state: Cell<u64>,
    rate: u64,
    reads: Cell<u64>,
}

impl Hostile {
    /// SplitMix64.
    fn random(&self) -> u64 {
        let next = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(next);
        let word = (next ^ (next >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// What a wrong word is: huge, small, off by little, another one's, or anything.
    fn wrong(&self, word: u64, other: u64) -> u64 {
        let random = self.random();
        match random % 8 {
            0 => u64::MAX - random / 8 % 16,
            1 => random / 8 % 64,
            2 => word.wrapping_add(random / 8 % 64),
            3 => word ^ (1 << (random / 8 % 64)),
            4 => 1 << (random / 8 % 64),
            5 => 0,
            6 => other,
            _ => random,
        }
    }
}

impl Memory for Hostile {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        self.reads.set(self.reads.get() + 1);
        self.memory.read(address, buffer)?;
        let mut other = address;
        for bytes in buffer.chunks_exact_mut(8) {
            let mut word = [0; 8];
            word.copy_from_slice(bytes);
            let word = u64::from_ne_bytes(word);
            if self.random().is_multiple_of(self.rate) {
                bytes.copy_from_slice(&self.wrong(word, other).to_ne_bytes());
            }
            other = word;
        }
        Some(())
    }
}

fn assert_bounded(tasks: &Tasks, memory: &Hostile) {
    assert!(memory.reads.get() <= ALLOWANCE / 64 + MAX_TASKS as u64);
    assert!(tasks.tasks.len() <= MAX_TASKS);
    for task in &tasks.tasks {
        assert!(task.name.chars().count() <= 1025, "{}", task.name.len());
        assert!(task.frames.len() <= MAX_LINKS + find::MAX_RUNNING);
        assert!(!task.torn || (task.frames.is_empty() && task.awaits.is_none()));
    }
}

#[test]
fn a_look_at_hostile_memory_ends() {
    for installed in installed::all() {
        if installed.version.minor > 13 {
            continue;
        }
        let mut running = Specimen::start(&installed, PROGRAM);
        let count: usize = running.line().parse().unwrap();
        let python = crate::python::find(&running.snapshot(), &running.memory()).unwrap();
        let (mut right, mut lost) = (0, 0);
        for seed in 0..60 {
            let memory = Hostile {
                memory: running.memory(),
                state: Cell::new(seed),
                rate: [30, 300, 3_000, 30_000][seed as usize % 4],
                reads: Cell::new(0),
            };
            let tasks = snapshot(&python, &memory).unwrap();
            assert_bounded(&tasks, &memory);
            lost += tasks.loss.counters().iter().map(|(_, n)| n).sum::<u64>();
            right += usize::from(tasks.tasks.len() == count && tasks.loss == TaskLoss::default());
        }
        // Otherwise it was not hostile, or nothing was read.
        assert!(
            right > 0 && lost > 0,
            "{}: {right} right, {lost} lost",
            installed.version
        );
    }
}

#[test]
fn versions_that_are_not_known_are_refused() {
    let memory = ProcessMemory::open(std::process::id()).unwrap();
    let version = |minor| Version {
        major: 3,
        minor,
        micro: Some(0),
    };
    let layout = Layout::of(version(12)).unwrap();
    let refused = Reader::new(&memory, layout, version(14), ALLOWANCE).err();
    assert_eq!(refused, Some(Unsupported::Version(version(14))));
    let free = Layout {
        free_threaded: true,
        ..layout
    };
    let refused = Reader::new(&memory, free, version(13), ALLOWANCE).err();
    assert_eq!(refused, Some(Unsupported::FreeThreaded));
}
