//! System calls for which the standard library and safe crates have no words.
//!
//! This is the only place of the crate where `unsafe` may stand; each file begins with its safety argument.

pub mod clock;
pub mod descriptors;
pub mod memory;
pub mod socket;
pub mod tun;
pub mod turn;
