//! `EtcdCells`: cells as keys of an etcd cluster. A transaction that writes a key only if there is none of
//! its name is what writes a cell once.
//!
//! Etcd answers a write when a majority of its servers has it durably, and a read here is answered by what a
//! majority has agreed on. So this host remembers nothing, and no lease and no lock of etcd is used, since
//! leases run out. An answer that does not come tells nothing: the cell is read then, and what is read is
//! compared with what was to be written. If that cannot be read either, or is not there (yet), nobody knows
//! whether the cell will be written, and the answer is an error.
//!
//! The keys of a VM are `PREFIX VM/id`, `PREFIX VM/claim/EPOCH` and `PREFIX VM/end/EPOCH`, with epochs of 20
//! digits, so that keys are in the order of epochs. No VM's name holds a '/', so none of a VM's keys is
//! another's.

use etcd::{Client, Compare, EtcdError, KeyValue, Keys, Operation, Revision};
use replica::{Epoch, VmName};

use crate::ArbiterError;
use crate::cells::{Cell, Cells, Created};
use crate::etcd_place::EtcdPlace;
use crate::limits::{
    CELL_LEN_MAX, CLAIMS_KEPT_BY_NUMBER, CLAIMS_LISTED, CLAIMS_REMOVED_AT_ONCE, KEYS_LISTED,
};
use crate::record::Process;
use crate::test_and_set::TestAndSet;

/// An arbiter in an etcd cluster.
pub type EtcdArbiter = TestAndSet<EtcdCells>;

/// No key ever has this revision: etcd counts from 2 on, by ones.
const NEVER: Revision = Revision(u64::MAX >> 1);

/// Cells in an etcd cluster.
#[derive(Debug)]
pub struct EtcdCells {
    client: Client,
    place: EtcdPlace,
    /// The last claim that this process has written; `None`: none since old ones were removed last.
    written: Option<(VmName, Epoch)>,
}

impl EtcdArbiter {
    /// Uses a cluster for claims of `process`, after having seen that it can. Names of servers are looked up
    /// and files are read now, and never again.
    ///
    /// # Errors
    /// A file cannot be used, or the cluster cannot be reached or does not let its user write.
    pub fn open(place: &EtcdPlace, process: Process) -> Result<EtcdArbiter, ArbiterError> {
        Ok(TestAndSet::over(EtcdCells::open(place)?, process))
    }
}

impl EtcdCells {
    /// Uses a cluster, after having seen that it can. Names of servers are looked up and files are read now,
    /// and never again.
    ///
    /// # Errors
    /// A file cannot be used, or the cluster cannot be reached or does not let its user write.
    pub fn open(place: &EtcdPlace) -> Result<EtcdCells, ArbiterError> {
        let opened = place.settings().and_then(Client::at_fixed_addresses);
        let mut cells = EtcdCells {
            client: opened.map_err(|source| unusable(place, source))?,
            place: place.clone(),
            written: None,
        };
        cells.refresh()?;
        Ok(cells)
    }

    /// The VMs that have an identity here, in the order of their names.
    ///
    /// # Errors
    /// The cluster cannot be asked.
    pub fn vms(&self) -> Result<Vec<VmName>, ArbiterError> {
        let prefix = self.place.prefix();
        let listed = self.client.greatest(&Keys::Prefix(prefix.into()), KEYS_LISTED);
        let listed = listed.map_err(|source| self.unusable(source))?;
        let names = listed.found.iter().rev().filter_map(|found| {
            let name = str::from_utf8(&found.key)
                .ok()?
                .strip_prefix(prefix)?
                .strip_suffix("/id")?;
            VmName::new(name).ok()
        });
        Ok(names.collect())
    }

    fn unusable(&self, source: EtcdError) -> ArbiterError {
        unusable(&self.place, source)
    }

    fn key(&self, vm: &VmName, cell: Cell) -> String {
        let prefix = self.place.prefix();
        match cell {
            Cell::Id => format!("{prefix}{vm}/id"),
            Cell::Claim(epoch) => format!("{prefix}{vm}/claim/{:020}", epoch.0),
            Cell::End(epoch) => format!("{prefix}{vm}/end/{:020}", epoch.0),
        }
    }

    /// What a key holds now; `None`: there is no such key.
    fn find(&self, key: &str) -> Result<Option<Vec<u8>>, EtcdError> {
        let range = self.client.range(&Keys::One(key.into()), 1)?;
        Ok(value_of(range.found, key))
    }

    /// Writes a key, unless there is one of this name. Gives what the key holds if another write was first;
    /// `None`: this one was, now or in an attempt whose answer was lost.
    fn write_once(&self, key: &str, value: &[u8]) -> Result<Option<Vec<u8>>, EtcdError> {
        let absent = Compare {
            key: key.into(),
            revision: Revision(0),
        };
        let put = Operation::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        };
        let get = Operation::Get { key: key.into() };
        let found = match self.client.transact(&[absent], &[put], &[get]) {
            Ok(outcome) if outcome.succeeded => return Ok(None),
            Ok(outcome) => value_of(outcome.found, key).ok_or_else(|| EtcdError::Unanswered {
                endpoint: self.client.name(),
                reason: format!("it says that {key} is there, and does not say what it holds"),
            }),
            // The key may have been written, or may be later.
            Err(lost @ EtcdError::Unanswered { .. }) => self.find(key)?.ok_or(lost),
            Err(error) => Err(error),
        }?;
        Ok((found != value).then_some(found))
    }
}

pub(crate) fn unusable(place: &EtcdPlace, source: EtcdError) -> ArbiterError {
    ArbiterError::Etcd {
        place: place.to_string(),
        source,
    }
}

/// The value of this key among those that were found.
fn value_of(found: Vec<KeyValue>, key: &str) -> Option<Vec<u8>> {
    let mut ours = found.into_iter().filter(|found| found.key == key.as_bytes());
    ours.next().map(|found| found.value)
}

impl Cells for EtcdCells {
    fn create(&mut self, vm: &VmName, cell: Cell, value: &[u8]) -> Result<Created, ArbiterError> {
        let found = self.write_once(&self.key(vm, cell), value);
        let found = found.map_err(|source| self.unusable(source))?;
        if let (Cell::Claim(epoch), None) = (cell, &found) {
            self.written = Some((vm.clone(), epoch));
        }
        Ok(found.map_or(Created::Now, Created::Before))
    }

    fn read(&mut self, vm: &VmName, cell: Cell) -> Result<Option<Vec<u8>>, ArbiterError> {
        let found = self.find(&self.key(vm, cell));
        match found.map_err(|source| self.unusable(source))? {
            Some(value) if value.len() as u64 > CELL_LEN_MAX => Err(self.damaged(vm, cell)),
            found => Ok(found),
        }
    }

    fn last(&mut self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError> {
        let start = format!("{}{vm}/claim/", self.place.prefix());
        let claims = Keys::Prefix(start.clone().into_bytes());
        let listed = self.client.greatest(&claims, CLAIMS_LISTED);
        let listed = listed.map_err(|source| self.unusable(source))?;
        let mut epochs = listed
            .found
            .iter()
            .filter_map(|found| epoch_in(&found.key, &start));
        match epochs.next() {
            None if listed.more => Err(ArbiterError::Unreachable(format!(
                "{} holds keys under {start} that are no claims of Lockstep; look at them and remove them",
                self.place()
            ))),
            last => Ok(last),
        }
    }

    /// Asks for a write that is never made, for which etcd needs all that a write needs: a majority of its
    /// servers, the user's right, and room.
    fn refresh(&mut self) -> Result<(), ArbiterError> {
        let key = format!("{}probe", self.place.prefix()).into_bytes();
        let never = Compare {
            key: key.clone(),
            revision: NEVER,
        };
        let put = Operation::Put {
            key: key.clone(),
            value: Vec::new(),
            lease: None,
        };
        let asked = self.client.transact(&[never], &[put], &[Operation::Get { key }]);
        asked.map(drop).map_err(|source| self.unusable(source))
    }

    /// Etcd tells no time, so only the number of newer epochs says what is old.
    fn collect(&mut self, vm: &VmName) {
        let written = self.written.take().filter(|(of, _)| of == vm);
        let Some(last) = written.and_then(|(_, epoch)| epoch.0.checked_sub(CLAIMS_KEPT_BY_NUMBER)) else {
            return;
        };
        let first = (last + 1).saturating_sub(CLAIMS_REMOVED_AT_ONCE);
        let cells = (first..=last).flat_map(|epoch| [Cell::Claim(Epoch(epoch)), Cell::End(Epoch(epoch))]);
        let removals: Vec<Operation> = cells
            .map(|cell| Operation::Delete {
                key: self.key(vm, cell).into_bytes(),
            })
            .collect();
        if let Err(error) = self.client.transact(&[], &removals, &[]) {
            tracing::debug!("old claims in {} stay: {error}", self.place);
        }
    }

    fn place(&self) -> String {
        format!("the arbiter {}", self.place)
    }

    fn flag(&self) -> String {
        format!("--arbiter {}", self.place)
    }

    fn damaged(&self, vm: &VmName, cell: Cell) -> ArbiterError {
        ArbiterError::Damaged {
            what: format!("the key {} in {}", self.key(vm, cell), self.client.name()),
        }
    }
}

/// The epoch in this key, if it is that of a claim whose key begins so.
fn epoch_in(key: &[u8], start: &str) -> Option<Epoch> {
    let digits = str::from_utf8(key).ok()?.strip_prefix(start)?;
    let are_ours = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_ours.then(|| digits.parse().ok().map(Epoch))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twenty_digits_behind_the_start_are_an_epoch() {
        let epoch = |key: &str| epoch_in(key.as_bytes(), "/p/web/claim/").map(|epoch| epoch.0);
        assert_eq!(epoch("/p/web/claim/00000000000000000007"), Some(7));
        assert_eq!(epoch("/p/web/claim/18446744073709551615"), Some(u64::MAX));
        for other in [
            "/p/web/claim/7",
            "/p/web/claim/+0000000000000000007",
            "/p/web/claim/0000000000000000000x",
            "/p/web/claim/000000000000000000007",
            "/p/web/claim/18446744073709551616",
            "/p/web/end/00000000000000000007",
            "/p/web.a/claim/00000000000000000007",
        ] {
            assert_eq!(epoch(other), None, "{other}");
        }
        assert_eq!(
            epoch_in(b"/p/web/claim/0000000000000000000\xff", "/p/web/claim/"),
            None
        );
    }
}
