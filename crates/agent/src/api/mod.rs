//! The agent's API: HTTP with JSON, for the command line, for programs, and for the other agents. `routes`
//! takes requests apart with `request`, `desk` answers from the mind's last scene and has wishes made,
//! `reservation` is what other agents ask for, `passages` leads on to VMs' processes, `release` closes a
//! record of the arbiter, `types` and `problem` are what is said, `metrics` the same for Prometheus.

mod desk;
mod metrics;
mod passages;
pub mod problem;
mod release;
mod request;
mod reservation;
mod routes;
pub mod types;

pub use desk::{Caller, Desk};
pub use routes::router;
