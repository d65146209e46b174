//! Locks of running programs in all idioms, and memory that is damaged.

use super::*;
use crate::python::find::find;
use crate::python::installed;
use crate::python::specimen::Specimen;
use crate::python::threads::tests::Damaged;
use crate::python::threads::threads;
use std::time::Duration;

const PROGRAM: &str = include_str!("tests.py");

/// Two threads that wait for each other in some way: identity and kernel id of each.
struct Pair {
    way: String,
    threads: Vec<(u64, u32)>,
}

fn pairs(specimen: &mut Specimen) -> Vec<Pair> {
    let lines = std::iter::repeat_with(|| specimen.line());
    let lines = lines.take_while(|line| line != "end" && !line.is_empty());
    let pairs = lines.map(|line| {
        let mut fields = line.split(' ');
        let way = fields.next().unwrap().to_owned();
        let numbers: Vec<u64> = fields.map(|field| field.parse().unwrap()).collect();
        let threads = numbers.chunks(2).map(|it| (it[0], it[1] as u32));
        Pair {
            way,
            threads: threads.collect(),
        }
    });
    pairs.collect()
}

/// The futex that a thread sleeps in.
fn futex(pid: u32, tid: u32) -> u64 {
    let path = format!("/proc/{pid}/task/{tid}/syscall");
    let text = std::fs::read_to_string(path).unwrap();
    let address = text.split(' ').nth(1).unwrap_or_default();
    u64::from_str_radix(address.trim_start_matches("0x"), 16).unwrap_or(0)
}

#[test]
fn two_threads_that_wait_for_each_other_are_seen_in_all_idioms() {
    for installed in installed::all() {
        if !(8..=13).contains(&installed.version.minor) {
            continue;
        }
        let mut specimen = Specimen::start(&installed, PROGRAM);
        let pairs = pairs(&mut specimen);
        assert_eq!(pairs.len(), 19, "{}", installed.version);
        std::thread::sleep(Duration::from_millis(200));
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        let seen = threads(&python, &memory).threads;
        let state = |ident| seen.iter().find(|it| it.thread_id == ident).unwrap().state;
        let all = pairs.iter().flat_map(|pair| &pair.threads);
        let all = all.map(|(ident, tid)| (state(*ident), futex(specimen.pid(), *tid)));
        let all: Vec<_> = all.collect();
        let found = waits(&python, installed.version.minor, &memory, &all);
        let mut wrong = Vec::new();
        for pair in &pairs {
            let [one, two] = [0, 1].map(|at| state(pair.threads[at].0));
            for (waits, holds) in [(one, two), (two, one)] {
                let wait = found.iter().find(|wait| wait.state == waits);
                let holders = wait.map(|wait| wait.holders.as_slice());
                if holders != Some(&[holds]) {
                    wrong.push(format!("{}: {wait:x?}, wanted {holds:x}", pair.way));
                }
            }
        }
        assert!(wrong.is_empty(), "{}: {wrong:#?}", installed.version);
    }
}

#[test]
fn damaged_memory_is_survived() {
    for installed in installed::all() {
        let mut specimen = Specimen::start(&installed, PROGRAM);
        let pairs = pairs(&mut specimen);
        let snapshot = specimen.snapshot();
        let memory = specimen.memory();
        let python = find(&snapshot, &memory).unwrap();
        let seen = threads(&python, &memory).threads;
        let own = pairs.iter().flat_map(|pair| &pair.threads);
        let own = own.filter_map(|(ident, tid)| {
            let thread = seen.iter().find(|it| it.thread_id == *ident)?;
            Some((thread.state, futex(specimen.pid(), *tid)))
        });
        let own: Vec<_> = own.collect();
        for seed in 0..8 {
            let damaged = Damaged::new(specimen.memory(), seed, 10 << (2 * (seed % 4)));
            let found = waits(&python, installed.version.minor, &damaged, &own);
            assert!(found.len() <= own.len());
        }
    }
}

/// An executor of two threads with five jobs, of which two wait for a third: prints identity and kernel id of both.
const EXECUTOR: &str = "
import concurrent.futures, sys, threading
pool = concurrent.futures.ThreadPoolExecutor(2)
never = threading.Event()
begun = threading.Barrier(3)
def job():
    begun.wait()
    never.wait()
for _ in range(2): pool.submit(job)
begun.wait()
for _ in range(3): pool.submit(job)
print(*[thread.ident for thread in pool._threads], pool._work_queue.qsize(), flush=True)
sys.stdin.read()
import os; os._exit(0)
";

#[test]
fn an_executor_is_read_with_its_size_threads_and_queue() {
    for installed in installed::all() {
        if !(8..=13).contains(&installed.version.minor) {
            continue;
        }
        let mut specimen = Specimen::start(&installed, EXECUTOR);
        let line = specimen.line();
        let numbers: Vec<u64> = line.split(' ').map(|it| it.parse().unwrap()).collect();
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        let seen = threads(&python, &memory).threads;
        let states: Vec<u64> = seen.iter().map(|it| it.state).collect();
        let found = pools(&python, installed.version.minor, &memory, &states);
        let [pool] = &found[..] else {
            panic!("{}: {found:?}", installed.version)
        };
        assert_eq!((pool.size, pool.queued), (2, numbers[2]));
        let workers = seen
            .iter()
            .filter(|it| numbers[..2].contains(&it.thread_id));
        let mut workers: Vec<u64> = workers.map(|it| it.state).collect();
        workers.sort_unstable();
        let mut own = pool.workers.clone();
        own.sort_unstable();
        assert_eq!(own, workers, "{}", installed.version);
    }
}
