//! Why a finding was not looked for, in words.

use super::text::duration;
use crate::{SkipReason, Skipped};
use std::time::Duration;

/// A sentence.
pub fn why(reason: &SkipReason) -> String {
    match reason {
        SkipReason::TooShort { captured, needed } => format!(
            "{} is too short for a memory trend: it needs {}",
            duration(*captured),
            duration(*needed)
        ),
        SkipReason::NoGrowth { needed } => format!(
            "growth needs a capture of {}; the limit was checked",
            duration(*needed)
        ),
        SkipReason::Starting { process, needed } => format!(
            "{process} was younger than {}: growth at the start is normal",
            duration(*needed)
        ),
        SkipReason::NoReceiveTime { sockets } => {
            format!("{sockets}: the kernel does not record when such a socket received last")
        }
        SkipReason::NotSampled { thread } => thread.clone(),
    }
}

/// For a list: `memory_leak (needs 30 s)`.
pub fn short(skipped: &Skipped) -> String {
    let name = skipped.kind.name();
    match &skipped.why {
        SkipReason::TooShort { needed, .. } => format!("{name} (needs {})", whole(*needed)),
        SkipReason::NoGrowth { needed } => format!("{name} growth (needs {})", whole(*needed)),
        SkipReason::Starting { process, needed } => {
            format!("{name} ({process} is younger than {})", whole(*needed))
        }
        SkipReason::NoReceiveTime { sockets } => {
            format!("{name} of {sockets} (no receive time)")
        }
        SkipReason::NotSampled { thread } => format!("{name} ({thread})"),
    }
}

/// A time without a fraction where it has none.
fn whole(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds @ 1..120, 0) => format!("{seconds} s"),
        _ => duration(time),
    }
}
