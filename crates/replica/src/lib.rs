//! The log, record, replay, and the fault-tolerance protocol. Knows no socket, file, thread or clock.
//!
//! `Node` is the VMM without the world: events in with the time as an argument, actions out, and
//! `slice` to run the guest for a while. `host` drives it with sockets and disks, `sim` with a seed.

pub mod guest;
pub mod node;
pub mod time;

pub use guest::{Guest, Pause};
pub use node::{Action, Claim, DiskAnswer, Epoch, Event, Halt, Next, Verdict};
pub use time::{Span, Time};
