//! Hosts and processes that make it hard to look: real-time threads, dead file systems, frozen groups, full tables.
//! Each is a *cell* of a matrix, in which every command must end in time, say what it could not see, and leave
//! nothing behind. Whatever a cell changes of the machine is put back when its guard is dropped, panic or not.

use std::io::Write;

mod attempt;
pub mod group;
pub mod kernel;
pub mod matrix;
pub mod mount;
pub mod setting;
pub mod target;

/// Says what of the machine could not be put back. A guard must not panic, and the test runner shows nothing else of a
/// test that passes.
fn not_put_back(what: &str) {
    drop(writeln!(std::io::stderr(), "not put back: {what}"));
}
