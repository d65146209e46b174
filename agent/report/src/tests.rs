//! Whole reports of hand-made captures: a service as one sees it at 3 a.m., and names that attack.

use super::*;
use proptest::prelude::*;
use remora_common::loss::Loss;
use remora_model::fixture::{Builder, ms};
use remora_model::{
    AgentLoss, End, HookState, Now, ProgramCost, Reason, Signal, SignalId, Site, State, Syscall,
    Wake,
};
use roxmltree::{Document, ParsingOptions};
use std::path::PathBuf;
use terminal::RenderOptions;

const LOOP: &[&str] = &[
    "main",
    "aeMain@/src/ae.c:505",
    "aeApiPoll",
    "epoll_wait",
    "k:do_epoll_wait",
];
const FLUSH: &[&str] = &[
    "main",
    "aeMain@/src/ae.c:505",
    "serverCron@/src/server.c:1320",
    "fdatasync",
    "k:submit_bio",
];
const PARSE: &[&str] = &[
    "main",
    "aeMain@/src/ae.c:505",
    "readQuery",
    "i:parse@/src/net.c:88",
];
const QUEUE: &[&str] = &["clone3", "bioWorker", "pthread_cond_wait", "k:futex_wait"];
const WEDGE: &[&str] = &[
    "clone3",
    "Pool::run(int)@/src/pool.cpp:40",
    "Cache<std::string, int>::get@/src/cache.cpp:12",
    "pthread_mutex_lock",
    "k:futex_wait_queue",
    "k:schedule",
];

fn blocked(reason: Reason, syscall: &'static str, seconds: f64, stack: usize) -> Now {
    Now {
        state: State::Blocked,
        since: Duration::from_secs_f64(seconds),
        since_inferred: seconds > 30.0,
        reason: Some(reason),
        syscall: Some(Syscall::named(syscall)),
        args: [0x7f00_0000_1000, 0x80, 2, 0, 0, 0],
        waker_tid: 4711,
        stack: Some(stack),
    }
}

/// A server with an event loop, a worker without work, a wedged one, and a crowd asleep.
fn service() -> Capture {
    let mut builder = Builder::new(4711, "redis-server");
    let worker = builder.thread(4711, 4712, "bio_aof");
    let wedged = builder.thread(4711, 4713, "pool \u{1b}[31m漢字漢字漢字漢字漢字漢字漢字");
    builder.samples(0, PARSE, 300);
    builder.samples(0, &["main", "k:page_fault"], 100);
    builder.samples(worker, &["clone3", "j:lua_run"], 5);
    builder.wait(0, Reason::Epoll, LOOP, ms(22_000));
    builder.wait_at(0, Reason::Epoll, Site::Short, 40_000, ms(1_500));
    builder.wait(0, Reason::Disk, FLUSH, ms(350));
    builder.wait_at(0, Reason::Disk, Site::Short, 12, ms(4));
    builder.wait(worker, Reason::Futex, QUEUE, ms(29_000));
    builder.last_wait().event_form = true;
    builder.wait_at(worker, Reason::Futex, Site::Lost, 2, ms(80));
    builder.wait(wedged, Reason::Futex, WEDGE, ms(30_000));
    builder.last_wait().syscall = Some(Syscall::named("futex"));
    crowd(&mut builder);
    builder.grown(0, PARSE, 12 << 20, 1 << 20);
    let (in_loop, in_queue, in_wedge) = (
        builder.stack(LOOP),
        builder.stack(QUEUE),
        builder.stack(WEDGE),
    );
    let threads = &mut builder.0.threads;
    threads[0].run_queue.after_wake = ms(150);
    threads[0].run_queue.wakes = 41_000;
    threads[0].run_queue.preempted = ms(20);
    threads[0].run_queue.preemptions = 7;
    threads[0].run_queue.longest = ms(12);
    threads[0].now = blocked(Reason::Epoll, "epoll_wait", 0.012, in_loop);
    threads[worker].now = blocked(Reason::Futex, "futex", 3.5, in_queue);
    threads[wedged].now = blocked(Reason::Futex, "futex", 812.0, in_wedge);
    accounts(&mut builder);
    builder.finish()
}

fn crowd(builder: &mut Builder) {
    for index in 0..20 {
        let thread = builder.thread(4711, 4720 + index, "sleeper");
        builder.wait(thread, Reason::Sleep, &["clone3", "nanosleep"], ms(29_900));
    }
}

fn accounts(builder: &mut Builder) {
    let capture = &mut builder.0;
    capture.wakes.push(Wake {
        thread: 1,
        reason: Reason::Futex,
        waker_tid: 4711,
        waker_pid: 4711,
        waker: "redis-server".into(),
        count: 31,
        blocked: ms(29_000),
    });
    let on = |id, hook: &str| Signal {
        id,
        hook: hook.into(),
        state: HookState::On,
    };
    capture.signals = vec![
        on(SignalId::OnCpu, "perf_event/cpu-clock"),
        on(SignalId::OffCpu, "tp_btf/sched_switch"),
        Signal {
            id: SignalId::WaitStacks,
            hook: "tp_btf/sched_switch".into(),
            state: HookState::Degraded(
                "taken at switch-out, 1 of 8 sampled: no sched_exit_tp".into(),
            ),
        },
        Signal {
            id: SignalId::Wakers,
            hook: String::new(),
            state: HookState::Off("tp_btf/sched_waking: Operation not permitted".into()),
        },
    ];
    capture.losses.kernel.insert(Loss::UserStackFailed, 12);
    capture.losses.add(AgentLoss::UnsymbolisedFrames, 1_234);
    capture.overhead.bpf_cpu_pct = 0.41;
    capture.overhead.bpf_measured_s = 3.0;
    capture.overhead.agent_cpu_pct = 0.1234;
    capture.overhead.agent_rss_bytes = 31 << 20;
    capture.overhead.bpf_map_bytes = 12 << 20;
    capture.overhead.programs = vec![ProgramCost {
        name: "sched_switch".into(),
        runs: 91_234,
        run_ns: 12_300_000,
    }];
}

fn written() -> Written {
    let folder = PathBuf::from("/var/tmp/remora-redis-server-4711-20231114-221320");
    let files = [
        "report.json",
        "cpu.svg",
        "cpu.folded",
        "offcpu.svg",
        "offcpu.folded",
    ];
    Written {
        files: files.map(|name| folder.join(name)).to_vec(),
        refused: vec![Refusal {
            folder: "/srv/remora-redis-server-4711-20231114-221320".into(),
            why: "No space left on device (os error 28)".into(),
        }],
        folder,
    }
}

fn file(capture: &Capture, idle: bool, name: &str) -> String {
    let files = artifacts(&capture.clone().into(), Options { idle }).unwrap();
    let file = files.into_iter().find(|file| file.name == name).unwrap();
    String::from_utf8(file.bytes).unwrap()
}

#[test]
fn the_terminal_summary_of_a_service() {
    insta::assert_snapshot!(terminal::summary(
        &service().into(),
        Some(&written()),
        RenderOptions::default()
    ));
}

#[test]
fn the_terminal_summary_of_one_healthy_thread() {
    let mut builder = Builder::new(4711, "redis-server");
    builder.samples(0, PARSE, 39);
    builder.wait(0, Reason::Epoll, LOOP, ms(29_460));
    builder.0.threads[0].run_queue.after_wake = ms(146);
    builder.0.end = End::Interrupted;
    insta::assert_snapshot!(terminal::summary(
        &builder.finish().into(),
        None,
        RenderOptions::default()
    ));
}

#[test]
fn the_terminal_summary_of_several_processes() {
    let mut builder = Builder::new(100, "nginx");
    for pid in 101..112 {
        let thread = builder.process(pid, "nginx");
        builder.samples(thread, PARSE, u64::from(pid));
        builder.wait(thread, Reason::Epoll, LOOP, ms(20_000));
    }
    builder.0.processes[3].exited = true;
    insta::assert_snapshot!(terminal::summary(
        &builder.finish().into(),
        None,
        RenderOptions::default()
    ));
}

#[test]
fn colours_add_nothing_but_escapes() {
    let plain = terminal::summary(
        &service().into(),
        Some(&written()),
        RenderOptions::default(),
    );
    let options = RenderOptions {
        colour: true,
        ..RenderOptions::default()
    };
    let coloured = terminal::summary(&service().into(), Some(&written()), options);
    assert!(!plain.contains('\u{1b}'));
    assert!(coloured.contains('\u{1b}'));
    let mut stripped = String::new();
    for (index, part) in coloured.split('\u{1b}').enumerate() {
        let rest = if index == 0 {
            part
        } else {
            part.split_once('m').unwrap().1
        };
        stripped.push_str(rest);
    }
    assert_eq!(stripped, plain);
}

#[test]
fn the_json_of_a_service() {
    insta::assert_snapshot!(file(&service(), false, "report.json"));
}

#[test]
fn the_folded_stacks_of_a_service() {
    insta::assert_snapshot!("cpu_folded", file(&service(), false, "cpu.folded"));
    insta::assert_snapshot!("offcpu_folded", file(&service(), false, "offcpu.folded"));
    insta::assert_snapshot!(
        "offcpu_folded_with_idle",
        file(&service(), true, "offcpu.folded")
    );
}

/// Names that try to be something else: markup, escapes, line ends, folded syntax.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[;\n\r\t <>&\"'#0-9._\\[\\]ki\u{0}\u{1b}\u{2028}\u{ffff}-]{0,12}",
        Just("]]><script>alert(1)</script>".to_owned()),
    ]
}

fn attacked(names: &[String]) -> Capture {
    let name = |index: usize| names[index % names.len()].as_str();
    let mut builder = Builder::new(1, name(0));
    let other = builder.process(2, name(1));
    builder.thread(2, 3, name(2));
    let words: Vec<&str> = (0..names.len()).map(name).collect();
    let stack = remora_model::Stack {
        frames: words
            .iter()
            .map(|word| remora_model::fixture::frame(KIND, word))
            .collect(),
        truncated: true,
        walk: None,
    };
    builder.0.stacks.push(stack);
    builder.0.samples.push(remora_model::Sample {
        thread: 0,
        stack: 0,
        count: 7,
        late: 0,
    });
    builder.0.samples.push(remora_model::Sample {
        thread: 99,
        stack: 99,
        count: 5,
        late: 0,
    });
    builder.wait_at(other, Reason::Futex, Site::Stack(0), 1, ms(4));
    builder.wait_at(0, Reason::Disk, Site::Stack(77), 1, ms(4));
    builder.wait_at(
        0,
        Reason::Epoll,
        Site::Short,
        1,
        Duration::from_nanos(u64::MAX),
    );
    builder.0.kernel = name(3).to_owned();
    builder.finish()
}

const KIND: remora_model::FrameKind = remora_model::FrameKind::Native;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_name_breaks_a_file(names in proptest::collection::vec(hostile(), 1..6)) {
        let capture = attacked(&names);
        for (name, total) in [("cpu.folded", 12), ("offcpu.folded", 8_000_000)] {
            let folded = file(&capture, false, name);
            let values = folded.lines().map(|line| {
                let (stack, value) = line.rsplit_once(' ').unwrap();
                assert!(stack.split(';').all(|frame| !frame.is_empty()), "{line:?}");
                value.parse::<u64>().unwrap()
            });
            prop_assert_eq!(values.sum::<u64>(), total, "{}", folded);
        }
        for (name, total) in [("cpu.speedscope.json", 12), ("offcpu.speedscope.json", 8_000_000)] {
            let file: serde_json::Value = serde_json::from_str(&file(&capture, false, name)).unwrap();
            let profiles = file["profiles"].as_array().unwrap();
            let ends = profiles.iter().map(|profile| profile["endValue"].as_u64().unwrap());
            prop_assert_eq!(ends.sum::<u64>(), total, "{}", file);
            let frames = file["shared"]["frames"].as_array().unwrap();
            prop_assert!(frames.iter().all(|frame| frame["name"].as_str().is_some_and(|it| !it.is_empty())));
        }
        for name in ["cpu.svg", "offcpu.svg"] {
            let svg = file(&capture, true, name);
            let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
            let document = Document::parse_with_options(&svg, options).unwrap();
            let drawn = document.descendants().find(|node| node.attribute("id") == Some("frames"));
            // Every line of the stacks is drawn: none was taken for a comment or a difference.
            let total: u64 = drawn.unwrap().attribute("total_samples").unwrap().parse().unwrap();
            prop_assert_eq!(total, if name == "cpu.svg" { 12 } else { u64::MAX });
            let scripts = document.descendants().filter(|node| node.has_tag_name("script"));
            prop_assert_eq!(scripts.count(), 1, "only the one that searches");
        }
        serde_json::from_str::<serde_json::Value>(&file(&capture, false, "report.json")).unwrap();
        let page = terminal::summary(&capture.into(), None, RenderOptions::default());
        prop_assert!(!page.replace('\n', "").contains(char::is_control));
    }
}
