//! A program's end of the control sockets of VMs (crate `control`): how `lockstep status` and its like, and
//! an agent, ask and tell the processes that run VMs on this host.
//!
//! Every wait has a limit, and nothing here prints. Map, from below: `client` calls, `verbs` are the orders
//! that can be given, `snapshot` is one of them with its answer, `watching` is a person at a guest's console,
//! `text` is a status as people read it, and `progress` a clone on its way.
#![forbid(unsafe_code)]

mod client;
pub mod limits;
mod progress;
mod snapshot;
mod text;
mod verbs;
mod watching;

pub use client::{CallError, Caller, Found, find, statuses};
pub use snapshot::{Hook, Taken, snapshot, snapshot_over};
pub use text::{detail, list, sign, since, table};
pub use verbs::{
    PATIENCE, Protecting, VerbError, await_role, events, failover, patience, pause, process, protect, reset,
    stop, unprotect,
};
pub use watching::{Heard, Watching};
