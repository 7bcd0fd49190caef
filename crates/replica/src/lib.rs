//! The log, record, replay, and the fault-tolerance protocol. Knows no socket, file, thread or clock.
//!
//! `Node` is the VMM without the world: events in with the time as an argument, actions out, and
//! `slice` to run the guest for a while. `host` drives it with sockets and disks, `sim` with a seed.
#![forbid(unsafe_code)]

pub mod guest;
pub mod header;
pub mod limits;
pub mod metrics;
pub mod node;
pub mod time;

pub use guest::{Digest, Guest, Pause};
pub use header::{Header, ImageId};
pub use metrics::{Histogram, Metrics, RoleName, Suspicion};
pub use node::{Action, Claim, DiskAnswer, Epoch, Event, Halt, Next, Node, Options, PairOptions, Verdict};
pub use time::{Span, Time};
