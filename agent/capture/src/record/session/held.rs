//! The kernel side while a capture has it: whichever way that ends, the programs are detached within a limit.

use remora_probe::Probe;
use remora_process::deadline::{self, Step, Subject};
use std::ops::{Deref, DerefMut};

/// A probe that is let go of on a thread that nobody joins.
pub(crate) struct Held(Option<Probe>);

impl Held {
    pub(super) const fn new(probe: Probe) -> Self {
        Self(Some(probe))
    }
}

impl Deref for Held {
    type Target = Probe;

    fn deref(&self) -> &Probe {
        self.0.as_ref().expect("taken by the end alone")
    }
}

impl DerefMut for Held {
    fn deref_mut(&mut self) -> &mut Probe {
        self.0.as_mut().expect("taken by the end alone")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let probe = self.0.take();
        let _detached = deadline::run(Step::Detach, Subject::Host, move || drop(probe));
    }
}
