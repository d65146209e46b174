//! The end of the process, whatever its threads hang in.
//!
//! A thread that waits in the kernel where not even SIGKILL ends the wait (a page of a dead file system, say) keeps the
//! process in the list of processes, and would keep all that its descriptors hold: programs would stay attached. So
//! the descriptors are closed first.

use crate::deadline;
use syscalls::{Sysno, syscall};

/// Ends the process now: no destructor runs, nothing is flushed.
pub fn at_once(code: i32) -> ! {
    // Threads that find their descriptors gone have nothing to say.
    std::panic::set_hook(Box::new(|_| {}));
    // SAFETY: no thread that still runs may rely on its descriptors: the process ends in the next line.
    let _closed = unsafe { syscall!(Sysno::close_range, 3, u32::MAX, 0) };
    signal_hook::low_level::exit(code)
}

/// The same, if a thread hangs; else the caller ends the process as usual.
pub fn if_something_hangs(code: u8) {
    if deadline::anything_hangs() {
        at_once(code.into());
    }
}
