//! Random bare-metal programs of RV64GC and the extensions in `hart::isa`, to compare two
//! implementations of the instruction set.
//!
//! A [`Program`] follows from a seed: initial registers, an address space, protection, a thousand
//! instructions of everything there is. [`mod@image`] packs many of them behind one M-mode runtime into a
//! flat image that any board like QEMU's `virt` runs with no other firmware: it prints one hash for each
//! program, over all traps, registers, CSRs and memory. Two machines that print the same did the same.
//!
//! Map: [`program`] draws a program; `units` are what its code consists of, `stream` holds the code;
//! `space` and `protection` are its memory; [`runtime`] is the guest code around it, [`layout`] what both
//! sides know.
//!
//! Invariant: nothing here knows an implementation. What is legitimately different between implementations
//! is not generated (docs/isa.md).

pub mod encode;
pub mod image;
pub mod layout;
pub mod program;
mod protection;
pub mod random;
pub mod runtime;
mod space;
mod stream;
mod units;
pub mod values;

pub use image::image;
pub use program::Program;
