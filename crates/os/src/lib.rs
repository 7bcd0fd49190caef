//! What this program asks of its operating system, for all crates that have to do with the real world.
//!
//! Map: `poll`, `wake` and `signals` are how a thread waits; `outlet`, `stderr`, `bounded_file` and
//! `terminal` are how something is said without waiting for whoever reads it; `sandbox` is what a process
//! gives up, and starts its threads; `parent` ends a process with the one that started it; `watcher` tells
//! somebody else of a process's end; `entropy`, `error`, `identity` and `sys` are small. Nothing here knows
//! what a replica, a disk or a gateway is, and only `sys` may hold unsafe code.
#![deny(unsafe_code)]

pub mod bounded_file;
pub mod date;
pub mod entropy;
pub mod error;
pub mod identity;
pub mod limits;
pub mod outlet;
pub mod parent;
pub mod poll;
pub mod sandbox;
pub mod signals;
pub mod stderr;
pub mod sys;
pub mod terminal;
pub mod wake;
pub mod watcher;
