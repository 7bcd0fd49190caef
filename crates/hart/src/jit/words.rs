//! 32-bit results, whose sign extension is put off until somebody wants it.

use super::{
    emit::*,
    plan::{Set, bit, makes_word},
    stubs::HOSTS,
    translate::Block,
};
use crate::op::Op;

impl Block<'_> {
    /// Before a native op: what it reads all of is extended, and what is lazy still is so if the op has to be done otherwise. Are its
    /// operands words?
    pub(super) fn before(&mut self, o: Op) -> bool {
        let words = self.words.are(o);
        self.settle(self.words.read_whole(o));
        self.exposed = self.words.lazy;
        words
    }

    /// Behind a native op whose operands were `words`, or not.
    pub(super) fn behind(&mut self, o: Op, words: bool) {
        if let Some(register) = makes_word(o, words) {
            self.words.known |= bit(register);
        }
    }

    pub(super) fn are_words(&self, o: Op) -> bool {
        self.words.are(o)
    }

    /// The size of an operation that on words is the same as on their lower halves.
    pub(super) fn size_of(&self, o: Op) -> Size {
        if self.words.are(o) {
            Size::Double
        } else {
            Size::Quad
        }
    }

    /// Is one of the operands lazy?
    pub(super) fn is_lazy(&self, o: Op) -> bool {
        self.words.is_lazy(o)
    }

    /// Extends those of these that are lazy. The flags stay as they are.
    pub(super) fn settle(&mut self, registers: Set) {
        let lazy = self.words.lazy & registers;
        for (guest, host) in self.plan.seats.into_iter().zip(HOSTS) {
            if lazy & bit(guest) != 0 {
                self.e.load(Extend::WordSigned, host, Operand::Register(host));
            }
        }
        self.words.lazy &= !lazy;
    }

    /// Defines a 32-bit result.
    pub(super) fn define_word(&mut self, guest: u8, host: Register) {
        if self.pinned(guest).is_some() {
            self.define(guest, host);
            self.words.lazy |= bit(guest);
        } else {
            self.e.load(Extend::WordSigned, RAX, Operand::Register(host));
            self.define(guest, RAX);
        }
        self.words.known |= bit(guest);
    }

    /// A jump to the head follows: to that of the slow turns, where nothing is lazy, or of the fast ones. Does it lead on from a first turn
    /// to others that are there only for what is lazy?
    pub(super) fn settle_for_head(&mut self) -> bool {
        let mut leads_on = false;
        if !self.fast {
            self.carried = self.words;
            leads_on = self.plan.is_worth_carrying(self.words);
        }
        self.settle(match self.fast || leads_on {
            true => !self.carried.lazy,
            false => Set::MAX,
        });
        leads_on
    }
}
