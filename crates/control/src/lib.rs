//! How a running VM is asked and told what to do, without an agent: each process that runs a VM with a name
//! listens on a Unix socket of its own in this user's directory, and `lockstep status` and its like call it.
//!
//! `Control` is the VM's end. A thread of its own (`server`) talks to callers, and the guest thread only
//! takes whole requests from a queue and leaves answers there: it never waits for a caller. The other end is
//! `Caller`. Both speak the types of `protocol`, one JSON object a line (docs/control.md).
//!
//! Map, from below: `limits`; `health`, `status` and `protocol` are what is said; `lines` keeps the last
//! events; `place` is the socket's file. The VM's end: `desk` stands between its two threads, `server` is the
//! one that talks to callers, `control` what the guest's thread has of it. The other end: `client` calls,
//! `verbs` are the orders that can be given, `snapshot` is one of them with its answer, `text` is a status as
//! people read it, and `progress` a clone on its way.
#![forbid(unsafe_code)]

mod client;
mod control;
mod desk;
mod health;
pub mod limits;
mod lines;
mod place;
mod progress;
mod protocol;
mod server;
mod snapshot;
mod status;
mod text;
mod verbs;

pub use client::{CallError, Caller, Found, find, statuses};
pub use control::{Asked, Control};
pub use health::{DiskAway, Health};
pub use place::Place;
pub use protocol::{Answer, Request, RequestId, Response, Verb, line};
pub use snapshot::{Hook, Part, Taken, snapshot, snapshot_over};
pub use status::{Cloning, Observed, Status, VERSION};
pub use text::{detail, list, sign, since, table};
pub use verbs::{
    PATIENCE, Protecting, VerbError, await_role, events, failover, patience, pause, process, protect, reset,
    stop, unprotect,
};
