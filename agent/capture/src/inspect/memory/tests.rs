//! Readings of living processes: bounded, and never of another process.

use super::*;

fn watch() -> MemoryWatch {
    MemoryWatch::new().expect("a thread")
}

fn none() -> std::iter::Empty<&'static ThreadSlot> {
    std::iter::empty()
}

#[test]
fn a_process_has_counters_at_each_beat_and_mappings_at_both_ends() {
    let own = std::process::id();
    let mut watch = watch();
    watch.began(own);
    watch.beat();
    let readings = watch.latest();
    assert_eq!(readings.first().map(|(pid, _)| *pid), Some(own));
    watch.ending();
    let record = watch.finish(&AggregateStore::default(), none());
    let (start, end, exact) = record.processes[&own].ends().expect("it lives");
    assert!(exact && start.anon_bytes > 0 && end.anon_bytes > 0);
    assert!(
        record.losses.iter().all(|(_, count)| *count == 0),
        "{:?}",
        record.losses
    );
}

#[test]
fn a_process_that_was_never_there_is_nobodys_loss() {
    let mut watch = watch();
    watch.began(u32::MAX);
    watch.beat();
    assert!(watch.latest().is_empty());
    watch.replaced(u32::MAX, 1);
    let record = watch.finish(&AggregateStore::default(), none());
    assert!(record.processes.is_empty());
}

#[test]
fn a_process_id_that_was_given_to_another_is_left_alone() {
    let own = std::process::id();
    let mut watch = watch();
    watch.began(own);
    watch
        .record
        .processes
        .get_mut(&own)
        .expect("known")
        .start_ticks += 1;
    watch.beat();
    assert!(watch.latest().is_empty());
    watch.ending();
    let record = watch.finish(&AggregateStore::default(), none());
    assert_eq!(record.processes[&own].end, None);
}

#[test]
fn an_address_space_that_was_replaced_began_with_nothing() {
    let own = std::process::id();
    let mut watch = watch();
    watch.began(own);
    watch.replaced(own, 1);
    watch.ending();
    let record = watch.finish(&AggregateStore::default(), none());
    let known = &record.processes[&own];
    let (start, _, exact) = known.ends().expect("it lives");
    assert!(exact);
    assert_eq!(
        start.total_bytes(),
        0,
        "what was read of the old one is not taken for the new"
    );
}

#[test]
fn a_beat_reads_a_bounded_number_in_turn() {
    let mut watch = watch();
    watch.began(std::process::id());
    let known = watch
        .record
        .processes
        .remove(&std::process::id())
        .expect("known");
    for pid in 0..MAX_A_BEAT as u32 + 10 {
        // Nobody has these numbers: each is found gone when its turn comes.
        let start_ticks = known.start_ticks;
        let process = ProcessMemory {
            start_ticks,
            ..ProcessMemory::default()
        };
        watch
            .record
            .processes
            .insert(u32::MAX - 1_000 + pid, process);
    }
    watch.beat();
    let gone = |watch: &MemoryWatch| {
        watch
            .record
            .processes
            .values()
            .filter(|one| one.gone)
            .count()
    };
    assert_eq!((gone(&watch), watch.skipped), (MAX_A_BEAT, 10));
    watch.beat();
    assert_eq!((gone(&watch), watch.skipped), (MAX_A_BEAT + 10, 10));
}
