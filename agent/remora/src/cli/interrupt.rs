//! The first Ctrl-C (or SIGTERM, or a lost terminal) ends the capture and the report is written;
//! the second one quits at once, whatever the program is doing: signals have a thread of their own.

use super::{CANNOT_OBSERVE, FAILED, Failure, INTERRUPTED, leave, output};
use remora_process::deadline::{self, NoThreads};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{sync::Arc, thread, time::Duration};
use tokio::sync::Notify;

/// What all steps up to the report may take together after the first signal.
const HURRY: Duration = Duration::from_secs(3);

/// How long a complaint may take: nobody may be reading standard error.
const COMPLAINT: Duration = Duration::from_millis(200);

/// Listens from now on. The handle is notified at the first signal.
pub(super) fn listen() -> Result<Arc<Notify>, Failure> {
    deadline::prepare().map_err(|error| Failure::new(CANNOT_OBSERVE, error))?;
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| Failure::new(FAILED, error))?;
    let first = Arc::new(Notify::new());
    let notify = Arc::clone(&first);
    let listener = thread::Builder::new().name("signals".to_owned());
    let listen = move || {
        let mut asked = false;
        for signal in signals.forever() {
            // A terminal goes once; with it must not go the report.
            if asked && signal != SIGHUP {
                quit();
            }
            asked |= signal != SIGHUP;
            deadline::hurry(HURRY);
            notify.notify_one();
        }
    };
    listener
        .spawn(listen)
        .map_err(|_| Failure::new(CANNOT_OBSERVE, NoThreads))?;
    Ok(first)
}

/// Ends the process. What it says is said by a thread of its own, for standard error may block; where no thread can
/// be had, it goes without a word.
fn quit() -> ! {
    let speaker = thread::Builder::new().name("last word".to_owned());
    let say = || output::complain("quit: the report was not written");
    if let Ok(said) = speaker.spawn(say) {
        let steps = 20;
        for _ in 0..steps {
            if said.is_finished() {
                break;
            }
            thread::sleep(COMPLAINT / steps);
        }
    }
    leave::at_once(INTERRUPTED)
}
