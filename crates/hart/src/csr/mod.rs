//! Control and status registers: a table of contents.
//!
//! `number` has their numbers, `registers` those that are storage, `envcfg` what two of them allow, `access`
//! what an instruction reads and writes that names one.
//!
//! The interpreter does each CSR instruction by way of `access` (`interp/system.rs`); generated code itself
//! accesses only registers that just hold a value and `sstatus`, as `registers` describes them; `trap`
//! changes registers when a trap is taken. Nothing here may depend on the host, and nothing here drops a
//! cache: what a write makes the engine do is what `access` answers ([`After`]).

mod access;
mod envcfg;
pub mod number;
mod registers;

pub use access::{After, modified, permitted, read, write};
pub use registers::{Csrs, DIRTY_TO_SD, FCSR, PC_MASK, STATUS_BITS, STATUS_GRAVE, interrupt, plain, status};
