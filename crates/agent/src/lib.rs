//! The agent of a host, as people, programs and other agents call it. What it sees and does is the crate
//! `controller`, what it thinks the crate `plan`; which host is one of the site, and how agents are called,
//! is the crate `membership`.
//!
//! Map, from below: `limits` has all bounds; `releasing` closes a record of the arbiter; `passage` leads on
//! to VMs' processes; `speed` has this host's speed measured; `api` answers; `serve` is all of it together.
#![forbid(unsafe_code)]

mod api;
pub mod limits;
mod passage;
pub mod releasing;
mod serve;
mod speed;

pub use api::{changes, description, examination, types};
pub use controller::keeper::{create as create_store, has_host, has_hosts, try_store};
pub use controller::{HangFacts, Program, VmFacts};
pub use serve::{AgentError, serve};
pub use speed::SPEED;
