//! Waiting that can be interrupted.
//!
//! The harness changes a kernel setting and owns a handful of processes. Ctrl-C must undo both, so
//! signals only raise a flag, every wait looks at it, and the error unwinds through the owners.

use anyhow::{Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest time until a signal is noticed. Coarse: the harness should not itself disturb.
const SLICE: Duration = Duration::from_millis(100);

/// How often a condition is looked at; only outside measured windows.
const POLL: Duration = Duration::from_millis(20);

/// The only place where the harness waits.
pub struct Clock {
    interrupted: Arc<AtomicBool>,
}

impl Clock {
    /// Takes over Ctrl-C, SIGTERM and SIGHUP; a second one of them ends the harness at once.
    pub fn install() -> Result<Self> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // In this order: the first sets the flag that arms the second's.
            signal_hook::flag::register_conditional_shutdown(signal, 130, interrupted.clone())?;
            signal_hook::flag::register(signal, interrupted.clone())?;
        }
        Ok(Self { interrupted })
    }

    /// Whether a signal has come.
    pub fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Waits.
    ///
    /// # Errors
    /// When a signal comes.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            if self.interrupted() {
                bail!("interrupted");
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(SLICE));
        }
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// When it has not within `limit`, when it fails, or when a signal comes.
    pub fn until(
        &self,
        limit: Duration,
        what: &str,
        mut ready: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let end = Instant::now() + limit;
        while !ready()? {
            if Instant::now() > end {
                bail!("{what}: not within {} s", limit.as_secs());
            }
            self.sleep(POLL)?;
        }
        Ok(())
    }
}
