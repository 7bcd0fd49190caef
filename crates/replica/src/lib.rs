//! Record, replay, and the fault-tolerance protocol. Knows no socket, file, thread or clock.
//!
//! [`Node`] is the VMM without the world: it takes events, with the time as an argument, gives actions, and
//! runs the guest for a while in `slice`. `host` drives it with sockets and disks, `sim` with a seed.
//!
//! Map, from below: [`time`] and [`limits`] are words that all use; [`log`], which is the crate `vmlog`,
//! makes bytes of entries; [`event`] has what a node and its world say to each other; [`guest`] runs a guest
//! by its log, as the one that writes it or as one that reads it; [`peer`] is the other replica; `roles` are
//! what a replica can be; [`node`] holds one of them. A pair begins with a [`Handshake`] for each talk, and
//! with a [`Caller`] above the primary's. A file uses what stands below it, and nothing above; `cargo xtask
//! tidy` has the order of all files.
//!
//! Invariant: only `guest/record.rs` and `guest/replay.rs` inject. Invariant: an output of a primary leaves
//! only through `Primary::release`. Invariant: a replica becomes live only by winning a claim.
#![forbid(unsafe_code)]

pub mod clone;
pub mod event;
pub mod guest;
pub mod limits;
pub mod metrics;
pub mod mutation;
pub mod node;
pub mod options;
pub mod peer;
mod roles;
mod snapshot;

pub use messages::time;
pub use vmlog as log;

pub use event::{
    Action, Bulk, Checked, Claim, ClaimKind, DiskAnswer, Epoch, Event, Halt, Joined, News, Next, PeerId,
    Phase, RoleName, Shown, Slowness, SnapshotEvent, SnapshotOrder, SnapshotPiece, Suspicion, Verdict,
};
pub use guest::Guest;
pub use guest::playback::{Playback, PlaybackError, Playing};
pub use guest::replay::Divergence;
pub use log::entry::{Digest, Entry, EntryKind, Mark, Seq};
pub use log::header::{Header, ImageId};
pub use log::logfile::{End, LogError, LogReader};
pub use log::parcel::Parcel;
pub use messages::vm_name::{BadName, VM_NAME_LEN_MAX, VmName};
pub use metrics::{Histogram, Metrics};
pub use node::Node;
pub use options::{Notice, OnSlow, Options, PairOptions};
pub use peer::forming::{Answered, Caller, MayOwn, Wanted};
pub use peer::handshake::{Failure, Handshake, HandshakeAction, HandshakeEvent};
pub use peer::joining::{CutAt, Hello, How, Side, Start};
pub use time::{Span, Time};
