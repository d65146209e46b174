//! Locks of `parking_lot` in the shapes that programs give them. They name no owner, and their waiters sleep each in
//! a futex of its own. One mode a run: sick ones, and ones that look like them.

use parking_lot::{Condvar, Mutex, MutexGuard, ReentrantMutex, RwLock};
use std::{
    sync::{Arc, Barrier, mpsc},
    thread,
    time::Duration,
};

unsafe extern "C" {
    fn gettid() -> i32;
    fn alarm(seconds: u32) -> u32;
}

static KNOWN: std::sync::Mutex<Vec<(String, i32)>> = std::sync::Mutex::new(Vec::new());
static BIDS: Mutex<u64> = Mutex::new(9);
static ASKS: Mutex<u64> = Mutex::new(9);

fn know(name: &str) {
    // SAFETY: it only asks.
    let tid = unsafe { gettid() };
    KNOWN.lock().expect("no thread panics").push((name.to_owned(), tid));
}

fn start(name: &'static str, run: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
    let body = move || {
        know(name);
        run();
    };
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(body).expect("a thread")
}

fn rest() {
    thread::sleep(Duration::from_secs(600));
}

#[inline(never)]
fn transfer(from: &Mutex<u64>, to: &Mutex<u64>, both: &Barrier) {
    let mut source = from.lock();
    both.wait();
    let mut sink = to.lock();
    *source -= 1;
    *sink += 1;
}

/// A lock that its thread may take again: here twice.
#[inline(never)]
fn reenter(from: &ReentrantMutex<u64>, to: &ReentrantMutex<u64>, both: &Barrier) {
    let outer = from.lock();
    let inner = from.lock();
    both.wait();
    println!("{}", *to.lock() + *outer + *inner);
}

struct Book {
    name: String,
    bids: Mutex<u8>,
    asks: Mutex<u8>,
}

impl Book {
    #[inline(never)]
    fn match_bids(&self, both: &Barrier) {
        let bids = self.bids.lock();
        both.wait();
        println!("{} {}", self.name, *bids + self.count_asks());
    }

    #[inline(never)]
    fn match_asks(&self, both: &Barrier) {
        let asks = self.asks.lock();
        both.wait();
        println!("{} {}", self.name, *asks + self.count_bids());
    }

    #[inline(never)]
    fn count_asks(&self) -> u8 {
        *self.asks.lock()
    }

    #[inline(never)]
    fn count_bids(&self) -> u8 {
        *self.bids.lock()
    }
}

/// A guard in a structure, behind a method call.
struct Transaction<'a> {
    guard: MutexGuard<'a, u64>,
    log: Vec<u64>,
}

impl Transaction<'_> {
    #[inline(never)]
    fn add(&mut self, other: &Mutex<u64>) {
        let value = *other.lock();
        self.log.push(value);
        *self.guard += value;
    }
}

#[inline(never)]
fn transact(first: &Mutex<u64>, second: &Mutex<u64>, both: &Barrier) {
    let (guard, log) = (first.lock(), Vec::new());
    let mut transaction = Transaction { guard, log };
    both.wait();
    transaction.add(second);
    println!("{:?}", transaction.log);
}

#[inline(never)]
fn refresh(read: &RwLock<u64>, written: &RwLock<u64>, both: &Barrier) {
    let value = read.read();
    both.wait();
    *written.write() += *value;
}

#[inline(never)]
fn rewrite(first: &RwLock<u64>, second: &RwLock<u64>, both: &Barrier) {
    let mut written = first.write();
    both.wait();
    *written += *second.read();
}

/// Reads a lock, and wants to write it without letting go.
#[inline(never)]
fn upgrade(lock: &RwLock<u64>) {
    let value = lock.read();
    if *value == 0 {
        *lock.write() += 1;
    }
    println!("{value}");
}

#[inline(never)]
fn inner(lock: &Mutex<u64>) -> u64 {
    *lock.lock()
}

#[inline(never)]
fn takes_twice(lock: &Mutex<u64>) {
    let mut guard = lock.lock();
    *guard += inner(lock);
}

/// Joins a thread that wants what it holds.
#[inline(never)]
fn joins(lock: Arc<Mutex<u64>>) {
    let guard = lock.lock();
    let other = Arc::clone(&lock);
    let wants = start("wants", move || println!("{}", inner(&other)));
    wants.join().expect("no thread panics");
    println!("{guard}");
}

/// Was told to go on by a condition, and then wants the mutex that another one has: it is handed over to its queue.
#[inline(never)]
fn handed_over(told: &Condvar, bids: &Mutex<u64>, asks: &Mutex<u64>) {
    let held = asks.lock();
    let mut guard = bids.lock();
    told.wait(&mut guard);
    println!("{held} {guard}");
}

/// Tells under the mutex that somebody may go on, and wants what that one holds.
#[inline(never)]
fn tells(told: &Condvar, bids: &Mutex<u64>, asks: &Mutex<u64>) {
    let guard = bids.lock();
    told.notify_one();
    println!("{} {guard}", asks.lock());
}

/// Has a lock for long, as one does that waits for an answer under it.
#[inline(never)]
fn keeps(lock: &Mutex<u64>) {
    let mut guard = lock.lock();
    rest();
    *guard += 1;
}

/// Has had the first, and wants the second.
#[inline(never)]
fn one_by_one(first: &Mutex<u64>, second: &Mutex<u64>) {
    for lock in [first, second] {
        *lock.lock() += 1;
    }
    println!("{} {}", inner(first), inner(second));
}

type Two<T> = fn(&T, &T, &Barrier);

fn of_two<T: Send + Sync + 'static>(lock: fn() -> T, run: Two<T>) {
    let both = (lock(), lock(), Barrier::new(2));
    let locks = Arc::new(both);
    let other = Arc::clone(&locks);
    start("one", move || run(&locks.0, &locks.1, &locks.2));
    start("two", move || run(&other.1, &other.0, &other.2));
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

fn sick(mode: &str) {
    match mode {
        "static" => {
            static BOTH: std::sync::LazyLock<Barrier> = std::sync::LazyLock::new(|| Barrier::new(2));
            start("one", || transfer(&BIDS, &ASKS, &BOTH));
            start("two", || transfer(&ASKS, &BIDS, &BOTH));
        }
        "arc" => of_two(|| Mutex::new(9), transfer),
        "guard" => of_two(|| Mutex::new(9), transact),
        "rwlock" => of_two(|| RwLock::new(9), refresh),
        "rwlock-written" => of_two(|| RwLock::new(9), rewrite),
        "reentrant" => of_two(|| ReentrantMutex::new(9), reenter),
        "scoped" => drop(start("owner", || scoped(transfer))),
        "fields" => {
            let (bids, asks) = (Mutex::new(9), Mutex::new(9));
            let name = "EURUSD".to_owned();
            let book = Arc::new(Book { name, bids, asks });
            let (other, both) = (Arc::clone(&book), Arc::new(Barrier::new(2)));
            let both_2 = Arc::clone(&both);
            start("one", move || book.match_bids(&both));
            start("two", move || other.match_asks(&both_2));
        }
        "upgrade" => {
            let lock = Arc::new(RwLock::new(0));
            start("one", move || upgrade(&lock));
        }
        "twice" => drop(start("one", || takes_twice(&Mutex::new(1)))),
        "join" => drop(start("joiner", || joins(Arc::new(Mutex::new(1))))),
        "handed-over" => {
            let all = Arc::new((Condvar::new(), Mutex::new(1), Mutex::new(1)));
            let other = Arc::clone(&all);
            start("one", move || handed_over(&all.0, &all.1, &all.2));
            thread::sleep(Duration::from_millis(200));
            start("two", move || tells(&other.0, &other.1, &other.2));
        }
        _ => std::process::exit(2),
    }
}

/// One keeps both locks; those that wait for one have had the other, and have let it go.
fn kept() {
    let pair = Arc::new((Mutex::new(9), Mutex::new(9)));
    for (name, turned) in [("one", false), ("two", true)] {
        let pair = Arc::clone(&pair);
        start(name, move || {
            thread::sleep(Duration::from_millis(100));
            match turned {
                false => one_by_one(&pair.0, &pair.1),
                true => one_by_one(&pair.1, &pair.0),
            }
        });
    }
    start("keeper", move || {
        let guard = pair.0.lock();
        keeps(&pair.1);
        drop(guard);
    });
}

/// One of three workers waits for work under a mutex, the others for that.
fn receivers() {
    let (sender, receiver) = mpsc::channel::<u64>();
    let receiver = Arc::new(Mutex::new(receiver));
    for name in ["worker-1", "worker-2", "worker-3"] {
        let receiver = Arc::clone(&receiver);
        start(name, move || {
            loop {
                let work = receiver.lock().recv();
                println!("{work:?}");
            }
        });
    }
    std::mem::forget(sender);
}

/// Workers at rest in a condition variable, and one that looks every now and then.
fn pool() {
    let all = Arc::new((Mutex::new(Vec::<u64>::new()), Condvar::new()));
    for name in ["worker-1", "worker-2"] {
        let all = Arc::clone(&all);
        start(name, move || {
            let mut queue = all.0.lock();
            while queue.is_empty() {
                all.1.wait(&mut queue);
            }
            println!("{}", queue.len());
        });
    }
    start("looks", move || {
        loop {
            if all.0.lock().len() > 1 {
                all.1.notify_one();
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
}

fn readers() {
    let lock = Arc::new(RwLock::new(0));
    for name in ["reader-1", "reader-2"] {
        let lock = Arc::clone(&lock);
        start(name, move || {
            loop {
                let value = lock.read();
                thread::sleep(Duration::from_millis(5));
                drop(value);
                thread::sleep(Duration::from_millis(100));
            }
        });
    }
    start("writer", move || {
        loop {
            *lock.write() += 1;
            thread::sleep(Duration::from_millis(100));
        }
    });
}

/// The locks of `arc`, taken in one order.
fn in_order() {
    let pair = Arc::new((Mutex::new(9_u64), Mutex::new(9_u64)));
    for name in ["one", "two"] {
        let pair = Arc::clone(&pair);
        start(name, move || {
            loop {
                let mut source = pair.0.lock();
                let mut sink = pair.1.lock();
                thread::sleep(Duration::from_millis(5));
                *source = source.wrapping_sub(1);
                *sink += 1;
                drop((source, sink));
                thread::sleep(Duration::from_millis(60));
            }
        });
    }
}

fn main() {
    // SAFETY: no handler.
    unsafe { alarm(300) };
    know("main");
    let mode = std::env::args().nth(1).unwrap_or_default();
    match mode.as_str() {
        // Nobody waits for itself.
        "kept" => kept(),
        "kept-scoped" => {
            start("owner", || {
                scoped(|first, second, both| {
                    if both.wait().is_leader() {
                        keeps(first);
                    } else {
                        thread::sleep(Duration::from_millis(50));
                        one_by_one(first, second);
                    }
                });
            });
        }
        "receivers" => receivers(),
        "pool" => pool(),
        "readers" => readers(),
        "in-order" => in_order(),
        sick_one => sick(sick_one),
    }
    thread::sleep(Duration::from_millis(500));
    let known = KNOWN.lock().expect("no thread panics");
    let tids: Vec<String> = known
        .iter()
        .map(|(name, tid)| format!("{name:?}:{tid}"))
        .collect();
    println!("ready {{\"pid\":{},\"tids\":{{{}}}}}", std::process::id(), tids.join(","));
    drop(known);
    rest();
}
