//! The agent's API: HTTP with JSON, for the command line, for programs, and for the other agents. `routes`
//! has all routes and describes them, `asking` takes requests apart, `looking` and `changing` answer them.
//! `desk` answers from the mind's last scene and has wishes made, `reservation` is what other agents ask for,
//! `door` what hosts that join ask for, `examination` what `lockstep doctor` is told, `passages` leads on to
//! VMs' processes, `release` closes a record of the arbiter, `types` are what is said, `metrics` the same for
//! Prometheus. `watch` tells of what changes: `changes` says what that is, `feed` keeps it for a while.

mod asking;
pub mod changes;
mod changing;
mod desk;
mod door;
pub mod examination;
mod feed;
mod looking;
mod metrics;
mod passages;
mod release;
mod reservation;
mod routes;
pub mod types;
mod watch;

pub use desk::{Caller, Desk};
pub use door::{Door, newcomers};
pub use feed::Feed;
pub use routes::{description, router};
