//! Executes RV64GC instructions, and those of the extensions in [`isa`], against RAM. Interpreter, MMU,
//! floating point. Knows no device.
//!
//! Map: [`step`] is the guest's only clock; [`ram`] is guest memory (unsafe island 1); [`bus`] is the seam to
//! the devices; [`engine`] is the seam between the machine and whatever executes instructions; [`state`] is
//! the one list of fields that save, restore, digest and diff share. [`hart`] with `csr`, [`trap`] and
//! [`pmp`] is the architecture; [`decode`] makes [`op`]s of instruction bits, [`interp`] executes them, `jit`
//! makes machine code of what runs often (unsafe island 2); [`mmu`] walks page tables and remembers them in
//! [`tlb`] (and in `groups`, where in it), `tables` says what a store to them makes stale. [`profile`] counts
//! and samples for people; [`fpu`] computes; [`disasm`] and [`isa`] are for people and for the device tree.
//!
//! Invariant: an engine holds no guest state. Dropping it between any two calls cannot be observed.
//! Invariant: caches (TLB, decoded code) are coherent with RAM, as if they were always empty
//! (docs/determinism.md).

#![deny(clippy::float_arithmetic)]

pub mod bus;
mod csr;
pub mod decode;
pub mod disasm;
pub mod engine;
pub mod fpu;
pub mod hart;
pub mod interp;
pub mod isa;
mod jit;
pub mod mmu;
pub mod op;
mod page_tables;
pub mod pmp;
mod privilege;
pub mod profile;
mod pte;
pub mod ram;
pub mod space;
pub mod state;
pub mod step;
pub mod tlb;
pub mod trap;

pub use bus::{Access, Bus, BusError, Lines, Width};
pub use engine::{Cut, Engine, Exit, Reason};
pub use hart::Hart;
pub use interp::{Interpreter, InterpreterOptions, Translate};
pub use jit::{CODE_MAX, NoTranslation, can_translate};
pub use privilege::Privilege;
pub use ram::Ram;
pub use state::{Visit, Visitor};
pub use step::Step;
