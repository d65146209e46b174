//! What a loop goes round in: the first function of the program behind that of the loop, in the samples that lie in one.
//!
//! Of node the callbacks are code without names, mostly; there the phase of the loop is told in their place.

use crate::Scene;
use crate::event_loops::framework;
use crate::words::is_program;
use remora_model::display::{label, text::percent};
use remora_model::{Frame, FrameKind, Stack};
use std::collections::BTreeMap;

/// Callbacks that are named.
const SHOWN: usize = 2;
/// Fewer samples are chance.
const ENOUGH: u64 = 3;
/// A second one is named that has so large a part of what the first has.
const BESIDE: u64 = 4;

/// Functions of loops' native libraries, and of what runs their callbacks, begin so.
const MACHINERY: [&str; 12] = [
    "uv_",
    "uv__",
    "node::",
    "v8::",
    "Builtins_",
    "event_",
    "evmap_",
    "bufferevent_",
    "ev_",
    "ae",
    "epoll_",
    "__",
];

/// What node runs, by the function of its loop that does.
const PHASES: [(&str, &str); 3] = [
    (
        "node::Environment::CheckImmediate",
        "callbacks of setImmediate",
    ),
    ("node::Environment::RunTimers", "callbacks of timers"),
    (
        "node::InternalCallbackScope::Close",
        "callbacks of process.nextTick and promises",
    ),
];

/// `again (feed.py:3), 34 % of the samples`; the most frequent first, and none that cannot be named.
pub(super) fn callbacks(scene: &Scene<'_>, thread: usize) -> Vec<String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut all = 0_u64;
    for place in scene.places().of(thread) {
        all = all.saturating_add(place.samples);
        let stack = scene.capture.stacks.get(place.stack);
        if let Some(name) = stack.and_then(callback) {
            let count = counts.entry(name).or_default();
            *count = count.saturating_add(place.samples);
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let most = counts.first().map_or(0, |it| it.1);
    let told = counts.iter().take(SHOWN).filter(|(_, count)| {
        let beside = count.saturating_mul(BESIDE) >= most;
        beside && *count >= ENOUGH
    });
    let line = |(name, count): &(String, u64)| {
        let part = percent(*count as f64, all as f64);
        format!("{name}, {part} of the samples")
    };
    told.map(line).collect()
}

/// The first of them without its share.
pub(super) fn place(callbacks: &[String]) -> &str {
    let first = callbacks.first().map_or("", String::as_str);
    first.rsplit_once(", ").map_or(first, |it| it.0)
}

/// The callback that a stack is in.
fn callback(stack: &Stack) -> Option<String> {
    let (at, _) = framework(stack)?;
    let behind = stack.frames.get(at + 1..)?;
    let own = |frame: &&Frame| {
        let name = &*frame.name;
        is_program(frame)
            && match frame.kind {
                FrameKind::Kernel => false,
                FrameKind::Python | FrameKind::Jit => true,
                FrameKind::Native | FrameKind::Inlined => {
                    !MACHINERY.iter().any(|start| name.starts_with(start))
                }
            }
    };
    let has_python = behind.iter().any(|it| it.kind == FrameKind::Python);
    let mut frames = behind.iter();
    let first = frames.find(|frame| own(frame) && (!has_python || frame.kind == FrameKind::Python));
    let phase = || {
        let runs = |start: &str| behind.iter().any(|frame| frame.name.starts_with(start));
        let known = PHASES.iter().find(|(function, _)| runs(function));
        known.map(|(_, words)| (*words).to_owned())
    };
    first.map(label::frame_short).or_else(phase)
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_model::fixture::Builder;

    const LOOP: &str = "p:BaseEventLoop._run_once@/usr/lib/python3.11/asyncio/base_events.py:1900";

    fn of(words: &[(&[&str], u64)]) -> Vec<String> {
        let mut builder = Builder::new(7, "router");
        for (stack, samples) in words {
            builder.samples(0, stack, *samples);
        }
        let capture = builder.finish();
        let thresholds = crate::Thresholds::default();
        callbacks(&Scene::new(&capture, &thresholds), 0)
    }

    #[test]
    fn a_coroutine_or_callback_is_named_and_the_loops_own_code_is_not() {
        let run = "p:Handle._run@/usr/lib/python3.11/asyncio/events.py:80";
        let sleep = "p:sleep@/usr/lib/python3.11/asyncio/tasks.py:630";
        let select = "p:EpollSelector.select@/usr/lib/python3.11/selectors.py:468";
        let found = of(&[
            (&[LOOP, select], 600),
            (&[LOOP, run], 100),
            (&[LOOP, run, "p:Feed.wait@/srv/feed.py:3", sleep], 250),
            (&[LOOP, run, "p:tick@/srv/feed.py:9"], 50),
        ]);
        assert_eq!(found, ["Feed.wait (feed.py:3), 25.0 % of the samples"]);
        assert_eq!(place(&found), "Feed.wait (feed.py:3)");
    }

    #[test]
    fn a_native_callback_is_named_and_of_node_the_phase() {
        let event = "event_process_active_single_queue";
        let found = of(&[(&["main", "event_base_loop", event, "on_read", "recv"], 90)]);
        assert_eq!(found, ["on_read, 100.0 % of the samples"]);
        let check = "node::Environment::CheckImmediate(uv_check_s*)";
        let found = of(&[(
            &[
                "main",
                "uv_run",
                "uv__run_check",
                check,
                "v8::Function::Call",
            ],
            90,
        )]);
        assert_eq!(found, ["callbacks of setImmediate, 100.0 % of the samples"]);
        assert!(of(&[(&["main", "uv_run", "uv__io_poll"], 90)]).is_empty());
    }
}
