//! The computer: harts, bus, devices, boot, snapshot. Inputs in, effects out. Knows no log and no host.
//!
//! The guest is a function: the state at step *n* depends only on the [`config::Config`] and on the inputs
//! injected at steps *<= n*. Nothing here reads a clock, a file or a random number.

pub mod clock;
pub mod config;
pub mod device;
pub mod effect;
pub mod input;
pub mod irq;

pub use clock::Clock;
pub use config::{Boot, Config, DiskConfig, NetConfig};
pub use effect::{DiskOperation, DiskRequest, Effect, Effects, PowerState};
pub use hart::{Ram, Step, Visit, Visitor, Width};
pub use input::{Control, DiskStatus, Input};
