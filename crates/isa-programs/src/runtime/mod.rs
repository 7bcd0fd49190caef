//! The M-mode runtime: loads one program after the other, catches its traps, and prints a hash of all that
//! the program did.
//!
//! It is the same code for all programs, and deals with them by their records ([`crate::layout::record`]).
//! It uses only what every implementation has to get right before it can run anything.

mod assembler;
mod finish;
mod load;
mod trap;

pub use trap::LANDING;

use assembler::Assembler;

use crate::{encode::register::*, layout::SAVED};

/// Multiplier of the running hash; any odd number with bits all over.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The runtime's code; runs at [`crate::layout::RAM`].
#[must_use]
pub fn code() -> Vec<u8> {
    let mut a = Assembler::default();
    load::start(&mut a);
    load::program(&mut a);
    trap::handler(&mut a);
    finish::program(&mut a);
    finish::subroutines(&mut a);
    let code = a.finish();
    assert!(
        crate::layout::RAM + (code.len() as u64) <= SAVED,
        "the runtime has grown into its variables"
    );
    code
}

/// Mixes a register into the hash in S1, whose multiplier is in S11. Clobbers T0.
fn mix(a: &mut Assembler, register: u32) {
    a.op(0, 4, S1, S1, register);
    a.op(1, 0, S1, S1, S11);
    a.word(crate::encode::srli(T0, S1, 32));
    a.op(0, 4, S1, S1, T0);
}
