//! Which address space each set of the TLB belongs to, which set was used longest ago, and the sets' stamps.
//!
//! Nothing here touches an entry: whoever gives a set to another space empties the set's entries first.

use super::index::{SETS, Set};
use crate::space::Space;

/// A number that a set has until one of its entries for fetches may have become wrong and was dropped; then
/// the set gets another one. (An entry that only had to make room for another was not wrong.) No stamp is
/// given out twice, so whoever finds the same stamp again knows that code which was reached through the set
/// is still where it was. Stamp 0 is what every set begins with; the set gets another one when it gets its
/// first space, if not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp as a number, for the translator's frames.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }
}

/// Which address spaces to drop entries of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// The spaces with this [`Space::root`].
    One(u64),
    /// All spaces.
    All,
}

/// What is known of one set.
#[derive(Clone, Copy, Debug)]
struct Owner {
    /// The space that the set belongs to. Invariant: no two sets belong to the same one.
    space: Option<Space>,
    /// [`Sets::clock`] when the set was last selected.
    used: u64,
    /// The [`Ram::generation`](crate::Ram::generation) as of which all entries for stores of the set are for
    /// plain pages.
    generation: u64,
    /// The present stamp.
    stamp: Stamp,
}

/// What is known of all sets.
pub struct Sets {
    /// By the number of the set.
    owners: [Owner; SETS],
    /// For some bits of a space ([`Space::hash`]), the number of the set in which a space with these bits was
    /// last found: where to look first.
    recent: [u8; 64],
    /// How often a set was selected.
    clock: u64,
    /// The number of the stamp that was given out last.
    stamps: u64,
}

impl Sets {
    /// Sets that belong to nobody.
    pub fn new() -> Sets {
        let owner = Owner {
            space: None,
            used: 0,
            generation: 0,
            stamp: Stamp(0),
        };
        Sets {
            owners: [owner; SETS],
            recent: [0; 64],
            clock: 0,
            stamps: 0,
        }
    }

    /// The set that belongs to a space, if there is one, which is used now.
    pub fn find(&mut self, space: Space) -> Option<Set> {
        let recent = usize::from(self.recent[space.hash() & 63]);
        let number = if self.owners[recent].space == Some(space) {
            recent
        } else {
            self.search(space)?
        };
        self.mark_used(number, space);
        Some(Set::numbered(number))
    }

    #[cold]
    fn search(&self, space: Space) -> Option<usize> {
        self.owners.iter().position(|owner| owner.space == Some(space))
    }

    /// A set that belongs to nobody, or else the one that was used longest ago.
    pub fn oldest(&self) -> Set {
        let owners = self.owners.iter().enumerate();
        let oldest = owners.min_by_key(|(_, owner)| (owner.space.is_some(), owner.used));
        Set::numbered(oldest.map_or(0, |(number, _)| number))
    }

    /// Does the set belong to a space?
    pub fn is_owned(&self, set: Set) -> bool {
        self.owners[set.number()].space.is_some()
    }

    /// Does the set belong to a space with such a root?
    pub fn is_under(&self, set: Set, roots: Roots) -> bool {
        self.owners[set.number()].space.is_some_and(|space| match roots {
            Roots::One(root) => space.root() == root,
            Roots::All => true,
        })
    }

    /// Gives a set, whose entries are all empty, to a space that has none; the set is used now.
    pub fn give(&mut self, set: Set, space: Space, generation: u64) {
        self.owners[set.number()].space = Some(space);
        self.owners[set.number()].generation = generation;
        self.mark_used(set.number(), space);
    }

    fn mark_used(&mut self, number: usize, space: Space) {
        self.clock = self.clock.wrapping_add(1);
        self.owners[number].used = self.clock;
        self.recent[space.hash() & 63] = number as u8;
    }

    /// Notes that the set's entries for stores are all for plain pages as of this generation; false if that
    /// was known.
    pub fn renew_generation(&mut self, set: Set, generation: u64) -> bool {
        std::mem::replace(&mut self.owners[set.number()].generation, generation) != generation
    }

    /// The set's present stamp.
    pub fn stamp(&self, set: Set) -> Stamp {
        self.owners[set.number()].stamp
    }

    /// Gives the set another stamp.
    pub fn renew_stamp(&mut self, set: Set) {
        self.stamps += 1;
        self.owners[set.number()].stamp = Stamp(self.stamps);
    }
}
