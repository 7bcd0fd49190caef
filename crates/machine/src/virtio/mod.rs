//! virtio devices behind virtio-mmio: block, network, entropy (VIRTIO 1.2).
//!
//! [`mmio`] is the transport, once; [`queue`] and [`chain`] turn guest memory into checked buffers; one file
//! per device function implements [`Function`], and a [`Slot`] of the board holds one device. A store to
//! QueueNotify makes the function take every buffer that is there and emit effects; answers come in later
//! through the named methods of [`VirtioMmio`] (`complete`, `receive`), at an input's step. Both happen on
//! the guest's thread, and guest memory is touched at no other time (FT 3.4-b).
//!
//! Nothing here may panic, loop without bound or allocate without bound, whatever the guest or a peer
//! sends: the backup would replay it (docs/style.md E2).
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    clippy::panic
)]

pub mod blk;
pub mod chain;
pub mod features;
mod fields;
pub mod function;
pub mod limits;
pub mod mmio;
pub mod net;
pub mod queue;
mod registers;
pub mod rng;
pub mod slot;

pub use chain::Broken;
pub use features::{Accepted, TransportFeatures};
pub use function::{Function, Rings};
pub use mmio::VirtioMmio;
pub use queue::Queue;
pub use slot::Slot;
