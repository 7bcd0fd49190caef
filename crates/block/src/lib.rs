//! Disks over a network: what a disk server and its clients say to each other, as bytes, and who of them may
//! change a disk.
//!
//! `nbd` is the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md) of both ends, as state machines that take
//! bytes and give bytes. `ask` is what Lockstep says inside it: which epoch of which VM a client is, and what
//! a fencing server answers. `fence` decides, for one VM, which connections may change its disks, and what
//! must be over before a newer epoch is told that it has them (FT 2.3-e).
//!
//! Nothing here has a socket, a thread, a clock or a file: `disk-server` and `disk` have these. No byte that
//! arrives is believed, and none can cause a panic or an allocation beyond `limits`.
#![forbid(unsafe_code)]

pub mod ask;
pub mod control;
pub mod fence;
pub mod limits;
pub mod nbd;
mod wire;

pub use ask::{Answer, Ask, Mode, Token};
pub use fence::{Fence, Lane, Need, Refusal, Standing, Time};
