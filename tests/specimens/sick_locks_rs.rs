//! Threads of Rust that wait for each other for ever, and ones that look like it and do not. One mode a run.
//! Locks of the standard library name no owner in their memory.

use std::{
    sync::{Barrier, Condvar, Mutex, mpsc},
    thread,
    time::Duration,
};

unsafe extern "C" {
    fn gettid() -> i32;
    fn alarm(seconds: u32) -> u32;
}

static A: Mutex<u64> = Mutex::new(0);
static B: Mutex<u64> = Mutex::new(0);
static BOTH: Barrier = Barrier::new(2);
static WORK: Condvar = Condvar::new();
static KNOWN: Mutex<Vec<(String, i32)>> = Mutex::new(Vec::new());

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let known = name.to_owned();
    let thread = thread::Builder::new().name(name.to_owned());
    let body = move || {
        know(known);
        run();
    };
    thread.spawn(body).expect("a thread")
}

fn know(name: String) {
    // SAFETY: it only asks.
    let tid = unsafe { gettid() };
    KNOWN.lock().expect("no thread panics").push((name, tid));
}

#[inline(never)]
fn take(lock: &Mutex<u64>) {
    *lock.lock().expect("no thread panics") += 1;
}

#[inline(never)]
fn take_both(first: &'static Mutex<u64>, second: &'static Mutex<u64>) {
    let mut guard = first.lock().expect("no thread panics");
    BOTH.wait();
    take(second);
    *guard += 1;
}

/// Joins a thread that wants what it holds.
fn join() {
    let guard = A.lock().expect("no thread panics");
    let worker = start("worker", || take(&A));
    worker.join().expect("it never ends");
    drop(guard);
}

fn contended(hold_ms: u64) {
    let busy = move || loop {
        let mut guard = A.lock().expect("no thread panics");
        *guard += 1;
        thread::sleep(Duration::from_millis(hold_ms));
        drop(guard);
        thread::sleep(Duration::from_millis(2));
    };
    start("holder", busy);
    for number in 1..3 {
        start(&format!("waiter-{number}"), || loop {
            take(&A);
            thread::sleep(Duration::from_millis(10));
        });
    }
}

fn main() {
    // SAFETY: no handler.
    unsafe { alarm(300) };
    know("main".to_owned());
    match std::env::args().nth(1).as_deref() {
        Some("abba") => {
            start("one", || take_both(&A, &B));
            start("two", || take_both(&B, &A));
        }
        Some("join") => drop(start("joiner", join)),
        Some("contended") => contended(40),
        Some("contended-briefly") => contended(0),
        Some("pool") => {
            let (sender, receiver) = mpsc::channel::<u64>();
            start("receiver", move || {
                receiver.recv().ok();
            });
            for number in 1..3 {
                start(&format!("worker-{number}"), || {
                    let mut guard = A.lock().expect("no thread panics");
                    // Notified twice before: its counter has the value that contended locks have.
                    loop {
                        guard = WORK.wait(guard).expect("no thread panics");
                    }
                });
            }
            thread::sleep(Duration::from_millis(50));
            WORK.notify_one();
            WORK.notify_one();
            std::mem::forget(sender);
        }
        _ => std::process::exit(2),
    }
    thread::sleep(Duration::from_millis(300));
    let known = KNOWN.lock().expect("no thread panics");
    let tids: Vec<String> = known
        .iter()
        .map(|(name, tid)| format!("{name:?}:{tid}"))
        .collect();
    println!("ready {{\"pid\":{},\"tids\":{{{}}}}}", std::process::id(), tids.join(","));
    drop(known);
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}
