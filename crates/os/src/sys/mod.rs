//! What the standard library has no safe words for. The only place of this crate where `unsafe` may stand.

pub mod clock;
pub mod memory;
pub mod tun;
