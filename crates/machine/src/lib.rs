//! The computer: harts, bus, devices, boot, snapshot. Inputs in, effects out. Knows no log and no host.
//!
//! The guest is a function: the state at step *n* depends only on the [`config::Config`] and on the inputs
//! injected at steps *<= n*. Nothing here reads a clock, a file or a random number.

//!
//! Map: [`machine`] is the whole public surface; [`board`] is the address map; [`device`] is what a device is
//! and [`devices`] are those of the board; [`boot`] loads firmware and kernel; [`snapshot`], [`digest`] and
//! [`mod@diff`] look at all state through the one field list of each component.
//!
//! Invariant: no panic is reachable from the guest, from an input or from the bytes of a snapshot.

#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::panic,
    clippy::float_arithmetic
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::as_conversions,
        clippy::panic,
        reason = "a test may fail"
    )
)]

pub mod board;
pub mod boot;
pub mod clock;
pub mod config;
pub mod device;
pub mod devices;
pub mod diff;
pub mod digest;
pub mod effect;
pub mod input;
pub mod irq;
pub mod machine;
mod narrow;
pub mod snapshot;
pub mod virtio;

pub use boot::BootError;
pub use clock::Clock;
pub use config::{Boot, Config, DiskConfig, NetConfig};
pub use diff::{Difference, diff};
pub use digest::{Digest, Part};
pub use effect::{Data, DiskOperation, DiskRequest, Effect, Effects, PowerState};
pub use hart::{Cut, Ram, Step, Visit, Visitor, Width};
pub use input::{Control, DiskStatus, Input};
pub use machine::{Machine, Stop};
pub use snapshot::RestoreError;
