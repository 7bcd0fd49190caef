//! The NBD protocol as of NetworkBlockDevice/nbd, doc/proto.md, which the comments cite by its headings: the
//! fixed newstyle handshake, structured replies, metadata contexts, and all commands but CACHE and RESIZE.
//!
//! `names` has the protocol's numbers, `server` and `client` are the two ends, `calls` has a client's
//! requests, `options` is what a server answers during the handshake, and `replies` what it answers
//! afterwards.

mod calls;
mod client;
mod client_error;
pub mod names;
mod options;
mod replies;
mod server;

pub use calls::{Call, Operation};
pub use client::{Client, Event, Shape, Want};
pub use client_error::ClientError;
pub use names::{Code, Command, CommandFlags, Extent, TransmissionFlags};
pub use options::{Export, Exports, Refused};
pub use replies::Replies;
pub use server::{Hangup, Request, Server};
