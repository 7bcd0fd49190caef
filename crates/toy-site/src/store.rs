//! The site's store: what people want of the VM, what somebody has begun, which hosts are drained, and where
//! the VM was last. Agents see each change some time after it was made, and change what they have read only
//! if nobody has changed it since.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use messages::time::Time;
use plan::{Drain, Operation, Protected, Swap};

/// States that are kept for agents which see the store late; an agent that has seen none of them reads the
/// newest, as a real one that has missed too much.
pub const STATES_KEPT: usize = 64;

/// Where the VM is, as its controller has noted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The host of its owner.
    pub owner: usize,
    /// The owner's epoch.
    pub epoch: u64,
    /// Changes of its owner.
    pub swaps: Vec<Swap>,
}

/// All that stands in the store at a time.
#[derive(Clone, Debug)]
pub struct State {
    /// When it was so first.
    at: Time,
    /// Whether the VM shall have a backup.
    pub protected: Protected,
    /// Hosts that are to be emptied.
    pub drains: BTreeMap<usize, Drain>,
    /// What somebody has begun, with its revision.
    pub operation: (u64, Option<Operation>),
    /// Where the VM is, with its revision.
    pub place: (u64, Place),
}

impl State {
    /// Was it so since another state, and not the other way round?
    pub fn since(&self, other: &State) -> bool {
        self.at >= other.at
    }
}

/// The store.
#[derive(Debug)]
pub struct Store {
    states: VecDeque<Rc<State>>,
    revision: u64,
}

impl Store {
    /// The store of a site whose VM was started on a host.
    pub fn new(owner: usize) -> Store {
        let place = Place {
            owner,
            epoch: 0,
            swaps: Vec::new(),
        };
        let state = State {
            at: Time(0),
            protected: Protected::On,
            drains: BTreeMap::new(),
            operation: (0, None),
            place: (0, place),
        };
        Store {
            states: VecDeque::from([Rc::new(state)]),
            revision: 0,
        }
    }

    /// What stands in it.
    pub fn now(&self) -> Option<&Rc<State>> {
        self.states.back()
    }

    /// What stood in it at a time, as far as that is kept.
    pub fn at(&self, time: Time) -> Option<&Rc<State>> {
        let known = self.states.iter().rev().find(|state| state.at <= time);
        known.or(self.states.front())
    }

    /// Somebody changes something.
    pub fn change(&mut self, now: Time, change: impl FnOnce(&mut State)) {
        let Some(last) = self.states.back() else {
            return;
        };
        let mut state = State::clone(last);
        state.at = now;
        change(&mut state);
        self.states.push_back(Rc::new(state));
        if self.states.len() > STATES_KEPT {
            self.states.pop_front();
        }
    }

    /// A new operation, or what an agent has to say of the one of this revision; false: that has changed.
    pub fn write_operation(
        &mut self,
        now: Time,
        revision: Option<u64>,
        operation: Option<Operation>,
    ) -> bool {
        let known = self.now().map(|state| state.operation.0);
        if revision.is_some() && revision != known {
            return false;
        }
        self.revision += 1;
        let revision = self.revision;
        self.change(now, |state| state.operation = (revision, operation));
        true
    }

    /// An agent notes where the VM is, if nobody has noted anything since that revision.
    pub fn write_place(&mut self, now: Time, revision: u64, place: Place) {
        if self.now().is_some_and(|state| state.place.0 == revision) {
            self.revision += 1;
            let revision = self.revision;
            self.change(now, |state| state.place = (revision, place));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_by_what_is_no_longer_so_changes_nothing_and_few_states_are_kept() {
        let mut store = Store::new(0);
        let place = |owner| Place {
            owner,
            epoch: 1,
            swaps: Vec::new(),
        };
        store.write_place(Time(5), 0, place(1));
        store.write_place(Time(6), 0, place(2));
        assert_eq!(store.now().unwrap().place.1.owner, 1);
        assert_eq!(store.at(Time(4)).unwrap().place.1.owner, 0);
        for time in 10..200 {
            store.change(Time(time), |_| {});
        }
        assert_eq!(store.states.len(), STATES_KEPT);
        assert_eq!(
            store.at(Time(4)).unwrap().place.1.owner,
            1,
            "the oldest that is kept"
        );
    }
}
