//! The log, record, replay, and the fault-tolerance protocol. Knows no socket, file, thread or clock.
//!
//! [`Node`] is the VMM without the world: events in with the time as an argument, actions out, and
//! `slice` to run the guest for a while. `host` drives it with sockets and disks, `sim` with a seed.
//!
//! Map, in the order in which an input travels: [`record`] injects it and appends an [`entry`]; [`outputs`] tells which
//! effects are outputs, [`gate`] holds them; [`codec`] makes bytes of entries and [`channel`] sends them; `backup`
//! acknowledges and [`replay`] lives them again; [`detect`] suspects, `claim` asks the arbiter. [`role`] has
//! the table of what a replica can become, [`limits`] every bound. A pair begins with [`handshake`].
//!
//! Invariant: only `record.rs` and `replay.rs` inject. Invariant: an output of a primary leaves only through
//! `Primary::release`. Invariant: a replica becomes live only by winning a claim.
#![forbid(unsafe_code)]

mod backup;
pub mod bytes;
pub mod channel;
mod claim;
pub mod clock;
pub mod codec;
mod computer;
pub mod detect;
pub mod disk;
pub mod entry;
pub mod gate;
pub mod guest;
pub mod handshake;
pub mod header;
pub mod lag;
pub mod limits;
mod live;
pub mod logfile;
pub mod message;
pub mod metrics;
pub mod mutation;
pub mod node;
pub mod outputs;
pub mod pace;
pub mod playback;
mod primary;
pub mod record;
pub mod replay;
pub mod role;
mod solo;
pub mod time;
mod vm_name;

pub use entry::{Entry, EntryKind, Seq};
pub use guest::{Digest, Guest, Pause};
pub use handshake::{Failure, Handshake, HandshakeAction, HandshakeEvent, Hello, Side, Start};
pub use header::{Header, ImageId};
pub use logfile::{End, LogError, LogReader};
pub use metrics::{Histogram, Metrics, RoleName, Suspicion};
pub use node::{Action, Claim, DiskAnswer, Epoch, Event, Halt, Next, Node, Options, PairOptions, Verdict};
pub use playback::{Playback, PlaybackError, Playing};
pub use replay::Divergence;
pub use time::{Span, Time};
pub use vm_name::{BadName, VM_NAME_LEN_MAX, VmName};
