//! Where a target stands among the processes of the host.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A process that is related to a target.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Relative {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// How long it had lived when the capture began.
    pub age: Duration,
}

/// The relatives of a target when the capture began.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ProcessTree {
    /// The target.
    pub pid: u32,
    /// How long it had lived.
    pub age: Duration,
    /// Its parent, the parent's parent, and so on, up to the first process.
    pub ancestors: Vec<Relative>,
    /// Its children, the oldest first.
    pub children: Vec<Relative>,
    /// Children beyond those.
    pub children_left_out: usize,
}
