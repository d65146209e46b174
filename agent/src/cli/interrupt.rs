//! The first Ctrl-C (or SIGTERM, or a lost terminal) ends the capture and the report is written;
//! the second one quits at once, whatever the program is doing: signals have a thread of their own.

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{io, process::exit, sync::Arc, thread};
use tokio::sync::Notify;

/// Exit code of a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Listens from now on. The handle is notified at the first signal.
pub fn listen() -> io::Result<Arc<Notify>> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let first = Arc::new(Notify::new());
    let notify = Arc::clone(&first);
    let listener = thread::Builder::new().name("signals".to_owned());
    listener.spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            // A terminal goes once; with it must not go the report.
            if asked && signal != SIGHUP {
                super::output::complain("quit: the report was not written");
                exit(INTERRUPTED);
            }
            asked |= signal != SIGHUP;
            notify.notify_one();
        }
    })?;
    Ok(first)
}
