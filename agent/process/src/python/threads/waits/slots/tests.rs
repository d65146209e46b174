//! Pools of running programs, with the attributes of the libraries, and memory that is damaged.

use super::*;
use crate::python::find::find;
use crate::python::installed;
use crate::python::specimen::Specimen;
use crate::python::threads::tests::Damaged;
use crate::python::threads::threads;
use std::collections::HashMap;

const PROGRAM: &str = include_str!("tests.py");

/// A line of the program: pool, size, taken, identities of waiters and of holders.
struct Case {
    way: String,
    numbers: [u64; 3],
    waiters: Vec<u64>,
    holders: Vec<u64>,
}

fn cases(specimen: &mut Specimen) -> Vec<Case> {
    let lines = std::iter::repeat_with(|| specimen.line());
    let lines = lines.take_while(|line| line != "end" && !line.is_empty());
    let list = |text: &str| text.split(',').map(|it| it.parse().unwrap()).collect();
    let cases = lines.map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        Case {
            way: fields[0].to_owned(),
            numbers: [1, 2, 3].map(|at| fields[at].parse().unwrap()),
            waiters: list(fields[4]),
            holders: list(fields[5]),
        }
    });
    cases.collect()
}

#[test]
fn a_pool_is_read_with_its_size_waiters_and_holders() {
    for installed in installed::all() {
        if !(8..=13).contains(&installed.version.minor) {
            continue;
        }
        let mut specimen = Specimen::start(&installed, PROGRAM);
        let cases = cases(&mut specimen);
        assert_eq!(cases.len(), 3, "{}", installed.version);
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        let seen = threads(&python, &memory).threads;
        let ident: HashMap<u64, u64> = seen.iter().map(|it| (it.state, it.thread_id)).collect();
        let states: Vec<u64> = seen.iter().map(|it| it.state).collect();
        let found = slots(&python, installed.version.minor, &memory, &states);
        assert_eq!(found.len(), 3, "a feed is no pool: {found:#?}");
        for case in cases {
            let [object, size, taken] = case.numbers;
            let pool = found.iter().find(|it| it.object == object);
            let pool = pool.unwrap_or_else(|| panic!("{} {}", installed.version, case.way));
            let of = |states: &[u64]| {
                let mut idents: Vec<u64> = states.iter().map(|state| ident[state]).collect();
                idents.sort_unstable();
                idents
            };
            let sorted = |mut idents: Vec<u64>| {
                idents.sort_unstable();
                idents
            };
            let way = format!("{} {}", installed.version, case.way);
            assert_eq!((pool.size, pool.taken), (Some(size), Some(taken)), "{way}");
            assert_eq!(of(&pool.waiters), sorted(case.waiters), "{way}");
            // What somebody wrote hands out anything: nobody knows who has it.
            let wanted = match pool.library {
                Library::Queue => Vec::new(),
                _ => sorted(case.holders),
            };
            let holders: Vec<u64> = pool.holders.iter().map(|it| it.0).collect();
            assert_eq!(of(&holders), wanted, "{way}");
            assert!(pool.holders.iter().all(|it| it.1 == 1), "{way}");
        }
    }
}

#[test]
fn damaged_memory_is_survived() {
    for installed in installed::all() {
        let mut specimen = Specimen::start(&installed, PROGRAM);
        cases(&mut specimen);
        let memory = specimen.memory();
        let python = find(&specimen.snapshot(), &memory).unwrap();
        let seen = threads(&python, &memory).threads;
        let states: Vec<u64> = seen.iter().map(|it| it.state).collect();
        for seed in 0..8 {
            let damaged = Damaged::new(specimen.memory(), seed, 10 << (2 * (seed % 4)));
            let found = slots(&python, installed.version.minor, &damaged, &states);
            assert!(found.iter().all(|pool| pool.waiters.len() <= states.len()));
        }
    }
}
