//! Memory with an allowance: however the target has woven its objects, a look at them ends.

use crate::memory::Memory;
use std::cell::Cell;

/// What one read costs beside its bytes: the system call, in bytes that it could have copied.
const READ_COST: u64 = 64;

/// Memory that can be read for so many bytes and no more.
#[derive(Debug)]
pub struct Metered<'m, M> {
    memory: &'m M,
    left: Cell<u64>,
    exhausted: Cell<bool>,
}

impl<'m, M: Memory> Metered<'m, M> {
    /// An allowance of `bytes`; a read takes at least 64 of them.
    pub fn new(memory: &'m M, bytes: u64) -> Self {
        Self {
            memory,
            left: Cell::new(bytes),
            exhausted: Cell::new(false),
        }
    }

    /// Whether a read was refused for want of allowance.
    pub fn exhausted(&self) -> bool {
        self.exhausted.get()
    }
}

impl<M: Memory> Memory for Metered<'_, M> {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        let cost = (buffer.len() as u64).max(READ_COST);
        let Some(left) = self.left.get().checked_sub(cost) else {
            self.exhausted.set(true);
            return None;
        };
        self.left.set(left);
        self.memory.read(address, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Zeroes;

    impl Memory for Zeroes {
        fn read(&self, _: u64, buffer: &mut [u8]) -> Option<()> {
            buffer.fill(0);
            Some(())
        }
    }

    #[test]
    fn the_allowance_ends() {
        let memory = Metered::new(&Zeroes, 200);
        assert_eq!(memory.u64(8), Some(0), "64");
        assert_eq!(memory.bytes::<100>(8), Some([0; 100]), "164");
        assert!(!memory.exhausted());
        assert_eq!(memory.u64(8), None);
        assert!(memory.exhausted());
    }
}
