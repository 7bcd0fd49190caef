//! Where in the TLB's memory an entry stands: a *table*, a *set* and a *slot* make an index ([`index`]).
//!
//! The three are types of their own, so that no one of them can be taken for another. [`Groups`] says in
//! which parts of a table there may be entries, so that nobody has to read a whole table to drop a few of
//! them.
//!
//! The numbers here are also in generated code, which computes the same index by itself (`jit`): nothing
//! may change the order of tables, sets and slots in one place alone.

use crate::ram::PAGE_BITS;

/// How many sets there are: so many address spaces are remembered at the same time.
pub const SETS: usize = 32;
/// How many slots a set has in each table. A power of two, as a slot is some bits of an address.
pub const SLOTS: usize = 16384;
/// How many tables there are, one for each variant of [`Table`].
pub const TABLES: usize = 3;
/// How many entries a table has, those of all sets together.
pub const TABLE: usize = SETS * SLOTS;
/// The bit of a slot's number in which a page's second slot differs from its own slot.
pub const SECOND: usize = SLOTS / 2;

/// One of the three tables, by the kind of access that its entries answer for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// Its entries say from where in RAM a load reads.
    Load = 0,
    /// Its entries say to where in RAM a store may write without bookkeeping.
    Store = 1,
    /// Its entries say where the code of a page is kept.
    Fetch = 2,
}

impl Table {
    /// All tables, in the order in which they lie in memory.
    pub const ALL: [Table; TABLES] = [Table::Load, Table::Store, Table::Fetch];
}

/// One set: the part of every table that belongs to one address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// The index in a table of the set's first entry: the set's number times [`SLOTS`]. Below [`TABLE`]. It
    /// is kept multiplied, so that a lookup only has to add.
    first: usize,
}

impl Set {
    /// The first of all sets: what a variable holds while no set was selected. Nobody may look this set up or
    /// fill it before [`Tlb::select`](super::Tlb::select) has given it to a space, as its memory is zeros
    /// until then, which would answer for page 0.
    pub const FIRST: Set = Set { first: 0 };

    /// All sets.
    pub fn all() -> impl Iterator<Item = Set> {
        (0..SETS).map(Set::numbered)
    }

    /// The set with this number, which is below [`SETS`].
    pub fn numbered(number: usize) -> Set {
        Set {
            first: number % SETS * SLOTS,
        }
    }

    /// The number of the set, from 0 to [`SETS`] - 1.
    #[must_use]
    pub fn number(self) -> usize {
        self.first / SLOTS
    }
}

/// The position of an entry among those of its set in one table: a number below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

impl Slot {
    /// The own slot of the page that a virtual address lies in.
    #[inline(always)]
    pub const fn of(address: u64) -> Slot {
        Slot((address >> PAGE_BITS) as usize & (SLOTS - 1))
    }

    /// The slot with this number, which is below [`SLOTS`].
    pub const fn numbered(number: usize) -> Slot {
        Slot(number & (SLOTS - 1))
    }

    /// The number of the slot, from 0 to [`SLOTS`] - 1.
    pub const fn number(self) -> usize {
        self.0
    }

    /// The other one of a page's two slots: from the own slot the second one, and from the second one the own
    /// slot.
    #[inline(always)]
    pub const fn other(self) -> Slot {
        Slot(self.0 ^ SECOND)
    }

    /// The group that the slot lies in.
    const fn group(self) -> Group {
        Group(self.0 / Group::SLOTS)
    }
}

/// The index in the TLB's memory of the entry that a set has at a slot of a table.
#[inline(always)]
pub const fn index(table: Table, set: Set, slot: Slot) -> usize {
    // The mask changes nothing. It shows the compiler that the index lies in the table, which spares a check.
    table as usize * TABLE + ((set.first + slot.0) & (TABLE - 1))
}

/// Some slots that lie side by side ([`Group::SLOTS`]), by the number of the group, which is below
/// [`Group::COUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group(usize);

impl Group {
    /// How many slots a group has. Their entries take 1 KiB.
    pub const SLOTS: usize = 64;
    /// How many groups a set has in each table.
    const COUNT: usize = SLOTS / Group::SLOTS;

    /// The first slot of the group. The others follow it.
    pub const fn first(self) -> Slot {
        Slot(self.0 * Group::SLOTS)
    }
}

/// Some of the groups that a set has in a table: one bit for each group, from bit 0 of the first word on.
#[derive(Clone, Copy, Debug)]
pub struct Groups([u64; Group::COUNT / 64]);

impl Groups {
    /// No group.
    pub const NONE: Groups = Groups([0; Group::COUNT / 64]);
    /// Every group.
    pub const ALL: Groups = Groups([u64::MAX; Group::COUNT / 64]);

    /// The groups in which entries of these pages may stand, in their own slots or in their second ones.
    /// `address` lies in the first page; `pages` is at most [`SLOTS`].
    pub fn of_pages(address: u64, pages: usize) -> Groups {
        let mut groups = Groups::NONE;
        // One group more than the pages fill, as the first page may lie in the middle of a group.
        for group in 0..pages.div_ceil(Group::SLOTS) + 1 {
            let slot = Slot::numbered(Slot::of(address).number() + group * Group::SLOTS);
            groups.add(slot);
            groups.add(slot.other());
        }
        groups
    }

    /// Adds the group that a slot lies in.
    pub fn add(&mut self, slot: Slot) {
        let Group(group) = slot.group();
        self.0[group / 64] |= 1 << (group % 64);
    }

    /// Takes a group away.
    pub fn remove(&mut self, Group(group): Group) {
        self.0[group / 64] &= !(1 << (group % 64));
    }

    /// Is the group that a slot lies in among these?
    pub fn has(&self, slot: Slot) -> bool {
        let Group(group) = slot.group();
        self.0[group / 64] >> (group % 64) & 1 != 0
    }

    /// The groups that are among these and among the others.
    pub fn both(self, other: &Groups) -> impl Iterator<Item = Group> + use<> {
        let mut words = self.0;
        for (word, other) in words.iter_mut().zip(other.0) {
            *word &= other;
        }
        words.into_iter().enumerate().flat_map(|(index, word)| {
            // Each step takes the lowest bit that is set away.
            let next = |word: &u64| (word & (word - 1) != 0).then_some(word & (word - 1));
            let words = std::iter::successors((word != 0).then_some(word), next);
            words.map(move |word| Group(index * 64 + word.trailing_zeros() as usize))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_there_until_it_is_removed() {
        let mut groups = Groups::NONE;
        for slot in [0, 63, 64, 64 * Group::SLOTS, SLOTS - 1].map(Slot) {
            groups.add(slot);
        }
        let found: Vec<_> = groups.both(&Groups::ALL).collect();
        assert_eq!(found, [0, 1, 64, SLOTS / Group::SLOTS - 1].map(Group));
        groups.remove(Group(1));
        let has = |slot| groups.has(Slot(slot));
        assert!(has(1) && !has(64) && has(64 * Group::SLOTS));
        let page: Vec<_> = groups.both(&Groups::of_pages(0x1000, 1)).collect();
        assert_eq!(page, [Group(0)]);
    }
}
