//! Loops, CPUs, system calls and stops.

use super::Case;

pub(super) const CASES: &[Case] = &[];
