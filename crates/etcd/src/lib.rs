//! A small blocking client of etcd: reads, transactions, leases and watches.
//!
//! It speaks the JSON gateway that every etcd server has beside its gRPC, over HTTP/1.1, so that a process
//! which uses etcd needs neither an asynchronous runtime nor protobuf. A [`Client`] knows all servers of a
//! cluster and asks the next one when one does not answer; each call has a deadline. The store of the agents
//! stands above it (`crates/store`).
//!
//! Nothing here starts a thread or repeats what may have been done already: a change whose answer is lost is
//! [`EtcdError::Unanswered`], and whoever asked for the change must look.
#![forbid(unsafe_code)]

mod client;
mod error;
mod http;
pub mod limits;
mod names;
mod settings;
mod watch;
mod wire;

pub use client::Client;
pub use error::EtcdError;
pub use settings::{ClientCertificate, Settings, User};
pub use watch::{Batch, Watch};
pub use wire::{Change, Compare, KeyValue, Keys, Lease, Operation, Outcome, Range, Revision};
