//! `Model`: which rules hold in a search, what may happen in it, and where it begins.

use crate::flaw::Flaw;
use crate::set::Set;
use crate::state::{Budget, Log, PROCESSES, Process, Record, Role, State};

/// The rules, and how much may happen.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// The rule that is wrong; `None`: none is.
    pub flaw: Option<Flaw>,
    /// Does `HandOver` promise, as an acknowledgement does, not to claim for a while? Then the new owner need
    /// not wait for the answer to `Taken` before it shows what it has kept.
    pub hand_over_promises: bool,
    /// What may happen besides what is due.
    pub budget: Budget,
}

impl Model {
    /// Is this rule wrong here?
    #[must_use]
    pub fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    /// P owns epoch 1, and B is its backup from the start; A waits.
    #[must_use]
    pub fn pair(&self) -> State {
        let mut processes = [Process::idle(); PROCESSES];
        processes[0] = Process {
            role: Role::Live,
            epoch: 1,
            was_member: true,
            members: Set::of(1),
            ..Process::idle()
        };
        processes[1] = Process {
            role: Role::Backup,
            epoch: 1,
            leader: Some(0),
            was_member: true,
            ..Process::idle()
        };
        State {
            processes,
            records: vec![Record {
                owner: 0,
                heirs: Set::default(),
            }],
            claims: Vec::new(),
            broken: Vec::new(),
            shown: Log::default(),
            left: self.budget,
        }
    }
}
