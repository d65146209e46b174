//! The watched processes as the machine shows them: the only module, beside `probe`, that reads it.

pub mod maps;
