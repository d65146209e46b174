//! What is summed adds up to what there was.

use super::*;
use bytemuck::Zeroable;
use remora_common::{
    reason::{NO_SYSCALL, Reason},
    thread::STATE_EXITED,
};
use remora_probe::{Drained, Tally, ThreadTally, Times, Waker};

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

/// Something of a thread, for its serial in nanoseconds.
fn times(serial: u32) -> Times {
    Times {
        count: 1,
        total_ns: serial.into(),
        max_ns: serial.into(),
    }
}

fn wait(futex: u64) -> WaitForm {
    WaitForm {
        reason: Reason::Futex,
        syscall: NO_SYSCALL,
        detail: 0,
        futex,
    }
}

fn add_all(store: &mut AggregateStore, tallies: impl IntoIterator<Item = (u32, Tally)>) {
    let counted = |(serial, tally)| ThreadTally {
        serial,
        generation: 0,
        tally,
    };
    let drained = Drained {
        tallies: tallies.into_iter().map(counted).collect(),
        ..Drained::default()
    };
    store.add(drained, None);
}

#[test]
fn nothing_is_lost_but_who_it_was() {
    let mut aggregates = AggregateStore::default();
    const ALL: u32 = 20_000;
    let mut summed = 0;
    for serial in 1..=ALL {
        aggregates.end(ended(serial, 7, &format!("worker-{serial}")), None);
        let samples = Tally::Samples {
            stack: None,
            count: 1,
            late: 0,
        };
        add_all(&mut aggregates, [(serial, samples)]);
        if aggregates.is_crowded() {
            summed += aggregates.fold(aggregates.ended.len()).len();
        }
    }
    assert!(
        aggregates.ended.len() < 2 * MANY,
        "{}",
        aggregates.ended.len()
    );
    assert!(aggregates.sums.len() < 2 * MANY);
    assert_eq!((aggregates.ended_dropped, aggregates.sums_dropped), (0, 0));
    assert_eq!(aggregates.threads_summed(), summed as u64);
    let sum = &aggregates.ended[0];
    assert_eq!((sum.tid, sum.tgid, sum.comm), (0, 7, comm("worker-*")));
    let whole = u64::from(ALL) * u64::from(ALL + 1) / 2;
    let on_cpu: u64 = aggregates.ended.iter().map(|slot| slot.on_cpu_ns).sum();
    let samples: u64 = aggregates.sums.values().map(|sum| sum.count).sum();
    assert_eq!((on_cpu, samples), (whole, ALL.into()));
    let alone = &aggregates.ended[1..];
    let observed: u64 = alone.iter().map(|slot| observed_ns(slot, 0)).sum();
    let of_sum = aggregates
        .summed(sum.serial)
        .expect("it is one")
        .observed_ns;
    assert_eq!(observed + of_sum, 2 * whole);
    assert_eq!(of_sum, 2 * sum.on_cpu_ns);
}

#[test]
fn those_that_did_most_and_those_that_are_alone_stay() {
    let mut aggregates = AggregateStore::default();
    aggregates.end(ended(1, 7, "only"), None);
    aggregates.end(ended(10_002, 10_002 - 1, "main"), None);
    for serial in 2..4_000 {
        aggregates.end(ended(serial, 7, "worker"), None);
    }
    let late = ended(5_000, 7, "worker");
    aggregates.end(late, None);
    let into = aggregates.fold(aggregates.ended.len() - 1);
    let kept: HashSet<u32> = aggregates.ended.iter().map(|slot| slot.serial).collect();
    assert!(kept.contains(&1) && kept.contains(&3_999) && kept.contains(&5_000));
    assert!(!kept.contains(&2) && into.contains_key(&2));
    assert!(into.values().all(|serial| *serial == u32::MAX));
    assert!(
        aggregates.fold(aggregates.ended.len()).is_empty(),
        "nothing to do"
    );
}

#[test]
fn a_waker_that_is_in_a_sum_is_known_by_its_process() {
    let mut aggregates = AggregateStore::default();
    let wake = |serial, tid| {
        let wakes = Tally::Wakes {
            wait: wait(0),
            waker: Waker { tid, pid: 7 },
            lock_owner: 0,
            times: times(serial),
            last_ns: 0,
        };
        (serial, wakes)
    };
    // Each is woken by the next one, and all by one that lives.
    for serial in 1..4_000 {
        aggregates.end(ended(serial, 7, "worker"), None);
        add_all(
            &mut aggregates,
            [wake(serial, 10_001 + serial), wake(serial, 42)],
        );
    }
    aggregates.fold(aggregates.ended.len());
    let wakers: HashMap<u32, u64> = aggregates
        .wakes()
        .filter(|wakes| wakes.place.serial == u32::MAX)
        .map(|wakes| (wakes.waker.tid, wakes.times.count))
        .collect();
    let summed = aggregates.threads_summed();
    assert_eq!(wakers.get(&42), Some(&summed));
    assert_eq!(wakers.values().sum::<u64>(), 2 * summed);
    assert!(wakers.len() <= 3, "{wakers:?}");
}

#[test]
fn locks_of_their_own_do_not_fill_the_memory() {
    let mut aggregates = AggregateStore::default();
    for serial in 1..=80_000 {
        aggregates.end(ended(serial, 7, "worker"), None);
        let waits = Tally::Waits {
            wait: wait(u64::from(serial) * 64),
            stack: None,
            times: times(serial),
            late_count: 0,
            late_ns: 0,
        };
        add_all(&mut aggregates, [(serial, waits)]);
        if aggregates.is_crowded() {
            aggregates.fold(aggregates.ended.len());
        }
    }
    assert!(aggregates.sums.len() < MAX_FINE + 2 * MANY);
    assert!(aggregates.futexes_merged > 0);
    let waits: u64 = aggregates.sums.values().map(|sum| sum.count).sum();
    assert_eq!(waits, 80_000);
}

#[test]
fn loops_of_summed_threads_are_one() {
    let mut aggregates = AggregateStore::default();
    for serial in 1..4_000 {
        let event_loop = EventLoop {
            iterations: 2,
            max_ns: serial.into(),
            ..EventLoop::zeroed()
        };
        aggregates.end(ended(serial, 7, "worker"), Some(event_loop));
    }
    let summed = aggregates.fold(aggregates.ended.len()).len() as u64;
    let event_loop = aggregates.ended_loops[&u32::MAX];
    assert_eq!(event_loop.iterations, 2 * summed);
    assert_eq!(event_loop.max_ns, summed);
}

#[test]
fn processes_of_one_thread_each_are_not_looked_at_each_time() {
    let mut aggregates = AggregateStore::default();
    for serial in 1..=3 * MANY as u32 {
        aggregates.end(ended(serial, 10_000 + serial, "child"), None);
    }
    assert!(aggregates.is_crowded());
    assert!(aggregates.fold(aggregates.ended.len()).is_empty());
    assert!(!aggregates.is_crowded());
    assert_eq!(aggregates.ended.len(), 3 * MANY);
}
