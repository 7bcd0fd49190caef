//! `Role`: what a replica is. Each role is a struct of its own with only the fields that mean something in
//! it. `Node` holds one role and passes each event and each slice on to it.
//!
//! From below: `call` is what every handler is given, `table` says how a role changes, `gate` holds outputs,
//! `live` keeps a guest that runs live. `primary` and `backup` are the halves of a pair, `apprentice` is on
//! its way to be the backup of a guest that runs, `claiming` is what either half becomes when it suspects the
//! other, `handing` is a primary that changes roles with its backup, and `solo` runs a guest alone.
//!
//! What the guest gives out passes these stations; each has a type that knows no more than it must:
//!
//! ```text
//!  machine::Effect    the guest has done something
//!  outputs::Outward   sorted by who carries it out: the world (Shown), a disk, the source of random bytes
//!  record::Produced   with the entry that marks it, if it is an output
//!  gate::Output       a primary holds it: what the world will show, or the name of a request in Disks
//!  Action::Release, Action::Disk, Action::Entropy    it leaves
//! ```
//! A backup's guest does the same, and `replay::Replayed` is what its replayer makes of it: an output that
//! the log knows, which the backup keeps until the primary's has left, or something else, which it drops.
//!
//! `mutation::is(..)` asks whether the simulator has broken a rule on purpose, to see that its checkers
//! notice (docs/testing.md). In the program it is always false.
//!
//! No role ever changes itself: its handlers return a [`Change`](table::Change), and `Node` carries it out.

pub mod apprentice;
pub mod backup;
pub mod call;
pub mod claiming;
pub mod dismissal;
pub mod gate;
pub mod handing;
pub mod live;
pub mod primary;
pub mod solo;
pub mod table;

use apprentice::Apprentice;
use backup::Backup;
use claiming::Claiming;
use handing::Handing;
use primary::Primary;
use solo::Solo;

use crate::event::RoleName;

/// A role with everything that it keeps.
#[derive(Debug)]
pub enum Role {
    /// Alone: inputs come from the world, outputs leave at once.
    Solo(Box<Solo>),
    /// Runs the guest, sends the log, holds outputs until they are acknowledged.
    Primary(Box<Primary>),
    /// Replays the log and keeps outputs until the primary's have left.
    Backup(Box<Backup>),
    /// Gets the state of a guest that runs elsewhere, and replays its log. It may not claim.
    Apprentice(Box<Apprentice>),
    /// Has suspected its peer and asks the arbiter. Shows nothing to the world, says nothing to the peer.
    Claiming(Box<Claiming>),
    /// Was the primary, and waits until the backup is live in its place. Shows nothing.
    Handing(Box<Handing>),
    /// Has stopped for good.
    Halted,
}

impl Role {
    /// The role without its content.
    #[must_use]
    pub fn name(&self) -> RoleName {
        match self {
            Role::Solo(_) => RoleName::Solo,
            Role::Primary(_) => RoleName::Primary,
            Role::Apprentice(_) => RoleName::Apprentice,
            Role::Backup(_) => RoleName::Backup,
            Role::Claiming(_) => RoleName::Claiming,
            Role::Handing(_) => RoleName::Handing,
            Role::Halted => RoleName::Halted,
        }
    }
}
