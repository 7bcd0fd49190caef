//! The real world around a node: sockets, disks, terminals, networks, arbiters, and the loop that drives it.
//!
//! One guest thread owns the node and every socket (`drive`, which has the picture of all threads). Other
//! threads only do what may block; they answer through a queue and a `Waker`. Nothing here decides what the
//! protocol says: that is the node's business, and this crate does what its actions say.
//!
//! Map, from the node outwards: `drive` is the loop, `world` does what a node's actions say. The five things
//! outside are the crates `link`, `disk`, `arbiter`, `ports` and `console`. The crate `report` tells of what
//! happens, and `health` how this side is off; `witness` sees panics of the guest. `needs` is what the
//! sandbox leaves to a VM, `operator` is what signals and Ctrl-A x mean, and `watch` has a backup told of
//! this process's end. `control_socket` is where `lockstep status` and its like call, `control_answers` what
//! they hear. `run`, `pair` and `replay` are the commands: each opens what `spec` asks for (`ownership`:
//! unless the VM may run elsewhere) and starts the loop, or replays without one.
#![forbid(unsafe_code)]

pub mod attend;
pub mod build;
pub mod cables;
pub mod control_answers;
pub mod control_socket;
pub mod drive;
pub mod header;
pub mod intake;
pub mod limits;
pub mod links;
pub mod log_file;
pub mod needs;
pub mod operator;
pub mod origin;
pub mod owned;
pub mod ownership;
pub mod pair;
pub mod protection;
pub mod replay;
pub mod run;
pub mod snapshot;
pub mod spec;
pub mod watch;
pub mod witness;
pub mod world;
pub mod world_error;

pub use attend::{AttendSpec, attend};
pub use disk::{DiskFile, DiskSecurity, Format};
pub use drive::{Outcome, drive};
pub use origin::{Origin, OriginError};
pub use pair::{Pairing, backup, primary};
pub use replay::{ReplayError, ReplayOptions, Replayed, replay};
pub use run::{RunError, run};
pub use spec::{Alone, DiskSpec, FirmwareSpec, NetSpec, PairSpec, ProtectSpec, SetupError, VmSpec};
pub use world::World;
pub use world_error::WorldError;
