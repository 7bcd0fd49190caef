//! The emitter: writes x86-64 machine code, one function for each form of an instruction that the translator
//! uses.
//!
//! The emitter knows the encoding (Intel SDM volume 2) and nothing else: no RISC-V, no guest and no pointer.
//! It appends bytes to a vector and keeps the places inside them where jumps end. Each form is checked
//! against a disassembler in `tests`.
//!
//! Map, from the bottom up: `operand` has the registers, operands and conditions by name; `emitter` has the
//! [`Emitter`], the encoding of operands and the forms that move and compute; `bits`, `jump` and `vector`
//! have the other forms.

mod bits;
mod emitter;
mod jump;
mod operand;
#[cfg(test)]
mod tests;
mod vector;

pub use bits::{Bit, Count, Rotate};
pub use emitter::Emitter;
pub use jump::Jump;
pub use operand::*;
pub use vector::Vex;
