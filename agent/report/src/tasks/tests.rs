//! A look at a small service, as table and as JSON.

use super::{TableOptions, table, view};
use remora_model::{Await, AwaitKind, EventLoop, Task, TaskFrame, TaskLoss, TaskState, Tasks};
use std::time::Duration;

fn frame(function: &str, file: &str, line: u32) -> TaskFrame {
    TaskFrame {
        function: function.to_owned(),
        file: file.to_owned(),
        line: Some(line),
    }
}

fn task(id: u64, name: &str, state: TaskState, frames: Vec<TaskFrame>) -> Task {
    Task {
        id,
        name: name.to_owned(),
        class: "Task".to_owned(),
        loop_id: 0x10,
        state,
        cancelling: false,
        frames,
        frames_cut: false,
        awaits: None,
        holds: Vec::new(),
        same_for: None,
        torn: false,
    }
}

fn awaits(kind: AwaitKind, call: &str, class: &str, tasks: Vec<u64>) -> Await {
    Await {
        kind,
        call: call.to_owned(),
        class: class.to_owned(),
        object: 0xabc0,
        tasks,
        left_s: None,
    }
}

fn service() -> Tasks {
    let main = frame("main", "/srv/app.py", 9);
    let queue = vec![
        frame("worker", "/srv/app.py", 31),
        frame("Queue.get", "/usr/lib/python3.11/asyncio/queues.py", 158),
    ];
    let nap = vec![
        frame("nap\u{1b}[2J", "/srv/app.py", 40),
        frame("sleep", "/usr/lib/python3.11/asyncio/tasks.py", 639),
    ];
    Tasks {
        loops: vec![EventLoop {
            id: 0x10,
            class: "_UnixSelectorEventLoop".to_owned(),
            ident: Some(0x7000),
            tid: Some(41),
            thread: Some("python3".to_owned()),
            current: Some(4),
            turns: false,
        }],
        tasks: vec![
            Task {
                awaits: Some(awaits(
                    AwaitKind::Gather,
                    "",
                    "_GatheringFuture",
                    vec![2, 3, 4, 5],
                )),
                ..task(1, "Task-1", TaskState::Waiting, vec![main])
            },
            Task {
                awaits: Some(awaits(AwaitKind::Queue, "Queue.get", "Queue", vec![])),
                ..task(2, "worker", TaskState::Waiting, queue)
            },
            Task {
                awaits: Some(Await {
                    left_s: Some(1.234),
                    ..awaits(AwaitKind::Sleep, "sleep", "Future", vec![])
                }),
                ..task(3, "nap", TaskState::Waiting, nap)
            },
            task(
                4,
                "busy",
                TaskState::Running,
                vec![frame("spin", "/srv/app.py", 50)],
            ),
            Task {
                torn: true,
                ..task(5, "mover", TaskState::Ready, vec![])
            },
        ],
        loss: TaskLoss {
            torn: 1,
            ..TaskLoss::default()
        },
        took: Duration::from_micros(740),
    }
}

#[test]
fn a_table_of_a_service() {
    let options = TableOptions {
        width: 110,
        stacks: false,
    };
    insta::assert_snapshot!(table(&service(), options));
}

#[test]
fn a_sleep_that_is_over_says_so() {
    let mut tasks = service();
    let nap = tasks.tasks.iter_mut().find(|task| task.name == "nap");
    let awaits = nap.and_then(|task| task.awaits.as_mut());
    awaits.expect("it sleeps").left_s = Some(-3.2);
    let options = TableOptions {
        width: 110,
        stacks: false,
    };
    let page = table(&tasks, options);
    assert!(page.contains("sleep, over for 3.2 s"), "{page}");
}

#[test]
fn stacks_are_shown_innermost_first() {
    let options = TableOptions {
        width: 110,
        stacks: true,
    };
    let page = table(&service(), options);
    let queue = page.find("Queue.get (/usr").expect("the innermost");
    let worker = page.find("worker (/srv").expect("its caller");
    assert!(queue < worker, "{page}");
    assert!(!page.contains('\u{1b}'), "{page:?}");
}

#[test]
fn the_json_of_a_service() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&view(&service())).unwrap());
}
