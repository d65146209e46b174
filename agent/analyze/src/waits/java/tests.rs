//! Threads of Java programs: what the machine's memory says decides, not the stack that all that is parked share.

use crate::graph::Graph;
use crate::waits::tests::sleeps;
use crate::waits::{Kind, Rest, Waits};
use crate::{Judgement, Scene, Thresholds, judge};
use remora_model::fixture::Builder;
use remora_model::{Capture, JavaAwaited, JavaWait, LimitOf, Reason, Verdict};
use std::time::Duration;

const AQS: &str = "java.util.concurrent.locks.AbstractQueuedSynchronizer";
const LOCK: [&str; 3] = [
    "java.util.concurrent.locks.ReentrantLock$NonfairSync",
    "java.util.concurrent.locks.ReentrantLock$Sync",
    AQS,
];
const CONDITION: [&str; 1] =
    ["java.util.concurrent.locks.AbstractQueuedSynchronizer$ConditionObject"];
const LATCH: [&str; 2] = ["java.util.concurrent.CountDownLatch$Sync", AQS];

/// What a parked thread of Java's stands in: its own functions have no names.
fn parks(builder: &mut Builder, thread: usize, seconds: u64) {
    let words = [
        "thread_native_entry",
        "j:?",
        "j:?",
        "Unsafe_Park",
        "Parker::park",
        "pthread_cond_wait",
    ];
    sleeps(builder, thread, Reason::Futex, &words, seconds);
    let stack = builder.0.threads[thread].now.stack.expect("a stack");
    for frame in &mut builder.0.stacks[stack].frames {
        match &*frame.name {
            "?" => frame.named = false,
            "Unsafe_Park" | "Parker::park" | "thread_native_entry" => {
                frame.module = Some("/usr/lib/jvm/lib/server/libjvm.so".into());
            }
            _ => {}
        }
    }
}

fn wait(tid: u32, on: JavaAwaited, classes: &[&str], holder: Option<u32>) -> JavaWait {
    JavaWait {
        tid,
        on,
        object: 0x6_9ec0_0000 + u64::from(tid) * 8,
        classes: classes.iter().map(|it| (*it).to_owned()).collect(),
        holder,
        ended_holder: None,
    }
}

/// A machine with these waits: the main thread is 1, workers are 2, 3, ….
fn machine(waits: &[JavaWait], seconds: u64) -> Builder {
    let mut builder = Builder::new(1, "java");
    for (index, wait) in waits.iter().enumerate() {
        if index > 0 {
            builder.thread(1, wait.tid, &format!("worker-{}", wait.tid));
        }
        parks(&mut builder, index, seconds);
    }
    builder.0.threads[0].java_name = Some("main".into());
    builder.0.java_waits = waits.to_vec();
    builder
}

fn kinds(capture: &Capture) -> Vec<Kind> {
    let thresholds = Thresholds::default();
    let scene = Scene::new(capture, &thresholds);
    let graph = Graph::of(&scene);
    Waits::of(&graph).all.iter().map(|it| it.kind).collect()
}

fn judged(builder: Builder) -> Judgement {
    judge(&builder.finish(), &Thresholds::default())
}

/// Kinds of what was found.
fn found(judgement: &Judgement) -> Vec<&'static str> {
    judgement.findings().map(|it| it.kind.name()).collect()
}

#[test]
fn the_class_that_a_thread_is_parked_on_tells_a_lock_from_rest() {
    use JavaAwaited::{Monitor, Notify, Park};
    let rest = Kind::Rest(Rest::Bottom);
    let cases: [(JavaAwaited, &[&str], Option<u32>, Kind); 12] = [
        (Park, &LOCK, None, Kind::Lock),
        (Park, &CONDITION, None, rest),
        (Park, &LATCH, None, Kind::Latch),
        (
            Park,
            &["java.util.concurrent.Semaphore$NonfairSync", AQS],
            None,
            rest,
        ),
        (
            Park,
            &["java.util.concurrent.ForkJoinPool", "java.lang.Object"],
            None,
            Kind::Rest(Rest::Worker),
        ),
        (
            Park,
            &["java.util.concurrent.CompletableFuture$Signaller"],
            None,
            Kind::Future,
        ),
        // A synchronizer of the program's own: with an owner it is a lock.
        (Park, &["com.acme.Gate", AQS], None, rest),
        (Park, &["com.acme.Gate", AQS], Some(1), Kind::Lock),
        (Park, &["com.acme.Blocker"], None, rest),
        (Park, &[], None, rest),
        (Monitor, &["java.lang.Object"], None, Kind::Lock),
        (Notify, &["java.lang.ref.ReferenceQueue$Lock"], None, rest),
    ];
    for (on, classes, holder, kind) in cases {
        let main = wait(1, Park, &LATCH, None);
        let waits = [main, wait(2, on, classes, holder)];
        let capture = machine(&waits, 60).finish();
        assert_eq!(kinds(&capture)[1], kind, "{on:?} {classes:?}");
    }
}

#[test]
fn a_main_thread_that_waits_for_the_end_of_the_program_rests() {
    for classes in [
        &LATCH[..],
        &["java.util.concurrent.CompletableFuture$Signaller"],
        &["java.util.concurrent.FutureTask"],
    ] {
        let pool = [
            wait(1, JavaAwaited::Park, classes, None),
            wait(2, JavaAwaited::Park, &CONDITION, None),
            wait(3, JavaAwaited::Park, &CONDITION, None),
        ];
        let judgement = judged(machine(&pool, 3600));
        assert_eq!(judgement.verdict, Verdict::Idle, "{classes:?}");
        assert!(judgement.notices.is_empty(), "{:#?}", judgement.notices);
        assert!(judgement.limits.is_empty(), "all of it was judged");
    }
}

#[test]
fn two_that_wait_for_each_other_are_a_deadlock() {
    let ring = [
        wait(1, JavaAwaited::Park, &LATCH, None),
        wait(2, JavaAwaited::Park, &LOCK, Some(3)),
        wait(3, JavaAwaited::Park, &LOCK, Some(2)),
    ];
    let judgement = judged(machine(&ring, 5));
    assert_eq!(found(&judgement), ["deadlock"]);
    let finding = judgement.findings().next().expect("it was found");
    assert_eq!(finding.confidence.name(), "certain");
    let said: Vec<_> = finding.evidence.iter().map(|it| &*it.value).collect();
    assert!(
        said[0].contains("waits for ReentrantLock 0x69ec00010, held by worker-3-3"),
        "{said:?}"
    );
    assert!(finding.next.ends_with("Then take the locks in one order."));
}

#[test]
fn a_lock_that_is_not_handed_over_is_told_with_its_holder_or_that_it_has_exited() {
    let lock = |holder| {
        [
            wait(1, JavaAwaited::Park, &LATCH, None),
            wait(2, JavaAwaited::Park, &LOCK, holder),
        ]
    };
    let judgement = judged(machine(&lock(None), 60));
    assert_eq!(found(&judgement), ["lock_stuck"]);
    let finding = judgement.findings().next().expect("it was found");
    assert!(
        finding.summary.contains("holder unknown"),
        "{}",
        finding.summary
    );

    let mut gone = lock(None);
    gone[1].ended_holder = Some("loader".into());
    let judgement = judged(machine(&gone, 60));
    let finding = judgement.findings().next().expect("it was found");
    assert!(
        finding.summary.contains("its holder has exited"),
        "{}",
        finding.summary
    );
    let says = |finding: &remora_model::Finding, words: &str| {
        finding.evidence.iter().any(|it| it.value.contains(words))
    };
    assert!(says(
        finding,
        "thread \"loader\" exited without releasing it"
    ));

    let mut held = machine(&lock(Some(3)), 60);
    held.thread(1, 3, "keeper");
    sleeps(&mut held, 2, Reason::Sleep, &["main", "nanosleep"], 60);
    let judgement = judged(held);
    assert_eq!(found(&judgement), ["lock_stuck"]);
    let finding = judgement.findings().next().expect("it was found");
    assert!(says(finding, "ReentrantLock 0x69ec00010, held by keeper-3"));
    assert!(
        found(&judged(machine(&lock(None), 9))).is_empty(),
        "under the threshold"
    );
}

#[test]
fn who_queues_behind_a_thread_at_rest_waits_for_its_turn() {
    let waits = [
        wait(1, JavaAwaited::Park, &LATCH, None),
        wait(2, JavaAwaited::Monitor, &["sun.nio.ch.Util$2"], Some(3)),
    ];
    let mut builder = machine(&waits, 60);
    builder.thread(1, 3, "selector");
    sleeps(&mut builder, 2, Reason::Epoll, &["run", "epoll_wait"], 60);
    assert_eq!(kinds(&builder.0)[1], Kind::Rest(Rest::Turn));
}

#[test]
fn a_lock_whose_holder_waits_to_be_notified_is_unclear_and_never_rest() {
    // Nested monitors: who should notify stands at the outer one.
    let waits = |holder: &[&str], on| {
        [
            wait(1, JavaAwaited::Park, &LATCH, None),
            wait(2, JavaAwaited::Monitor, &["com.acme.Outer"], Some(3)),
            wait(3, on, holder, None),
        ]
    };
    for (on, holder) in [
        (JavaAwaited::Notify, &["com.acme.Inner"][..]),
        (JavaAwaited::Park, &CONDITION),
    ] {
        let judgement = judged(machine(&waits(holder, on), 15));
        assert_eq!(judgement.verdict, Verdict::Unclear, "{on:?}");
        let [notice] = &judgement.notices[..] else {
            panic!("{:#?}", judgement.notices);
        };
        assert_eq!(notice.tid, Some(2));
        let said: Vec<_> = notice.evidence.iter().map(|it| &*it.value).collect();
        assert!(
            said.iter()
                .any(|it| it.contains("monitor of Outer 0x69ec00010, held by worker-3-3")),
            "{said:?}"
        );
        let young = judged(machine(&waits(holder, on), 5));
        assert_eq!(young.verdict, Verdict::Idle, "under the threshold");
    }
    // One that waits for others to arrive fetches no work.
    let judgement = judged(machine(&waits(&LATCH, JavaAwaited::Park), 15));
    assert_eq!(found(&judgement), ["lock_stuck"]);
}

#[test]
fn a_monitor_that_is_asked_for_again_and_again_is_waited_for_all_the_while() {
    let ring = [
        wait(1, JavaAwaited::Park, &LATCH, None),
        wait(2, JavaAwaited::Monitor, &["java.lang.Object"], Some(3)),
        wait(3, JavaAwaited::Monitor, &["java.lang.Object"], Some(2)),
    ];
    // Each wait has just begun.
    let mut builder = machine(&ring, 0);
    assert!(found(&judge(&builder.0, &Thresholds::default())).is_empty());
    let observed = builder.0.threads[1].observed;
    assert!(observed >= Duration::from_secs(3));
    for thread in [1, 2] {
        let stack = ["run", "ObjectMonitor::enter", "pthread_cond_timedwait"];
        builder.wait(thread, Reason::Futex, &stack, observed);
        let stack = builder.0.stacks.len() - 1;
        for frame in &mut builder.0.stacks[stack].frames[1..2] {
            frame.module = Some("/lib/libjvm.so".into());
        }
    }
    let judgement = judged(builder);
    assert_eq!(found(&judgement), ["deadlock"]);
}

#[test]
fn a_machine_that_was_refused_says_so_and_one_that_was_read_has_nothing_left_open() {
    let mut builder = machine(&[wait(1, JavaAwaited::Park, &LATCH, None)], 60);
    let limits = |builder: &Builder| judge(&builder.0, &Thresholds::default()).limits;
    assert!(limits(&builder).is_empty());
    // Parked, and no object noted.
    builder.0.java_waits[0].classes.clear();
    assert_eq!(limits(&builder)[0].of, LimitOf::JavaFrames);
    builder.0.java_waits.clear();
    builder.0.java.push(remora_model::Java {
        pid: 1,
        version: None,
        threads: 0,
        unread: 0,
        refused: Some("objects under ZGC are not read".into()),
    });
    let limit = &limits(&builder)[0];
    assert_eq!(limit.of, LimitOf::JavaLocks);
    assert!(limit.why.contains("ZGC"), "{}", limit.why);
}
