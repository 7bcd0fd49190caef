//! Executes RV64GC instructions, and those of the extensions in [`isa`], against RAM. Knows no device.
//!
//! The machine calls [`Engine::run`] with a [`Hart`] and the [`Environment`] that it runs in, and gets back
//! after so many steps. What happens in between, file by file, from below:
//!
//! - `limits` has every named maximum. `step` is the guest's only clock. `state` is the one list of fields
//!   that save, restore, digest and diff share. `ram` is guest memory, one of the places where unsafe code
//!   may stand (docs/style.md, U1). `bus` is the seam to the devices, `engine` the seam between the machine
//!   and whatever executes instructions.
//! - `hart` is the state of one hart, with `privilege`, `csr` and `pmp`; `trap` is what an exception or
//!   interrupt does to it.
//! - `decode` makes an `op` of an instruction's bits. `fpu` computes what floating-point instructions do.
//! - `mmu` translates addresses: `space` says what a translation depends on, `pte` what an entry of a page
//!   table means, `tlb` remembers translations, `page_tables` knows what a store to a page table makes wrong
//!   of them.
//! - `interp` executes ops and is the definition of what they do. `jit` makes machine code of what runs often
//!   (docs/translator.md), and is another such place.
//! - `profile` counts and samples for people (docs/profiling.md), `disasm` shows them instructions, `isa`
//!   names what is implemented for the device tree.
//!
//! Invariant: an engine holds no guest state. Dropping it between any two calls cannot be observed.
//! Invariant: caches (TLB, decoded code, machine code) are coherent with RAM, as if they were always empty
//! (docs/determinism.md).

#![deny(clippy::float_arithmetic)]

mod bus;
mod csr;
mod decode;
mod disasm;
mod engine;
mod fpu;
mod hart;
mod interp;
pub mod isa;
mod jit;
pub mod limits;
mod mmu;
mod op;
mod page_tables;
mod pmp;
mod privilege;
pub mod profile;
mod pte;
pub mod ram;
mod space;
pub mod state;
mod step;
mod tlb;
mod trap;

pub use bus::{Access, Bus, BusError, Lines, Width};
pub use engine::{Cut, Engine, Environment, Exit, Reason};
pub use hart::Hart;
pub use interp::{Interpreter, InterpreterOptions, Translate};
pub use jit::{CODE_MAX, NoTranslation, can_translate};
pub use privilege::Privilege;
pub use ram::Ram;
pub use state::{Visit, Visitor};
pub use step::Step;

/// What the comparison with other implementations looks at one by one: decoding for the fuzzer and for the
/// programs that QEMU runs too, floating point for Berkeley SoftFloat. No program needs it.
#[cfg(feature = "parts")]
pub mod parts {
    /// From the bytes of an instruction to its op.
    pub mod decode {
        pub use crate::decode::*;
    }
    /// From an op to text.
    pub mod disasm {
        pub use crate::disasm::*;
    }
    /// What floating-point instructions compute.
    pub mod fpu {
        pub use crate::fpu::*;
    }
    /// The ops that the interpreter executes.
    pub mod op {
        pub use crate::op::*;
    }
}
