//! How things are called and figures are said, the same in findings, tables, pictures and JSON.

pub mod exit_note;
pub mod label;
pub mod short_name;
pub mod skipped;
pub mod text;
pub mod unanswered;
