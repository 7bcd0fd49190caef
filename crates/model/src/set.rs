//! `Set`: some of the processes.

/// A process: its place in the state.
pub type Id = usize;

/// The name of a process, as docs/model.md has it.
#[must_use]
pub fn name(id: Id) -> char {
    ['P', 'B', 'A'].get(id).copied().unwrap_or('?')
}

/// A set of processes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Set(u8);

impl Set {
    /// The set with this process alone.
    #[must_use]
    pub fn of(id: Id) -> Set {
        Set(1 << id)
    }

    /// Is the process in it?
    #[must_use]
    pub fn has(self, id: Id) -> bool {
        self.0 & (1 << id) != 0
    }

    /// The set with this process too.
    #[must_use]
    pub fn with(self, id: Id) -> Set {
        Set(self.0 | 1 << id)
    }

    /// The set without this process.
    #[must_use]
    pub fn without(self, id: Id) -> Set {
        Set(self.0 & !(1 << id))
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Set) -> Set {
        Set(self.0 & other.0)
    }

    /// Has it no process?
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its processes, in order.
    pub fn iter(self) -> impl Iterator<Item = Id> {
        (0..8).filter(move |&id| self.has(id))
    }
}

impl FromIterator<Id> for Set {
    fn from_iter<I: IntoIterator<Item = Id>>(ids: I) -> Set {
        ids.into_iter().fold(Set::default(), Set::with)
    }
}

impl std::fmt::Debug for Set {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().map(name)).finish()
    }
}
