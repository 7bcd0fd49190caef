//! The simulated world: the same `Node` that the host drives, in a world drawn from a seed.
//!
//! Time is virtual, everything that takes time or can go wrong is drawn, and every action of every node is
//! watched by checkers that trust nobody. A seed and a commit replay exactly (docs/testing.md). So nothing
//! here may read a clock, start a thread or depend on the order of a hashed container.
//!
//! Map, from below: `faults` and `host` are words that all use, as are `names`, `operation` and `random`,
//! which come from the crates below. The nodes talk to `network`, `storage`, `arbiter` (`toy-outside`) and to
//! `client`; `toy_server` and `bare` are the guests, watched through `subject`; `checker` judges. `options`
//! say how a world behaves; `draw` and `draw_agents` draw them. `world` holds a world and its `schedule`;
//! `turns` and `carry` are how processes live in it, `forming` how two of them become a pair, with the words
//! of `founder`, `joining` how one becomes the backup of a guest that runs, for which `protecting` sees, or
//! `agents` with a site of them (crate `toy-site`); `keeping` is how `snapshots` of it are taken,
//! `surroundings` how the rest acts, `mishap` how faults happen; `course` lets time pass. `run` is a whole
//! life: unsafe at first, then healed; `sweep` and `broken` run many.
#![forbid(unsafe_code)]

mod agents;
pub mod bare;
#[cfg(feature = "mutations")]
pub mod broken;
mod carry;
pub mod checker;
pub mod client;
mod course;
mod draw;
mod draw_agents;
pub mod faults;
mod forming;
pub mod founder;
mod halting;
pub mod host;
mod joining;
pub mod keeper;
mod keeping;
mod mishap;
pub mod notices;
pub mod options;
pub mod process;
mod protecting;
pub mod run;
mod schedule;
mod snapshots;
pub mod subject;
mod surroundings;
pub mod sweep;
pub mod toy_server;
pub mod trace;
mod turns;
pub mod world;

pub use checker::{Check, Violation};
pub use names::{HostId, ProcessId};
pub use options::Options;
pub use run::Outcome;
pub use toy::random;
pub use toy_outside::{arbiter, cache, names, network, operation, storage};
pub use toy_server::Toy;
pub use world::World;
