//! The floating-point unit: IEEE 754 binary32 and binary64 as RISC-V F and D define them.
//!
//! Every function is pure: operand bits, a rounding mode and the accrued flags go in, result bits and
//! flags come out. The instruction layer reads registers (`unbox32`), picks the rounding mode and writes
//! the flags back into `fcsr`.
//!
//! `soft` computes everything with integers and is the definition. `fast` answers some operations with the
//! host's own arithmetic where result and flags provably equal those of `soft`; the functions here choose.
//! Nothing here may read or write the host's floating-point control register, produce a NaN other than the
//! canonical one, or call a function whose rounding depends on the host's library.
//!
//! Section numbers refer to the RISC-V Unprivileged ISA manual, chapters "F" and "D", version 2.2.

mod arithmetic;
mod compare;
mod convert;
mod fast;
mod format;
mod host;
pub mod soft;
mod status;

pub use arithmetic::{
    add, div, fused_multiply_add, fused_multiply_subtract, fused_negate_multiply_add,
    fused_negate_multiply_subtract, mul, sqrt, sub,
};
pub use compare::{
    classify, equal, less_or_equal, less_than, maximum, minimum, sign_inject, sign_inject_negated,
    sign_inject_xor,
};
pub use convert::{from_i32, from_i64, from_u32, from_u64, narrow, to_i32, to_i64, to_u32, to_u64, widen};
pub use format::{Format, box32, unbox32};
pub use status::{Flags, Rounding};
