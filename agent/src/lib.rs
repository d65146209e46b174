//! remora, the agent: loads the kernel side, watches target processes from outside and says where
//! their time goes.
//!
//! Data flows one way: `target` and `probe` touch the machine, `stack` turns addresses into names,
//! `model` holds what was seen as plain data, `analyze` judges it, `report` writes it down, `cli` ties
//! them together.

pub mod analyze;
pub mod capture;
pub mod cli;
pub mod deadline;
pub mod display;
pub mod glibc;
pub mod kernel;
pub mod model;
pub mod preflight;
pub mod probe;
pub mod python;
pub mod report;
pub mod stack;
pub mod target;
pub mod unwind;
