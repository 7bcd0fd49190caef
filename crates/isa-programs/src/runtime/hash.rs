//! The running hash of all that a program did, as the runtime computes it in the guest.
//!
//! Every trap and the end of a program mix into it. The golden file holds its values: it may not change.

use super::assembler::Assembler;
use crate::encode::{register::*, srli};

/// The multiplier of the running hash, which could be any odd number with bits all over.
pub const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes a register into the hash in S1, with the multiplier in S11. Clobbers T0.
pub fn mix(a: &mut Assembler, register: u32) {
    a.op(0, 4, S1, S1, register);
    a.op(1, 0, S1, S1, S11);
    a.word(srli(T0, S1, 32));
    a.op(0, 4, S1, S1, T0);
}
