//! `Owned`: the epoch of a VM at its arbiter, and its end. `world` keeps it up to date, and `drive` has the
//! end written down when the replica has ended, so that the VM may be started again, on whatever host.
//!
//! An end is written down only when the VM is over, never when another replica may be about to go on with it.

use replica::{Epoch, Halt, RoleName};

use arbiter::{Asker, Closing};
use disk::Holder;
use os::error::chain;
use os::limits::LAST_WORDS_PATIENCE;

/// An epoch, and the process that owns it: this one, or for a backup its primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owned {
    /// The epoch.
    pub epoch: Epoch,
    /// The owner of the epoch.
    pub owner: u128,
}

impl From<Holder> for Owned {
    fn from(holder: Holder) -> Owned {
        Owned {
            epoch: holder.epoch,
            owner: holder.owner,
        }
    }
}

impl Owned {
    /// Has the end of the epoch written down, if it is over now that a replica has ended as `role` with
    /// `halt` (`None`: something outside its node has ended it). Call it when the replica's disks are closed,
    /// since from here on the VM may be started anywhere.
    ///
    /// A guest that is off is off on both sides, so either may say it. A primary that ends otherwise leaves
    /// the VM to its backup, which claims the next epoch; and who has lost owns nothing any more.
    pub fn end(self, asker: Asker, halt: Option<&Halt>, role: RoleName) {
        let why = match (halt, role) {
            (Some(Halt::Off(_)), _) => Closing::Off,
            (Some(Halt::Lost(_) | Halt::Left), _) => return,
            (_, RoleName::Solo) => Closing::Stopped,
            _ => return,
        };
        if let Err(error) = asker.close(self.epoch, self.owner, why, LAST_WORDS_PATIENCE) {
            tracing::warn!("{}", chain(&error));
        }
    }
}
