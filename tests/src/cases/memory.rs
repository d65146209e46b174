//! Growth that is a leak, and growth that is none.

use super::Case;

pub(super) const CASES: &[Case] = &[];
