//! The arbiter: an atomic test-and-set per VM and epoch, outside both replicas, that decides who may go live
//! (FT 2.3-e), and keeps a record of who owns the VM from its first start.
//!
//! It is asked when a VM starts and ends, when a pair is made and when one side suspects the other. In
//! between it is only looked at, by which nothing is decided; and nothing in it runs out: a healthy pair does
//! not need the arbiter. Asking may block for long (a dead file server), so an [`Asker`] asks on a thread of
//! its own and the guest thread reads the answers.
//! What a verdict means is `replica`'s business: nothing here knows a role, and no answer may ever be
//! guessed, since two winners of one epoch would be two live copies of one VM.
#![forbid(unsafe_code)]

mod asker;
mod cells;
mod directory;
mod error;
mod etcd_place;
pub mod limits;
mod local;
mod mark;
mod over_etcd;
mod over_server;
mod place;
mod record;
mod server_place;
pub mod start;
mod test_and_set;

use std::fmt;

use replica::{Claim, Epoch, Verdict, VmName};

pub use asker::{Asker, Heard};
pub use cells::{Cell, Cells, Created};
pub use directory::{DirectoryArbiter, DirectoryCells};
pub use error::{ArbiterError, NoPlace};
pub use etcd_place::EtcdPlace;
pub use local::{LocalDirectory, LocalError, LocalLock, SignOfLife};
pub use mark::{Mark, is_mark, sees};
pub use over_etcd::{EtcdArbiter, EtcdCells};
pub use over_server::{ServerArbiter, ServerCells};
pub use place::Place;
pub use record::{Closing, Origin, Process, Record};
pub use server_place::ServerPlace;
pub use test_and_set::TestAndSet;

/// What an arbiter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the claim is won, lost, or not known to be either.
    pub verdict: Verdict,
    /// Why the arbiter could not be reached, or who was first; for people.
    pub reason: Option<String>,
}

/// Decides claims: an atomic test-and-set that outlives both replicas.
pub trait Arbiter: Send + fmt::Debug {
    /// "I am the one for (`vm`, `claim.epoch`)." Asking again with the same owner gives the same answer. If
    /// `claim.after` names an owner of the epoch before, and this arbiter does not hold that owner's claim,
    /// the answer is [`Verdict::Unreachable`]: this is another arbiter than that of the pair.
    fn claim(&mut self, vm: &VmName, claim: &Claim) -> Answer;

    /// The record of the highest epoch of `vm` that anybody has claimed; `None`: nobody has claimed one.
    ///
    /// # Errors
    /// The arbiter could not be reached, or holds what is no record.
    fn last(&mut self, vm: &VmName) -> Result<Option<Record>, ArbiterError>;

    /// Is this the arbiter at which `owner` has claimed `epoch`?
    ///
    /// # Errors
    /// This is another arbiter, or it could not be reached.
    fn check(&mut self, vm: &VmName, epoch: Epoch, owner: u128) -> Result<(), ArbiterError>;

    /// Writes down that the owner of an epoch has ended. An epoch that is closed already stays as it is. A
    /// member of the epoch may claim the next one all the same.
    ///
    /// # Errors
    /// The epoch is not that owner's, or the arbiter could not be reached.
    fn close(&mut self, vm: &VmName, epoch: Epoch, owner: u128, why: &Closing) -> Result<(), ArbiterError>;

    /// The flag by which a command is told of this arbiter, such as `--arbiter /shared/arbiter`: the word and
    /// its [`Place`].
    fn flag(&self) -> String;
}
