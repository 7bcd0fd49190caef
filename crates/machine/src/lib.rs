//! The computer: harts, bus, devices, boot, snapshot. Inputs in, effects out. Knows no log and no host.
//!
//! The guest is a function: the state at step *n* depends only on the [`Config`] and on the inputs injected
//! at steps *<= n*. Nothing here reads a clock, a file or a random number.
//!
//! Map: [`Machine`] is the surface, and what goes through it ([`Config`], [`Input`], [`Effect`], [`Digest`])
//! stands beside it; `board` is the address map; `device` is what a device is and `devices` and `virtio` are
//! those of the board; `boot` loads firmware and kernel; `snapshot`, `digest` and `diff` look at all state
//! through the one field list of each component; `pages` knows what is known about each page of RAM, which
//! digests and clones (`machine/memory`) need.
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

mod batch;
mod board;
mod boot;
pub mod clock;
pub mod config;
mod device;
mod devices;
#[cfg(feature = "parts")]
mod diff;
mod digest;
mod effect;
mod input;
mod irq;
pub mod limits;
mod machine;
mod narrow;
mod pages;
mod snapshot;
mod virtio;

/// The model: a number for the function that a machine computes, with the fields of its state. It becomes
/// another one when, and only when, the same inputs could give another digest; two machines of different
/// models are no copies of each other, whatever their releases. Recorded lives tell whether a build computes
/// the model that it names here (`tests/models`, docs/testing.md).
pub const MODEL: u32 = 1;

pub use batch::{Batch, PageContent};
pub use boot::BootError;
pub use clock::Clock;
pub use config::{Boot, Config, DiskConfig, NetConfig, Transport};
pub use digest::{Digest, Part};
pub use effect::{Data, DiskOperation, DiskRequest, Effect, PowerState};
pub use hart::{
    Cut, Step,
    ram::{OutOfHostMemory, OutOfRam, PAGE},
};
pub use input::{Control, DiskStatus, Input};
pub use machine::{Machine, Stop};
pub use pages::Copied;
pub use snapshot::{RestoreError, SnapshotWriter};

/// The machine's parts one by one, for the tests of a single device, for the fuzzer and for this crate's
/// examples. No program needs them: a machine is used through [`Machine`].
#[cfg(feature = "parts")]
pub mod parts {
    pub use crate::{
        boot::fdt,
        device::{Device, Reach},
        devices::{
            Aclint, Plic, Rtc, Syscon, Uart,
            syscon::PowerRequest,
            uart::{FIFO_BYTES, TYPED_MAX},
        },
        diff::{Difference, diff},
        digest::page_digest,
        effect::Effects,
        irq::{IrqLines, Line},
        machine::QUANTUM,
        snapshot::{restore_part, save_part},
        virtio::{Accepted, Broken, Function, Rings, Slot, VirtioMmio, limits},
    };
}
