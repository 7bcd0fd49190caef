//! `Told`: everything that the mind is told, by the threads and tasks that wait in its place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use control::Status;
use messages::time::Time;
use messages::vm_name::VmName;
use plan::{Action, HostName, Ownership, Wall};

use crate::facts::Report;
use crate::keeper::Watched;
use crate::records::EndWord;

/// The VMs of which the arbiter is asked who owns them.
pub type AskedOwners = BTreeSet<VmName>;

/// What the arbiter has said.
#[derive(Debug)]
pub struct Owners {
    /// When it was asked.
    pub at: Time,
    /// Who owns each VM of which it was asked; or why it has not answered.
    pub owners: Result<BTreeMap<VmName, Owner>, String>,
}

/// What the arbiter's newest record of a VM says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Who owns the VM.
    pub ownership: Ownership,
    /// How its last owner has ended; `None`: it never had one, or nobody knows whether that has ended.
    pub over: Option<Over>,
}

/// How the last owner of a VM has ended, by the arbiter's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The owner's epoch.
    pub epoch: u64,
    /// How it has ended.
    pub how: EndWord,
    /// When the epoch was claimed, in nanoseconds since 1970 by the claimant's clock.
    pub claimed_wall_ns: u64,
}

/// An order that was given to a process, and what it was given for.
#[derive(Clone, Debug)]
pub struct Order {
    /// What the process is to do.
    pub action: Action,
    /// Number of the operation; `None`: it was given for none.
    pub operation: Option<String>,
    /// When a reset was noted that nobody has asked for; `None`: somebody has, or it is another order.
    pub noted: Option<Wall>,
}

/// What the mind is told.
#[derive(Debug)]
pub enum Told {
    /// What the store has said.
    Store(Watched),
    /// What the processes of this host have said, asked at this time.
    Statuses(Time, Vec<Status>),
    /// A process of this host says what has happened to its VM.
    Happened(Box<report::Line>),
    /// Another agent has told of its host; it took so long.
    Reported(HostName, Box<Report>, Duration),
    /// This host was measured: steps a second.
    Speed(u64),
    /// What the arbiter has said.
    Arbiter(Owners),
    /// Another host has granted a reservation for a VM, or refused.
    Reserved(VmName, HostName, Result<SocketAddr, String>),
    /// A process of this host has taken an order, or refused it with a sentence.
    Ordered(VmName, Order, Result<(), String>),
    /// The guest of a VM was probed at this address, and has answered, or not for this reason; `None`: that
    /// tells nothing of the guest.
    Probed(VmName, SocketAddr, Option<Result<(), String>>),
    /// A change of the store was made, or was not.
    Wrote(String, Result<(), String>),
}

/// What the mind has told others last, so that it tells each change once.
#[derive(Debug, Default)]
pub struct Said {
    /// Has it told that it has begun?
    pub has_begun: bool,
    /// Has it told that the store is away?
    pub is_directory_away: bool,
    /// Has it told that the arbiter is away?
    pub is_arbiter_away: bool,
    /// The hosts of which it has told that they are silent.
    pub silent: BTreeSet<HostName>,
}
