//! The virtio devices, seen from the driver's side.
//!
//! `rig` is a driver-side double: it sets up queues through the registers and owns the rings. `suite` runs
//! the same checks over every device, `hostile` plays broken guests and peers in a `world`, which the fuzzer
//! shares.

mod blk;
mod hostile;
mod legacy;
mod mmio;
mod net;
mod queue;
mod rig;
mod rng;
mod state;
mod suite;
mod world;
