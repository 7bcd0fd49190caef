//! The real world around a node: sockets, disks, terminals, networks, arbiters, and the loop that drives it.
//!
//! One guest thread owns the node and every socket (`drive`). Other threads only do what may block: disk
//! requests, the arbiter's directory, the console's terminal. They answer through a queue and a `Waker`.
#![deny(unsafe_code)]

pub mod arbiter;
pub mod console;
pub mod disk;
pub mod entropy;
pub mod error;
pub mod limits;
pub mod link;
pub mod net;
pub mod sys;
pub mod wake;
