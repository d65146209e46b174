//! Counts against what `gc.get_objects()` says, of each version that is installed; and lists made up to
//! trap a walk.

use super::*;
use crate::python::installed;
use crate::python::specimen::Specimen;
use std::collections::HashMap as Words;

/// Keeps objects of several types, and prints how many of each the collector has.
const PROGRAM: &str = "
import gc, sys
class Order:
    def __init__(self): self.lines = []
class Slim:
    __slots__ = ('one', '__weakref__')
kept = [Order() for _ in range(3000)]
slim = [Slim() for _ in range(500)]
frozen = [Order() for _ in range(100)]
if hasattr(gc, 'freeze'): gc.freeze()
more = [Order() for _ in range(50)]
gc.disable()
print('ready', flush=True)
sys.stdin.readline()
kept.extend(Order() for _ in range(2000))
print('grown', flush=True)
sys.stdin.read()
";

#[test]
fn objects_are_counted_by_type_in_every_version() {
    for installed in installed::all() {
        if installed.version.minor > 13 {
            continue;
        }
        let mut specimen = Specimen::start(&installed, PROGRAM);
        assert_eq!(specimen.line(), "ready");
        let memory = specimen.memory();
        let python = crate::python::find(&specimen.snapshot(), &memory).expect("an interpreter");
        let census = census(&python, &memory, Duration::from_secs(10)).expect("lists");
        let of = |name: &str| census.types.get(name).map_or(0, |count| count.objects);
        let counts = (of("__main__.Order"), of("__main__.Slim"));
        assert_eq!(counts, (3150, 500), "{} {census:?}", installed.version);
        // Each order has a list, and there are those of the program.
        assert!(of("list") >= 3153, "{}", installed.version);
        assert!(of("function") > 100 && !census.cut, "{}", installed.version);
        assert_eq!(
            (census.torn, census.unknown),
            (0, 0),
            "{}",
            installed.version
        );
        eprintln!(
            "{}: {} objects in {:?}",
            installed.version, census.objects, census.took
        );
    }
}

/// Words at addresses.
struct Made(Words<u64, u64>);

impl Memory for Made {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        for (at, bytes) in buffer.chunks_mut(8).enumerate() {
            let word = self.0.get(&(address + at as u64 * 8)).copied().unwrap_or(0);
            bytes.copy_from_slice(word.to_ne_bytes().get(..bytes.len())?);
        }
        Some(())
    }
}

/// A list through these nodes, the head first: next and previous as they should be.
fn ring(nodes: &[u64]) -> Words<u64, u64> {
    let mut words = Words::new();
    for (at, node) in nodes.iter().enumerate() {
        let after = nodes[(at + 1) % nodes.len()];
        let before = nodes[(at + nodes.len() - 1) % nodes.len()];
        words.insert(*node, after);
        words.insert(node + 8, before | 1);
        words.insert(node + 16, 1);
        words.insert(node + 24, 0x9000);
    }
    words
}

fn walked(words: Words<u64, u64>, head: u64) -> Tally {
    let memory = Made(words);
    let mut tally = Tally::default();
    let budget = Budget::of(Duration::from_secs(2));
    walk::walk(&mut Pages::new(&memory), head, budget, &mut tally);
    tally
}

#[test]
fn a_ring_is_walked_once() {
    let nodes: Vec<u64> = (1..=100).map(|number| number * 0x1000).collect();
    let tally = walked(ring(&nodes), 0x1000);
    assert_eq!(
        (tally.objects, tally.torn, tally.by_type[&0x9000]),
        (99, 0, 99)
    );
    assert_eq!(walked(ring(&[0x1000]), 0x1000).objects, 0);
}

#[test]
fn a_list_that_is_woven_into_itself_ends_and_is_torn() {
    let nodes: Vec<u64> = (1..=100).map(|number| number * 0x1000).collect();
    let mut words = ring(&nodes);
    words.insert(80 * 0x1000, 40 * 0x1000);
    let tally = walked(words, 0x1000);
    assert!(tally.torn == 1 && tally.objects < 1_000_000, "{tally:?}");
    let mut words = ring(&nodes);
    words.insert(50 * 0x1000, 0xdead_0000);
    assert_eq!(walked(words, 0x1000).torn, 1);
    assert_eq!(walked(Words::new(), 0x1000).torn, 1);
}
