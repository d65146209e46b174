//! Chains of Rust, built for release with `panic=unwind`: closures, a sort, a panic in flight.
//!
//! Speaks as the other specimens do: one line `ready {…}`, then a thread for each chain.

use std::hint::black_box;
use std::panic::catch_unwind;
use std::time::Duration;

unsafe extern "C" {
    safe fn gettid() -> i32;
    safe fn prctl(option: i32, value: u64, ...) -> i32;
}

const PR_SET_PDEATHSIG: i32 = 1;
const SIGKILL: u64 = 9;

#[inline(never)]
fn leaf() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let mut turns = 0_u64;
    while mode == "burn" {
        turns = black_box(turns + 1);
    }
    let pause = if mode == "wait" {
        Duration::from_millis(50)
    } else {
        Duration::from_secs(3600)
    };
    loop {
        std::thread::sleep(pause);
    }
}

#[inline(never)]
fn recurse(depth: u32) -> u32 {
    if black_box(depth) <= 1 {
        leaf();
        return 0;
    }
    black_box(recurse(depth - 1)) + 1
}

#[inline(never)]
fn sorts() {
    let mut numbers: Vec<u32> = (0..40).rev().map(black_box).collect();
    numbers.sort_by(|left, right| compares(*left, *right));
    black_box(numbers);
}

#[inline(never)]
fn compares(left: u32, right: u32) -> std::cmp::Ordering {
    leaf();
    black_box(left).cmp(&right)
}

struct Guard;

impl Drop for Guard {
    #[inline(never)]
    fn drop(&mut self) {
        leaf();
        black_box(());
    }
}

#[inline(never)]
fn panics_at(depth: u32) -> u32 {
    assert!(black_box(depth) > 0, "from the depth");
    black_box(panics_at(depth - 1)) + 1
}

#[inline(never)]
fn has_a_guard() -> u32 {
    let _guard = Guard;
    panics_at(black_box(20))
}

#[inline(never)]
fn cleans_up() {
    black_box(catch_unwind(has_a_guard).is_err());
}

trait Shape {
    fn draw(&self, others: &[Box<dyn Shape>]);
}

struct Square(u8);

impl Shape for Square {
    #[inline(never)]
    fn draw(&self, others: &[Box<dyn Shape>]) {
        black_box(self.0);
        match others {
            [] => leaf(),
            [first, rest @ ..] => first.draw(rest),
        }
        black_box(());
    }
}

#[inline(never)]
fn draws() {
    let shapes: Vec<Box<dyn Shape>> = (0..3).map(|n| Box::new(Square(n)) as _).collect();
    black_box(&shapes)[0].draw(&shapes[1..]);
    black_box(());
}

fn recurses() {
    black_box(recurse(60));
}

fn main() {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::panic::set_hook(Box::new(|_| {}));
    let chains: [(&str, fn()); 4] = [
        ("60", recurses),
        ("sort", sorts),
        ("cleanup", cleans_up),
        ("draw", draws),
    ];
    let mut tids = format!("\"main\":{}", std::process::id());
    for (name, run) in chains {
        let (send, receive) = std::sync::mpsc::channel();
        let body = move || {
            send.send(gettid()).expect("main waits for it");
            run();
        };
        std::thread::Builder::new()
            .name(name.into())
            .spawn(body)
            .expect("a thread");
        tids += &format!(
            ",\"{name}\":{}",
            receive.recv().expect("the thread says it")
        );
    }
    println!(
        "ready {{\"pid\":{},\"tids\":{{{tids}}}}}",
        std::process::id()
    );
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
