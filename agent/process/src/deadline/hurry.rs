//! The user wants the report now: the first Ctrl-C or SIGTERM shortens all waits that are left.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

static UNTIL: OnceLock<Instant> = OnceLock::new();

/// From now on all steps together may take so long; the first call counts.
pub fn hurry(time: Duration) {
    let _the_first_counts = UNTIL.set(Instant::now() + time);
}

/// The moment at which the time is over; `None`: nobody is in a hurry.
pub(super) fn until() -> Option<Instant> {
    UNTIL.get().copied()
}

/// How long a wait of `wanted` may last now.
pub fn left(wanted: Duration) -> Duration {
    let hurried = until().map(|until| until.saturating_duration_since(Instant::now()));
    hurried.map_or(wanted, |left| left.min(wanted))
}
