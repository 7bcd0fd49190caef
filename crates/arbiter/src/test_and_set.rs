//! `TestAndSet`: the one place with the logic of claims, over the write-once cells of any place.
//!
//! A claim is a cell named by the VM and the epoch, so at most one claim of an epoch is ever written; and who
//! asks again, because an answer was lost, finds the cell as written by itself. Claims are never changed, and
//! are removed only when nobody can ask for them any more: only so does it not matter how much earlier than
//! the claim that follows them they are read.
//!
//! A path can lead to different places on two hosts, or to an empty one where a mount is missing. So a claim
//! that ends a pair names the owner of the epoch before, and only a place that holds that owner's claim
//! answers it.

use replica::{Claim, Epoch, Verdict, VmName};

use crate::cells::{Cell, Cells, Created};
use crate::limits::HEIRS_MAX;
use crate::record::{Closing, Process, Record, id_text, parse_id};
use crate::{Answer, Arbiter, ArbiterError};

/// An arbiter that keeps its records in `C`.
#[derive(Debug)]
pub struct TestAndSet<C: Cells> {
    cells: C,
    /// The process that claims, as its records name it.
    process: Process,
}

impl<C: Cells> TestAndSet<C> {
    /// An arbiter over these cells, for claims of `process`.
    #[must_use]
    pub fn over(cells: C, process: Process) -> TestAndSet<C> {
        TestAndSet { cells, process }
    }

    /// The claim, as [`Arbiter::claim`] describes it, with an error where the arbiter cannot be reached.
    fn try_claim(&mut self, vm: &VmName, claim: &Claim) -> Result<Answer, ArbiterError> {
        assert!(claim.heirs.len() <= HEIRS_MAX, "a claim names too many heirs");
        if let Some(after) = claim.after {
            self.owned_by(vm, Epoch(claim.epoch.0.saturating_sub(1)), after)?;
        }
        // A claim for an epoch that others have gone beyond comes too late, even if nobody has claimed that
        // epoch.
        if let Some(last) = self.cells.last(vm)?
            && last > claim.epoch
        {
            let found = self.claimed(vm, claim.epoch)?;
            if found.as_ref().is_none_or(|found| found.owner != claim.owner) {
                let heir = found.is_some_and(|found| found.heirs.contains(&claim.owner));
                return Ok(lost(
                    heir,
                    format!("epoch {} of '{vm}' is claimed already", last.0),
                ));
            }
        }
        let id = self.identity(vm)?;
        let record = Record::of(vm, claim, &id, &self.process);
        let cell = Cell::Claim(claim.epoch);
        if let Created::Before(bytes) = self.cells.create(vm, cell, record.text().as_bytes())? {
            let found = Record::parse(&bytes, vm, claim.epoch);
            let found = found.ok_or_else(|| self.cells.damaged(vm, cell))?;
            if found.owner != claim.owner {
                let (owner, epoch) = (found.owner, claim.epoch.0);
                return Ok(lost(
                    found.heirs.contains(&claim.owner),
                    format!("epoch {epoch} of '{vm}' went to {owner:032x}"),
                ));
            }
        }
        self.cells.collect(vm);
        Ok(Answer {
            verdict: Verdict::Won,
            reason: None,
        })
    }

    /// The identity of the VM, made now if nobody has made it before.
    fn identity(&mut self, vm: &VmName) -> Result<String, ArbiterError> {
        let bytes = match self.cells.read(vm, Cell::Id)? {
            Some(bytes) => bytes,
            None => {
                let text = id_text(vm, &os::entropy::uuid());
                match self.cells.create(vm, Cell::Id, text.as_bytes())? {
                    Created::Now => text.into_bytes(),
                    Created::Before(bytes) => bytes,
                }
            }
        };
        parse_id(&bytes, vm).ok_or_else(|| self.cells.damaged(vm, Cell::Id))
    }

    /// Does this place hold the claim of `epoch` by `owner`?
    fn owned_by(&mut self, vm: &VmName, epoch: Epoch, owner: u128) -> Result<(), ArbiterError> {
        let mut found = self.claimed(vm, epoch)?;
        if found.is_none() {
            // This host may remember that there was no such claim, until it sees that the place has changed.
            self.cells.refresh()?;
            found = self.claimed(vm, epoch)?;
        }
        let finding = match found {
            Some(found) if found.owner == owner => return Ok(()),
            Some(_) => "knows another owner of",
            None => "does not know",
        };
        Err(ArbiterError::NotShared {
            place: self.cells.place(),
            host: os::identity::host_name(),
            finding,
            vm: vm.to_string(),
            epoch: epoch.0,
        })
    }

    /// The claim of an epoch, without its end; `None`: there is none.
    fn claimed(&mut self, vm: &VmName, epoch: Epoch) -> Result<Option<Record>, ArbiterError> {
        let cell = Cell::Claim(epoch);
        let Some(bytes) = self.cells.read(vm, cell)? else {
            return Ok(None);
        };
        let record = Record::parse(&bytes, vm, epoch);
        record.map(Some).ok_or_else(|| self.cells.damaged(vm, cell))
    }
}

impl<C: Cells> Arbiter for TestAndSet<C> {
    fn claim(&mut self, vm: &VmName, claim: &Claim) -> Answer {
        self.try_claim(vm, claim).unwrap_or_else(|error| Answer {
            verdict: Verdict::Unreachable,
            reason: Some(os::error::chain(&error)),
        })
    }

    fn last(&mut self, vm: &VmName) -> Result<Option<Record>, ArbiterError> {
        self.cells.refresh()?;
        let Some(epoch) = self.cells.last(vm)? else {
            return Ok(None);
        };
        let Some(mut record) = self.claimed(vm, epoch)? else {
            // Claims are removed only when newer ones are there, so what was listed was out of date.
            return Err(ArbiterError::Unreachable(format!(
                "{} lists a claim of epoch {} of '{vm}' that is not there; try again",
                self.cells.place(),
                epoch.0
            )));
        };
        let cell = Cell::End(epoch);
        if let Some(bytes) = self.cells.read(vm, cell)? {
            let closing = Closing::parse(&bytes, vm, epoch);
            record.closed = Some(closing.ok_or_else(|| self.cells.damaged(vm, cell))?);
        }
        Ok(Some(record))
    }

    fn check(&mut self, vm: &VmName, epoch: Epoch, owner: u128) -> Result<(), ArbiterError> {
        self.owned_by(vm, epoch, owner)
    }

    fn close(&mut self, vm: &VmName, epoch: Epoch, owner: u128, why: &Closing) -> Result<(), ArbiterError> {
        if self.claimed(vm, epoch)?.is_none_or(|found| found.owner != owner) {
            return Err(ArbiterError::NotOwned {
                place: self.cells.place(),
                vm: vm.to_string(),
                epoch: epoch.0,
            });
        }
        // Whoever was first has said why; an epoch ends once.
        let text = why.text(vm, epoch);
        self.cells.create(vm, Cell::End(epoch), text.as_bytes()).map(drop)
    }

    fn flag(&self) -> String {
        self.cells.flag()
    }
}

fn lost(heir: bool, reason: String) -> Answer {
    Answer {
        verdict: Verdict::Lost { heir },
        reason: Some(reason),
    }
}
