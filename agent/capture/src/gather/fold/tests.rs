//! What is summed adds up to what there was.

use super::*;
use bytemuck::Zeroable;
use remora_common::{
    aggregate::{AggregateKey, KIND_CPU},
    thread::STATE_EXITED,
};
use remora_probe::{Drained, RawAggregate};

fn comm(name: &str) -> [u8; COMM] {
    let mut comm = [0; COMM];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    comm
}

/// A thread that ran for its serial in nanoseconds.
fn ended(serial: u32, tgid: u32, name: &str) -> ThreadSlot {
    ThreadSlot {
        serial,
        tid: 10_000 + serial,
        tgid,
        state: STATE_EXITED,
        enlisted_ns: 1_000,
        since_ns: 1_000 + 2 * u64::from(serial),
        on_cpu_ns: serial.into(),
        comm: comm(name),
        ..Zeroable::zeroed()
    }
}

fn aggregate(serial: u32, kind: u8, user: u32, object: u64) -> RawAggregate {
    RawAggregate {
        key: AggregateKey {
            serial,
            kind,
            user,
            object,
            ..Zeroable::zeroed()
        },
        stack: None,
        count: 1,
        total_ns: serial.into(),
        max_ns: serial.into(),
        late_count: 0,
        late_ns: 0,
    }
}

fn add_all(gathered: &mut Gathered, aggregates: impl IntoIterator<Item = RawAggregate>) {
    let drained = Drained {
        aggregates: aggregates.into_iter().collect(),
        stacks_unreadable: 0,
    };
    gathered.add(drained, None);
}

#[test]
fn nothing_is_lost_but_who_it_was() {
    let mut gathered = Gathered::default();
    const ALL: u32 = 20_000;
    let mut summed = 0;
    for serial in 1..=ALL {
        gathered.end(ended(serial, 7, &format!("worker-{serial}")), None);
        add_all(&mut gathered, [aggregate(serial, KIND_CPU, 0, 0)]);
        if gathered.is_crowded() {
            summed += gathered.fold(gathered.ended.len()).len();
        }
    }
    assert!(gathered.ended.len() < 2 * MANY, "{}", gathered.ended.len());
    assert!(gathered.sums.len() < 2 * MANY);
    assert_eq!((gathered.ended_dropped, gathered.sums_dropped), (0, 0));
    assert_eq!(gathered.threads_summed(), summed as u64);
    let sum = &gathered.ended[0];
    assert_eq!((sum.tid, sum.tgid, sum.comm), (0, 7, comm("worker-*")));
    let whole = u64::from(ALL) * u64::from(ALL + 1) / 2;
    let on_cpu: u64 = gathered.ended.iter().map(|slot| slot.on_cpu_ns).sum();
    let samples: u64 = gathered.sums.values().map(|sum| sum.count).sum();
    assert_eq!((on_cpu, samples), (whole, ALL.into()));
    let alone = &gathered.ended[1..];
    let observed: u64 = alone
        .iter()
        .map(|slot| super::super::observed_ns(slot, 0))
        .sum();
    let of_sum = gathered.summed(sum.serial).expect("it is one").observed_ns;
    assert_eq!(observed + of_sum, 2 * whole);
    assert_eq!(of_sum, 2 * sum.on_cpu_ns);
}

#[test]
fn those_that_did_most_and_those_that_are_alone_stay() {
    let mut gathered = Gathered::default();
    gathered.end(ended(1, 7, "only"), None);
    gathered.end(ended(10_002, 10_002 - 1, "main"), None);
    for serial in 2..4_000 {
        gathered.end(ended(serial, 7, "worker"), None);
    }
    let late = ended(5_000, 7, "worker");
    gathered.end(late, None);
    let into = gathered.fold(gathered.ended.len() - 1);
    let kept: HashSet<u32> = gathered.ended.iter().map(|slot| slot.serial).collect();
    assert!(kept.contains(&1) && kept.contains(&3_999) && kept.contains(&5_000));
    assert!(!kept.contains(&2) && into.contains_key(&2));
    assert!(into.values().all(|serial| *serial == u32::MAX));
    assert!(
        gathered.fold(gathered.ended.len()).is_empty(),
        "nothing to do"
    );
}

#[test]
fn a_waker_that_is_in_a_sum_is_known_by_its_process() {
    let mut gathered = Gathered::default();
    let wake = |serial, waker| {
        let mut wake = aggregate(serial, KIND_WAKE, waker, 0);
        wake.key.kernel = 7;
        wake
    };
    // Each is woken by the next one, and all by one that lives.
    for serial in 1..4_000 {
        gathered.end(ended(serial, 7, "worker"), None);
        add_all(
            &mut gathered,
            [wake(serial, 10_001 + serial), wake(serial, 42)],
        );
    }
    gathered.fold(gathered.ended.len());
    let wakers: HashMap<u32, u64> = gathered
        .sums
        .iter()
        .filter(|((key, _), _)| key.serial == u32::MAX)
        .map(|((key, _), sum)| (key.user, sum.count))
        .collect();
    let summed = gathered.threads_summed();
    assert_eq!(wakers.get(&42), Some(&summed));
    assert_eq!(wakers.values().sum::<u64>(), 2 * summed);
    assert!(wakers.len() <= 3, "{wakers:?}");
}

#[test]
fn locks_of_their_own_do_not_fill_the_memory() {
    let mut gathered = Gathered::default();
    for serial in 1..=80_000 {
        gathered.end(ended(serial, 7, "worker"), None);
        let waits = aggregate(serial, KIND_WAIT, 0, u64::from(serial) * 64);
        add_all(&mut gathered, [waits]);
        if gathered.is_crowded() {
            gathered.fold(gathered.ended.len());
        }
    }
    assert!(gathered.sums.len() < MAX_FINE + 2 * MANY);
    assert!(gathered.futexes_merged > 0);
    let waits: u64 = gathered.sums.values().map(|sum| sum.count).sum();
    assert_eq!(waits, 80_000);
}

#[test]
fn loops_of_summed_threads_are_one() {
    let mut gathered = Gathered::default();
    for serial in 1..4_000 {
        let event_loop = EventLoop {
            iterations: 2,
            max_ns: serial.into(),
            ..EventLoop::zeroed()
        };
        gathered.end(ended(serial, 7, "worker"), Some(event_loop));
    }
    let summed = gathered.fold(gathered.ended.len()).len() as u64;
    let event_loop = gathered.ended_loops[&u32::MAX];
    assert_eq!(event_loop.iterations, 2 * summed);
    assert_eq!(event_loop.max_ns, summed);
}

#[test]
fn processes_of_one_thread_each_are_not_looked_at_each_time() {
    let mut gathered = Gathered::default();
    for serial in 1..=3 * MANY as u32 {
        gathered.end(ended(serial, 10_000 + serial, "child"), None);
    }
    assert!(gathered.is_crowded());
    assert!(gathered.fold(gathered.ended.len()).is_empty());
    assert!(!gathered.is_crowded());
    assert_eq!(gathered.ended.len(), 3 * MANY);
}
