//! The first Ctrl-C (or SIGTERM, or a lost terminal) ends the capture and the report is written;
//! the second one quits at once.

use std::{io, process::exit, sync::Arc};
use tokio::{
    select,
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

/// Exit code of a program that Ctrl-C ended: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Listens from now on, beside the main thread. The handle is notified at the first signal.
pub fn listen() -> io::Result<Arc<Notify>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let first = Arc::new(Notify::new());
    let notify = Arc::clone(&first);
    tokio::spawn(async move {
        let mut signals = 0;
        loop {
            select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                // A terminal goes once; with it must not go the report.
                _ = hang_up.recv() => { notify.notify_one(); continue; }
            }
            signals += 1;
            if signals > 1 {
                super::output::complain("quit: the report was not written");
                exit(INTERRUPTED);
            }
            notify.notify_one();
        }
    });
    Ok(first)
}
