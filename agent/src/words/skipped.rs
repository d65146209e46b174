//! Why a finding was not looked for, in words.

use super::text::duration;
use crate::model::SkipReason;

/// A sentence.
pub fn why(reason: &SkipReason) -> String {
    match reason {
        SkipReason::TooShort { captured, needed } => format!(
            "{} is too short for a trend of memory: {} at least",
            duration(*captured),
            duration(*needed)
        ),
        SkipReason::NoGrowth { needed } => format!(
            "a rise is told in {} or longer; that the limit is near was looked at",
            duration(*needed)
        ),
        SkipReason::Starting { process, needed } => format!(
            "{process} was younger than {}: it is starting, and its growth says nothing",
            duration(*needed)
        ),
        SkipReason::NoReceiveTime { sockets } => {
            format!("{sockets}: when such a socket received last is not recorded by the kernel")
        }
    }
}
