//! Queues, peers and descriptors of sockets.

use super::Case;

pub(super) const CASES: &[Case] = &[];
