//! Hints: in which slots the entries for stores to a page of RAM may stand, to find them without reading all
//! tables.
//!
//! A page of RAM is mostly stored to at one or two virtual addresses: a program's and the kernel's. So two
//! slots are noted for each page, and for a page with more than that only that there are more. A slot is
//! noted as the own slot of the virtual page; its entry may have moved to the second slot since, so whoever
//! follows a hint looks into both. A hint may name a slot with no entry in either; it never leaves an entry
//! out.

use super::index::{SLOTS, Slot};

/// What is noted of one page of RAM: the numbers of up to two slots, each plus one, or 0 where there is none;
/// or [`MORE`]. It has four bytes, as there is one for each page of RAM.
type Noted = [u16; 2];
const NONE: u16 = 0;
const MORE: Noted = [u16::MAX; 2];
const _: () = assert!(SLOTS < u16::MAX as usize);

/// Where the entries for stores to one page of RAM may stand, in every set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// In these slots, or in the other one of each of them.
    Slots([Option<Slot>; 2]),
    /// In any slot.
    Anywhere,
}

/// The hints for all pages of RAM, by the number of the page.
pub struct Hints(Vec<Noted>);

impl Hints {
    /// Hints for so many pages of RAM, to none of which there are entries for stores.
    pub fn new(pages: usize) -> Hints {
        Hints(vec![[NONE; 2]; pages])
    }

    /// How many pages of RAM there are hints for.
    pub fn pages(&self) -> usize {
        self.0.len()
    }

    /// Notes that an entry for stores to a page of RAM is made for a virtual page whose own slot is this one.
    pub fn note(&mut self, page: usize, own: Slot) {
        let own = own.number() as u16 + 1;
        let noted = &mut self.0[page];
        *noted = match *noted {
            [NONE, _] => [own, NONE],
            [one, NONE] if one != own => [one, own],
            [one, other] if one == own || other == own => return,
            _ => MORE,
        };
    }

    /// Where the entries for stores to a page of RAM may stand. All of them are about to be dropped, so that
    /// nothing is noted of the page afterwards.
    pub fn take(&mut self, page: usize) -> Hint {
        let noted = std::mem::take(&mut self.0[page]);
        if noted == MORE {
            return Hint::Anywhere;
        }
        Hint::Slots(noted.map(|number| (number != NONE).then(|| Slot::numbered(usize::from(number) - 1))))
    }
}
