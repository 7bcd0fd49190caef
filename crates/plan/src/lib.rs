//! What an agent does next for a VM, which host gets its backup, and what people are told of it: the part
//! of an agent that only thinks. The agent fills in what it sees, carries out what is decided here, and shows
//! the faces; the simulator does the same with hosts that it has drawn.
//!
//! Map, from below: `limits` has all bounds, `moment` the times that people see, `host` what is known of a
//! host, `why` every reason and `sentences` its words, `backoff` what is remembered of failures, `placement`
//! which host suits a VM, `health` when a VM is better off elsewhere, `hang` whether its guest hangs,
//! `operation` what somebody has begun, `vm` what is wanted and seen of a VM. `action` and `decision` are
//! what comes out, and `memory` is what an agent remembers from one look to the next; `obtain`, `swap`,
//! `draining`, `start`, `killing`, `watchdog` and `course` are the rules, `planner` is their head, `face`
//! what is shown.
//!
//! Nothing here reads a clock or a file, waits, or draws a random number: what goes in decides what comes
//! out.
#![forbid(unsafe_code)]

mod action;
mod backoff;
mod course;
mod decision;
mod draining;
mod face;
mod hang;
mod health;
mod host;
mod killing;
pub mod limits;
mod memory;
mod moment;
mod obtain;
mod operation;
mod placement;
mod planner;
mod sentences;
mod start;
mod swap;
mod vm;
mod watchdog;
mod why;

pub use action::Action;
pub use backoff::Backoff;
pub use decision::{Decision, Site};
pub use draining::next_to_go;
pub use face::{Face, Sighting, face, placement_of};
pub use hang::{Answers, Hang, Reset, Sign, Silence};
pub use health::{Cause, Health, Swap, Watch, damped};
pub use host::{Drain, Held, Host, HostName, Protocols, Storage};
pub use memory::{Memory, Views};
pub use moment::{Now, Wall};
pub use operation::{Kind, Operation, Outcome};
pub use placement::{Need, Placement, Score, Verdict, judge};
pub use planner::plan;
pub use vm::{
    Asked, Cloning, Desired, Ended, Failures, Given, Lost, Ownership, Power, Prepared, Process, Protected,
    Refused, Seen, Syncing, View, Vm,
};
pub use why::{End, Loss, Scarce, Slow, Unlike, Why};
