//! The toy guest: a computer without a processor, on which the protocol is tested.
//!
//! A [`Toy`] is a [`Board`] (step counter, clock, disk requests, effects, power switch) with one of two
//! programs: [`Server`] decides by itself what it does, for the random worlds of `sim`; [`Commands`] does
//! what each frame says, for tests that are written by hand (`crates/replica/tests`, `crates/host/tests`). It
//! stands where a `machine::Machine` stands in the product: a `replica::Node` runs it and knows no
//! difference.
//!
//! `random` is where everything comes from that a world draws.
//!
//! A toy keeps the rules of a real machine: its state is a function of its inputs at their steps, stopping is
//! invisible, nothing is answered within the call that asks. It must never look at anything but its inputs,
//! and no crate of the product may depend on it.
#![forbid(unsafe_code)]

pub mod board;
pub mod commands;
pub mod hash;
pub mod memory;
pub mod random;
pub mod server;
mod state;

pub use board::{Board, Program, Toy};
pub use commands::Commands;
pub use server::Server;
