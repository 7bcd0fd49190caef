//! `lockstep doctor`: whether this host can hold VMs well, whether its part of a site is as it should be, and
//! whether the other hosts can be reached from here. Each finding is a line with a verdict and what to do.
//!
//! Facts are gathered apart from being judged: `reading` and `probing` look, and what judges (`host`,
//! `files`, `ports`, `leftovers`, `site`, `peers`) is functions of what was seen. Nothing is changed but
//! scratch files and a scratch key, which are removed; no process of a VM is disturbed.
//!
//! Map, from below: `line` is a finding, `limits` has the bounds; then those that judge, each with the facts
//! that it is about; then those that look; `examine` is all of it in its order.
#![forbid(unsafe_code)]

mod examine;
mod files;
mod host;
mod leftovers;
pub mod limits;
mod line;
mod peers;
mod ports;
mod probing;
mod reading;
mod site;

pub use examine::{Patient, examine};
pub use line::{Line, Verdict};
