//! A `std::sync::Mutex` that one thread holds for long and two wait for: a futex whose memory names nobody.

use std::{sync::Mutex, thread, time::Duration};

static MUTEX: Mutex<u64> = Mutex::new(0);

fn hold() -> ! {
    loop {
        let mut guard = MUTEX.lock().expect("no thread panics");
        *guard += 1;
        thread::sleep(Duration::from_millis(30));
        drop(guard);
        thread::sleep(Duration::from_millis(2));
    }
}

fn wait() -> ! {
    loop {
        *MUTEX.lock().expect("no thread panics") += 1;
        thread::sleep(Duration::from_millis(1));
    }
}

fn main() {
    let start = |name: &str, run: fn() -> !| {
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(move || run()).expect("a thread")
    };
    start("holder", hold);
    start("waiter-1", wait);
    start("waiter-2", wait);
    println!("ready {{\"pid\":{},\"tids\":{{}}}}", std::process::id());
    thread::sleep(Duration::from_secs(60));
}
