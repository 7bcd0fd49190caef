//! The memory of the TLB: all entries of all tables and sets, and which groups of them may be in use.
//!
//! Generated code (`jit`) reads this memory by host address, at indices that it computes as [`index`] does.
//! So the order of the entries, the two words of each and what they mean must not change here alone. Nothing
//! here knows which address space a set belongs to.

use super::index::{Group, Groups, SETS, SLOTS, Set, Slot, TABLE, TABLES, Table, index};
use crate::ram::{PAGE, large_table};

/// The tag of an empty entry. No lookup asks for it: of the bits inside a page only those below an access's
/// size are in a tag that is looked for, and no access is a whole page wide.
const NO_TAG: u64 = u64::MAX;
/// How far to the left a place stands in the answer of an entry for fetches. So shifted, a place is the
/// distance in bytes of the page's entry points from those of place 0, which generated code adds. A place has
/// one entry point, of 8 bytes, for each halfword of a page (`jit::Translations`).
pub const PLACE_SHIFT: u32 = 14;
const _: () = assert!(1 << PLACE_SHIFT == PAGE / 2 * size_of::<u64>());
/// How many bytes after an entry for loads the entry for stores lies that has the same set and slot.
pub const STORE_DISTANCE: usize = TABLE * size_of::<Words>();

/// The number of a piece of memory in which the code of one page of RAM is kept, decoded and translated.
/// Whoever decodes gives these numbers out; the TLB only keeps them. Place 0 is for code that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePlace(pub usize);

/// What an entry says of its page: the second word of the entry.
///
/// In the tables for loads and for stores it is a distance: what to add to a virtual address in the page,
/// modulo 2^64, to get the host address of the byte in RAM. In the table for fetches it is the [`CodePlace`]
/// of the page's code, shifted left by [`PLACE_SHIFT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer(u64);

impl Answer {
    /// The answer that leads from a virtual address to a host address.
    pub const fn distance(address: u64, host: u64) -> Answer {
        Answer(host.wrapping_sub(address))
    }

    /// The host address to which this distance leads from a virtual address.
    #[inline(always)]
    pub const fn host(self, address: u64) -> u64 {
        address.wrapping_add(self.0)
    }

    /// The answer that names a place.
    pub const fn code(place: CodePlace) -> Answer {
        Answer((place.0 as u64) << PLACE_SHIFT)
    }

    /// The place that this answer names.
    #[inline(always)]
    pub const fn place(self) -> CodePlace {
        CodePlace((self.0 >> PLACE_SHIFT) as usize)
    }
}

/// One translation that is remembered: what holds for accesses of one kind to one page in one address space.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The virtual address of the page's first byte, or [`NO_TAG`].
    pub tag: u64,
    /// What to do with an access to the page.
    pub answer: Answer,
}

/// An [`Entry`] as it lies in memory: its tag, then its answer.
type Words = [u64; 2];

impl Entry {
    /// An entry that answers for nothing.
    const EMPTY: Entry = Entry {
        tag: NO_TAG,
        answer: Answer(0),
    };

    #[inline(always)]
    const fn of([tag, answer]: Words) -> Entry {
        Entry {
            tag,
            answer: Answer(answer),
        }
    }

    const fn words(self) -> Words {
        [self.tag, self.answer.0]
    }
}

/// The tag that the entry must have that answers for an access of `size` bytes, a power of two, at `address`.
/// The bits that make an access misaligned stay in the tag, so that no entry answers for one.
#[inline(always)]
const fn tag(address: u64, size: u64) -> u64 {
    page_of(address) | address & (size - 1)
}

/// The address of the first byte of the page that `address` lies in.
#[inline(always)]
const fn page_of(address: u64) -> u64 {
    address & !(PAGE as u64 - 1)
}

/// All entries.
pub struct Entries {
    /// The words of the entry at each [`index`]. They lie in one piece, so that generated code reaches the
    /// entries for loads and for stores from one register. All words of a set are 0 before
    /// [`Entries::begin`], so that the host gives no memory for sets that are never used; such a set must not
    /// be looked up, as a tag of 0 is that of a page.
    words: Box<[Words; TABLES * TABLE]>,
    /// For each set and table, the groups in which there may be entries. Invariant: a group that is not among
    /// them is empty, or its set has not begun.
    filled: [[Groups; TABLES]; SETS],
}

impl Entries {
    /// No entries. No set has begun.
    pub fn new() -> Entries {
        let Ok(words) = large_table([0; 2], TABLES * TABLE).try_into() else {
            unreachable!("the vector has this length");
        };
        Entries {
            words,
            filled: [[Groups::NONE; TABLES]; SETS],
        }
    }

    /// Makes the entries of a set, all empty. This must come before anything else that is done with the set.
    pub fn begin(&mut self, set: Set) {
        for table in Table::ALL {
            let first = index(table, set, Slot::of(0));
            self.words[first..][..SLOTS].fill(Entry::EMPTY.words());
        }
    }

    /// The host address of a set's first entry in a table. The others follow it, 16 bytes each.
    pub fn address(&self, table: Table, set: Set) -> *const u8 {
        (&raw const self.words[index(table, set, Slot::of(0))]).cast()
    }

    /// The answer for an access of `size` bytes, a power of two, at `address`; `None` if the page is not
    /// known or the access is misaligned. Looks into the page's own slot, then into its second one.
    #[inline(always)]
    pub fn find(&self, table: Table, set: Set, address: u64, size: u64) -> Option<Answer> {
        let tag = tag(address, size);
        let entry = self.get(table, set, Slot::of(address));
        if entry.tag == tag {
            return Some(entry.answer);
        }
        let entry = self.get(table, set, Slot::of(address).other());
        (entry.tag == tag).then_some(entry.answer)
    }

    #[inline(always)]
    fn get(&self, table: Table, set: Set, slot: Slot) -> Entry {
        Entry::of(self.words[index(table, set, slot)])
    }

    /// Puts the entry of the page that `address` lies in into the page's own slot. If another page's entry
    /// stands there, it goes to the other slot of its own two, which is the same one for both pages; what
    /// stood there is forgotten.
    pub fn fill(&mut self, table: Table, set: Set, address: u64, answer: Answer) {
        let tag = page_of(address);
        let own = Slot::of(address);
        let filled = &mut self.filled[set.number()][table as usize];
        filled.add(own);
        let before = self.words[index(table, set, own)];
        if Entry::of(before).tag != NO_TAG && Entry::of(before).tag != tag {
            self.words[index(table, set, own.other())] = before;
            filled.add(own.other());
        }
        self.words[index(table, set, own)] = Entry { tag, answer }.words();
    }

    /// Empties all entries of the page that `address` lies in, in all tables of a set.
    pub fn drop_page(&mut self, set: Set, address: u64) {
        for table in Table::ALL {
            for slot in [Slot::of(address), Slot::of(address).other()] {
                let words = &mut self.words[index(table, set, slot)];
                if Entry::of(*words).tag == page_of(address) {
                    *words = Entry::EMPTY.words();
                }
            }
        }
    }

    /// Empties the entry at a slot, if there is one that `is` says yes to.
    pub fn drop_at(&mut self, table: Table, set: Set, slot: Slot, is: impl Fn(Entry) -> bool) {
        // Most sets have no entry in the group, which is known without reading the table.
        if !self.filled[set.number()][table as usize].has(slot) {
            return;
        }
        let words = &mut self.words[index(table, set, slot)];
        if Entry::of(*words).tag != NO_TAG && is(Entry::of(*words)) {
            *words = Entry::EMPTY.words();
        }
    }

    /// Empties those of a set's entries in a table that stand in some groups and that `is` says yes to.
    pub fn drop_in(&mut self, table: Table, set: Set, groups: &Groups, is: impl Fn(Entry) -> bool) {
        for group in self.filled[set.number()][table as usize].both(groups) {
            let first = index(table, set, group.first());
            let mut empty = true;
            for words in &mut self.words[first..][..Group::SLOTS] {
                let entry = Entry::of(*words);
                if entry.tag == NO_TAG {
                    continue;
                }
                if is(entry) {
                    *words = Entry::EMPTY.words();
                } else {
                    empty = false;
                }
            }
            if empty {
                self.filled[set.number()][table as usize].remove(group);
            }
        }
    }
}
