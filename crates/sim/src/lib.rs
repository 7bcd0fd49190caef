//! The simulated world: the same `Node` that the host drives, in a world drawn from a seed.
//!
//! Time is virtual, everything that takes time or can go wrong is drawn, and every action of every node is
//! watched by checkers that trust nobody. A seed and a commit replay exactly (docs/testing.md).
//!
//! `world` is the event heap and the two processes; `network`, `storage`, `arbiter` and `client` are what the
//! nodes talk to; `faults` says what goes wrong; `subject` and `toy` are the guests; `checker` judges; `run` is
//! a whole life: unsafe at first, then healed.
#![forbid(unsafe_code)]

pub mod arbiter;
#[cfg(feature = "mutations")]
pub mod broken;
mod carry;
pub mod checker;
pub mod client;
pub mod faults;
pub mod network;
pub mod process;
pub mod random;
pub mod run;
pub mod storage;
pub mod subject;
pub mod sweep;
pub mod toy;
pub mod trace;
pub mod world;

pub use checker::{Check, Violation};
pub use faults::Options;
pub use run::Outcome;
pub use toy::Toy;
pub use world::{Side, World};
