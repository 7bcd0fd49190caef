//! The agent's API: HTTP with JSON, for the command line, for programs, and for the other agents. `routes`
//! takes requests apart, `desk` answers from the mind's last scene and has wishes made, `reservation` is what
//! other agents ask for, `door` what hosts that join ask for, `examination` what `lockstep doctor` is told,
//! `types` are what is said, `metrics` the same for Prometheus.

mod desk;
mod door;
pub mod examination;
mod metrics;
mod reservation;
mod routes;
pub mod types;

pub use desk::{Caller, Desk};
pub use door::{Door, newcomers};
pub use routes::router;
