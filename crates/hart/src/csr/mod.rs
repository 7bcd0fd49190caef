//! Control and status registers: a table of contents.
//!
//! `number` has their numbers, `registers` those that are storage, `envcfg` what two of them allow, `access`
//! what an instruction reads and writes that names one.

mod access;
mod envcfg;
pub mod number;
mod registers;

pub use access::{After, modified, permitted, read, write};
pub use registers::{Csrs, DIRTY_TO_SD, PC_MASK, STATUS_BITS, STATUS_GRAVE, interrupt, plain, status};
