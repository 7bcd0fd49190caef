//! How a running VM is asked and told what to do, without an agent: each process that runs a VM with a name
//! listens on a Unix socket of its own in this user's directory, and `lockstep status` and its like call it.
//!
//! `Control` is the VM's end. A thread of its own (`server`) talks to callers, and the guest thread only
//! takes whole requests from a queue and leaves answers there: it never waits for a caller. The other end is
//! the crate `caller`. Both speak the types of `protocol`, one JSON object a line (docs/control.md).
//!
//! Map, from below: `limits`; `health`, `status`, `protocol`, `snapshot` and `console` are what is said;
//! `lines` keeps the last events, `tail` the last of the console; `place` is the socket's file, and the way
//! to it. `desk` stands between the process's two threads, `server` is the one that talks to callers, each of
//! them a `caller`, and `control` is what the guest's thread has of it.
#![forbid(unsafe_code)]

mod caller;
mod console;
mod control;
mod desk;
mod health;
pub mod limits;
mod lines;
pub mod place;
mod protocol;
mod request_id;
mod server;
mod snapshot;
mod status;
mod tail;

pub use console::{ConsoleWish, Word};
pub use control::{Asked, Control};
pub use health::{DiskAway, Health};
pub use place::Place;
pub use protocol::{Answer, Request, Response, Verb, line};
pub use request_id::RequestId;
pub use snapshot::Part;
pub use status::{Cloning, Observed, Status, VERSION};
