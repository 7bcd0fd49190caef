//! The M-mode runtime: loads one program after the other, catches its traps, and prints a hash of all that
//! the program did.
//!
//! [`image`](crate::image::image) puts this code at the start of every image, before the programs' records; a
//! machine runs it as its firmware. It is the same code for all programs, and deals with them by their
//! records ([`crate::layout::record`]). It must never use anything but what every implementation has to get
//! right before it can run anything; nor let one program see what another did.

mod assembler;
mod finish;
mod hash;
mod load;
mod trap;

pub use trap::LANDING;

use assembler::Assembler;

use crate::layout::SAVED;

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
