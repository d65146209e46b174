//! Locks of the standard library in the shapes that programs give them: behind an `Arc`, on the stack of the
//! thread that joins the others, in a structure, under a guard in a structure. They name no owner in their memory. One
//! mode a run: sick ones, and ones that look like them.

use std::{
    sync::{Arc, Barrier, Mutex, MutexGuard, RwLock, mpsc},
    thread,
    time::Duration,
};

unsafe extern "C" {
    fn gettid() -> i32;
    fn alarm(seconds: u32) -> u32;
}

static KNOWN: Mutex<Vec<(String, i32)>> = Mutex::new(Vec::new());

fn know(name: &str) {
    // SAFETY: it only asks.
    let tid = unsafe { gettid() };
    KNOWN.lock().expect("no thread panics").push((name.to_owned(), tid));
}

fn start(name: &'static str, run: impl FnOnce() + Send + 'static) {
    let body = move || {
        know(name);
        run();
    };
    let thread = thread::Builder::new().name(name.to_owned());
    drop(thread.spawn(body).expect("a thread"));
}

fn rest() {
    thread::sleep(Duration::from_secs(600));
}

#[inline(never)]
fn transfer(from: &Mutex<u64>, to: &Mutex<u64>, both: &Barrier) {
    let mut source = from.lock().expect("no thread panics");
    both.wait();
    let mut sink = to.lock().expect("no thread panics");
    *source -= 1;
    *sink += 1;
}

struct Book {
    name: String,
    bids: Mutex<u64>,
    asks: Mutex<u64>,
}

impl Book {
    #[inline(never)]
    fn match_bids(&self, both: &Barrier) {
        let bids = self.bids.lock().expect("no thread panics");
        both.wait();
        println!("{} {}", self.name, *bids + self.count_asks());
    }

    #[inline(never)]
    fn match_asks(&self, both: &Barrier) {
        let asks = self.asks.lock().expect("no thread panics");
        both.wait();
        println!("{} {}", self.name, *asks + self.count_bids());
    }

    #[inline(never)]
    fn count_asks(&self) -> u64 {
        *self.asks.lock().expect("no thread panics")
    }

    #[inline(never)]
    fn count_bids(&self) -> u64 {
        *self.bids.lock().expect("no thread panics")
    }
}

/// A guard in a structure, behind a method call.
struct Transaction<'a> {
    guard: MutexGuard<'a, u64>,
    log: Vec<u64>,
}

impl<'a> Transaction<'a> {
    fn begin(lock: &'a Mutex<u64>) -> Self {
        Self {
            guard: lock.lock().expect("no thread panics"),
            log: Vec::new(),
        }
    }

    #[inline(never)]
    fn add(&mut self, other: &Mutex<u64>) {
        let value = *other.lock().expect("no thread panics");
        self.log.push(value);
        *self.guard += value;
    }
}

#[inline(never)]
fn transact(first: &Mutex<u64>, second: &Mutex<u64>, both: &Barrier) {
    let mut transaction = Transaction::begin(first);
    both.wait();
    transaction.add(second);
    println!("{:?}", transaction.log);
}

#[inline(never)]
fn refresh(read: &RwLock<u64>, written: &RwLock<u64>, both: &Barrier) {
    let value = read.read().expect("no thread panics");
    both.wait();
    *written.write().expect("no thread panics") += *value;
}

/// Reads a lock, and wants to write it without letting go.
#[inline(never)]
fn upgrade(lock: &RwLock<u64>) {
    let value = lock.read().expect("no thread panics");
    if *value == 0 {
        *lock.write().expect("no thread panics") += 1;
    }
    println!("{value}");
}

#[inline(never)]
fn inner(lock: &Mutex<u64>) -> u64 {
    *lock.lock().expect("no thread panics")
}

#[inline(never)]
fn takes_twice(lock: &Mutex<u64>) {
    let mut guard = lock.lock().expect("no thread panics");
    *guard += inner(lock);
}

#[inline(never)]
fn takes_twice_at_once(lock: &Mutex<u64>) {
    let mut one = lock.lock().expect("no thread panics");
    let two = lock.lock().expect("no thread panics");
    *one += *two;
}

/// Has a lock for long, as one does that waits for an answer under it.
#[inline(never)]
fn keeps(lock: &Mutex<u64>) {
    let mut guard = lock.lock().expect("no thread panics");
    rest();
    *guard += 1;
}

/// Has had the first, and wants the second.
#[inline(never)]
fn one_by_one(first: &Mutex<u64>, second: &Mutex<u64>) {
    for lock in [first, second] {
        *lock.lock().expect("no thread panics") += 1;
    }
    println!("{} {}", inner(first), inner(second));
}

/// Locks that lie on the stack of a thread that waits for the others.
fn scoped(run: impl Fn(&Mutex<u64>, &Mutex<u64>, &Barrier) + Sync) {
    let (bids, asks, both) = (Mutex::new(9), Mutex::new(9), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            know("one");
            run(&bids, &asks, &both);
        });
        scope.spawn(|| {
            know("two");
            run(&asks, &bids, &both);
        });
    });
    println!("{} {}", inner(&bids), inner(&asks));
}

fn pair() -> (Arc<Mutex<u64>>, Arc<Mutex<u64>>, Arc<Barrier>) {
    let lock = || Arc::new(Mutex::new(9));
    (lock(), lock(), Arc::new(Barrier::new(2)))
}

fn of_two(run: fn(&Mutex<u64>, &Mutex<u64>, &Barrier)) {
    let (bids, asks, both) = pair();
    let (bids_2, asks_2, both_2) = (Arc::clone(&bids), Arc::clone(&asks), Arc::clone(&both));
    start("one", move || run(&bids, &asks, &both));
    start("two", move || run(&asks_2, &bids_2, &both_2));
}

fn sick(mode: &str) {
    match mode {
        "arc" => of_two(transfer),
        "guard" => of_two(transact),
        "scoped" => start("owner", || scoped(transfer)),
        "fields" => {
            let (bids, asks) = (Mutex::new(9), Mutex::new(9));
            let name = "EURUSD".to_owned();
            let book = Arc::new(Book { name, bids, asks });
            let (other, both) = (Arc::clone(&book), Arc::new(Barrier::new(2)));
            let both_2 = Arc::clone(&both);
            start("one", move || book.match_bids(&both));
            start("two", move || other.match_asks(&both_2));
        }
        "rwlock" => {
            let locks = Arc::new((RwLock::new(1), RwLock::new(1), Barrier::new(2)));
            let other = Arc::clone(&locks);
            start("one", move || refresh(&locks.0, &locks.1, &locks.2));
            start("two", move || refresh(&other.1, &other.0, &other.2));
        }
        "upgrade" => {
            let lock = Arc::new(RwLock::new(0));
            start("one", move || upgrade(&lock));
        }
        "twice" => start("one", || takes_twice(&Mutex::new(1))),
        "twice-at-once" => start("one", || takes_twice_at_once(&Mutex::new(1))),
        _ => std::process::exit(2),
    }
}

fn main() {
    // SAFETY: no handler.
    unsafe { alarm(300) };
    know("main");
    let mode = std::env::args().nth(1).unwrap_or_default();
    match mode.as_str() {
        // Nobody waits for itself: one keeps both, and those that wait have had what the other wants.
        "kept" => {
            let (bids, asks, _) = pair();
            let others = [(&bids, &asks), (&asks, &bids)];
            for (name, (first, second)) in ["one", "two"].into_iter().zip(others) {
                let (first, second) = (Arc::clone(first), Arc::clone(second));
                start(name, move || {
                    thread::sleep(Duration::from_millis(100));
                    one_by_one(&first, &second);
                });
            }
            start("keeper", move || {
                let guard = bids.lock().expect("no thread panics");
                keeps(&asks);
                drop(guard);
            });
        }
        "kept-scoped" => start("owner", || {
            scoped(|first, second, both| {
                if both.wait().is_leader() {
                    keeps(first);
                } else {
                    thread::sleep(Duration::from_millis(50));
                    one_by_one(first, second);
                }
            });
        }),
        "receivers" => {
            let (sender, receiver) = mpsc::channel::<u64>();
            let receiver = Arc::new(Mutex::new(receiver));
            for name in ["worker-1", "worker-2", "worker-3"] {
                let receiver = Arc::clone(&receiver);
                start(name, move || {
                    loop {
                        let work = receiver.lock().expect("no thread panics").recv();
                        println!("{work:?}");
                    }
                });
            }
            std::mem::forget(sender);
        }
        "readers" => {
            let lock = Arc::new(RwLock::new(0));
            for name in ["reader-1", "reader-2"] {
                let lock = Arc::clone(&lock);
                start(name, move || {
                    loop {
                        let value = lock.read().expect("no thread panics");
                        thread::sleep(Duration::from_millis(5));
                        drop(value);
                        thread::sleep(Duration::from_millis(100));
                    }
                });
            }
            start("writer", move || {
                loop {
                    *lock.write().expect("no thread panics") += 1;
                    thread::sleep(Duration::from_millis(100));
                }
            });
        }
        sick_one => sick(sick_one),
    }
    thread::sleep(Duration::from_millis(300));
    let known = KNOWN.lock().expect("no thread panics");
    let tids: Vec<String> = known
        .iter()
        .map(|(name, tid)| format!("{name:?}:{tid}"))
        .collect();
    println!("ready {{\"pid\":{},\"tids\":{{{}}}}}", std::process::id(), tids.join(","));
    drop(known);
    rest();
}
