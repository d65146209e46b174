//! Steps that end, that hang, that come back, that panic.

use super::*;
use std::{sync::mpsc::sync_channel, thread};

/// A subject that no other test has.
fn device(number: u64) -> Subject {
    Subject::Device(0xdead_0000_0000 | number)
}

#[test]
fn what_ends_in_time_gives_its_answer() {
    assert_eq!(run(Step::Mappings, device(1), || 7), Some(7));
    assert!(!is_stuck(device(1)));
}

#[test]
fn what_hangs_is_given_up_and_refused_until_it_comes_back() {
    let (end, ended) = sync_channel::<()>(1);
    let about = device(2);
    let hangs = run(Step::Mappings, about, move || ended.recv().is_err());
    assert_eq!(hangs, None);
    assert!(is_stuck(about));
    let began = Instant::now();
    assert_eq!(run(Step::OpenFiles, about, || 1), None);
    assert!(began.elapsed() < Step::OpenFiles.limit());
    assert_eq!(run(Step::OpenFiles, device(3), || 1), Some(1));
    drop(end);
    let until = Instant::now() + Duration::from_secs(5);
    while is_stuck(about) && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(run(Step::OpenFiles, about, || 1), Some(1));
}

#[test]
fn what_is_busy_is_waited_for_longer() {
    let busy = || {
        let until = Instant::now() + Step::Mappings.limit() * 2;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        3
    };
    assert_eq!(run(Step::Mappings, device(4), busy), Some(3));
}

#[test]
fn a_panic_is_no_answer_and_no_end_of_the_pool() {
    for _ in 0..40 {
        let nothing: Option<()> = run(Step::Mappings, device(5), || panic!("on purpose"));
        assert_eq!(nothing, None);
    }
    assert_eq!(run(Step::Mappings, device(5), || 1), Some(1));
}

#[test]
fn a_step_that_waits_for_another_lasts_as_long_as_that() {
    let slow = run(Step::Mappings, device(8), || {
        run(Step::Names, device(9), || {
            thread::sleep(Step::Mappings.limit() * 2);
            4
        })
    });
    assert_eq!(slow, Some(Some(4)));
}

#[test]
fn a_step_may_ask_for_another() {
    let outer = run(Step::Names, device(6), || {
        run(Step::Mappings, device(7), || 2)
    });
    assert_eq!(outer, Some(Some(2)));
}
