//! The one table of how a replica's role changes, and why it does.
//!
//! A handler of a role gives a [`Change`], `Node` asks here what becomes of the role, and panics if the table
//! has no such change. docs/protocol.md shows the table as this file's test writes it.
//!
//! Nothing here acts on a change. Two roles lead to `Solo`: `Claiming`, and a `Primary` whose backup can
//! never claim. `Claiming` also leads to `Primary`, if the claim was won with an heir.

use machine::PowerState;

use crate::event::{Epoch, RoleName, Suspicion};
use crate::guest::replay::Divergence;
use crate::mutation;
use crate::mutation::Mutation;

/// Why a role changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The peer is not trusted any more, for this reason.
    Suspect(Suspicion),
    /// The arbiter gave the epoch to this replica, which has replayed all that it received.
    Won,
    /// The same, and the process that has handed the VM over, or the backup that is left, is a member of the
    /// epoch from the start.
    WonWithHeir,
    /// The arbiter gave the epoch to the other side.
    Lost,
    /// The guest is off, and nothing that it asked for is left to do.
    Off(PowerState),
    /// This replica's execution parted from the log.
    Diverged(Divergence),
    /// The primary broke the protocol; the sentence says how.
    Broken(String),
    /// The operator wanted the primary to leave the VM to its backup, and it has.
    Left,
    /// The log says that the apprentice is a member from here on.
    Guarded,
    /// The apprentice will not become a member; the sentence says why.
    Abandoned(String),
    /// The backup has promised never to claim, as its primary's operator wants.
    Dismissed,
    /// The only backup has promised never to claim.
    Alone,
    /// The primary has stopped and said so to its backup, which is to go on in its place.
    HandingOver,
    /// The backup went on in this primary's place, in this epoch.
    Taken(Epoch),
}

/// [`Change`] without its details, for the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer is suspected: [`Change::Suspect`].
    Suspect,
    /// The claim was won: [`Change::Won`].
    Won,
    /// The claim was won with an heir: [`Change::WonWithHeir`].
    WonWithHeir,
    /// The claim was lost: [`Change::Lost`].
    Lost,
    /// The guest is off: [`Change::Off`].
    Off,
    /// The guest parted from the log: [`Change::Diverged`].
    Diverged,
    /// The primary broke the protocol: [`Change::Broken`].
    Broken,
    /// This primary has left: [`Change::Left`].
    Left,
    /// The apprentice is a member: [`Change::Guarded`].
    Guarded,
    /// The apprentice will not become a member: [`Change::Abandoned`].
    Abandoned,
    /// The backup was dismissed: [`Change::Dismissed`].
    Dismissed,
    /// The primary has no backup any more: [`Change::Alone`].
    Alone,
    /// The primary has stopped for its backup: [`Change::HandingOver`].
    HandingOver,
    /// The backup is live in the primary's place: [`Change::Taken`].
    Taken,
}

impl Change {
    /// The change without its details.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Change::Suspect(_) => Cause::Suspect,
            Change::Won => Cause::Won,
            Change::WonWithHeir => Cause::WonWithHeir,
            Change::Lost => Cause::Lost,
            Change::Off(_) => Cause::Off,
            Change::Diverged(_) => Cause::Diverged,
            Change::Broken(_) => Cause::Broken,
            Change::Left => Cause::Left,
            Change::Guarded => Cause::Guarded,
            Change::Abandoned(_) => Cause::Abandoned,
            Change::Dismissed => Cause::Dismissed,
            Change::Alone => Cause::Alone,
            Change::HandingOver => Cause::HandingOver,
            Change::Taken(_) => Cause::Taken,
        }
    }
}

/// The role that follows from `from` for this cause; `None`: there is no such change.
#[must_use]
pub fn next(from: RoleName, cause: Cause) -> Option<RoleName> {
    match (from, cause) {
        // FT 2.3-e, 2-h: either side asks before it goes on alone.
        (RoleName::Primary | RoleName::Backup | RoleName::Handing, Cause::Suspect) => {
            Some(RoleName::Claiming)
        }
        // FT 2.3-a, FT 2.3-b: whoever has won goes on alone.
        (RoleName::Claiming, Cause::Won) => Some(RoleName::Solo),
        // FT 3.3-c: the two sides change their roles, and the VM has a backup all the time.
        (RoleName::Primary, Cause::HandingOver) => Some(RoleName::Handing),
        (RoleName::Claiming, Cause::WonWithHeir) => Some(RoleName::Primary),
        (RoleName::Handing, Cause::Taken) => Some(RoleName::Backup),
        (RoleName::Claiming, Cause::Lost) => Some(RoleName::Halted),
        // FT 3.3-a: a guest that is off ends its replica, in every role.
        (RoleName::Solo | RoleName::Primary | RoleName::Backup | RoleName::Claiming, Cause::Off) => {
            Some(RoleName::Halted)
        }
        // Only a replica that replays can part from the log, or hear nonsense from a primary. A primary that
        // hears nonsense suspects its backup: it has the guest and must not die of its peer.
        (RoleName::Apprentice | RoleName::Backup | RoleName::Claiming, Cause::Diverged) => {
            Some(RoleName::Halted)
        }
        (RoleName::Apprentice | RoleName::Backup, Cause::Broken) => Some(RoleName::Halted),
        // A primary that leaves shows nothing more and has said so to the backup, which claims.
        (RoleName::Primary, Cause::Left) => Some(RoleName::Halted),
        // FT 3.1-b: owner and apprentice are a pair from the same entry of the log on.
        (RoleName::Solo, Cause::Guarded) => Some(RoleName::Primary),
        (RoleName::Apprentice, Cause::Guarded) => Some(RoleName::Backup),
        (RoleName::Apprentice, Cause::Suspect) if mutation::is(Mutation::ApprenticeClaims) => {
            Some(RoleName::Claiming)
        }
        // An apprentice that is no member yet never claims, whatever becomes of the owner.
        (RoleName::Apprentice, Cause::Abandoned) => Some(RoleName::Halted),
        // Nobody else may claim: the backup has promised so, or the arbiter has given the primary the epoch
        // after the pair's while the guest ran.
        (RoleName::Primary, Cause::Alone | Cause::Won) => Some(RoleName::Solo),
        // A primary has another backup besides the one that it has excluded.
        (RoleName::Primary, Cause::WonWithHeir) => Some(RoleName::Primary),
        (RoleName::Primary, Cause::Lost) => Some(RoleName::Halted),
        (RoleName::Backup, Cause::Dismissed) => Some(RoleName::Halted),
        // An owner that was alone learns that it has been superseded before it takes a member.
        (RoleName::Solo, Cause::Lost) => Some(RoleName::Halted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [RoleName; 7] = [
        RoleName::Solo,
        RoleName::Primary,
        RoleName::Apprentice,
        RoleName::Backup,
        RoleName::Claiming,
        RoleName::Handing,
        RoleName::Halted,
    ];
    const CAUSES: [Cause; 14] = [
        Cause::Suspect,
        Cause::Won,
        Cause::WonWithHeir,
        Cause::Lost,
        Cause::Off,
        Cause::Diverged,
        Cause::Broken,
        Cause::Left,
        Cause::Guarded,
        Cause::Abandoned,
        Cause::Dismissed,
        Cause::Alone,
        Cause::HandingOver,
        Cause::Taken,
    ];

    fn table() -> String {
        let mut text = String::from("| role |");
        for cause in CAUSES {
            text += &format!(" {cause:?} |");
        }
        text += "\n|---|";
        text += &"---|".repeat(CAUSES.len());
        for from in ROLES {
            text += &format!("\n| **{from:?}** |");
            for cause in CAUSES {
                text += &next(from, cause).map_or(" . |".to_owned(), |to| format!(" {to:?} |"));
            }
        }
        text + "\n"
    }

    #[test]
    fn the_document_shows_the_table_of_roles() {
        let document = include_str!("../../../../docs/protocol.md");
        let table = table();
        assert!(
            document.contains(&table),
            "docs/protocol.md must contain:\n{table}"
        );
    }

    #[test]
    fn nobody_goes_live_but_by_winning_a_claim() {
        // FT 2.3-e, FT 2-h.
        for from in ROLES {
            for cause in CAUSES {
                if !matches!(next(from, cause), Some(RoleName::Solo | RoleName::Primary)) {
                    continue;
                }
                // An owner is live already. It stays so when nobody else can be, or when it gets a member.
                let is_live = matches!(
                    (from, cause),
                    (RoleName::Primary, Cause::Won | Cause::WonWithHeir | Cause::Alone)
                        | (RoleName::Solo, Cause::Guarded)
                );
                let has_won = from == RoleName::Claiming && matches!(cause, Cause::Won | Cause::WonWithHeir);
                assert!(is_live || has_won, "{from:?} {cause:?}");
            }
        }
    }

    #[test]
    fn a_halted_replica_stays_halted() {
        assert!(
            CAUSES
                .iter()
                .all(|&cause| next(RoleName::Halted, cause).is_none())
        );
    }
}
