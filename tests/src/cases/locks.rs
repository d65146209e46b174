//! Deadlocks and lock contention.

use super::Case;

pub(super) const CASES: &[Case] = &[];
