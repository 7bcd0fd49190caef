//! Guest registers: where they live, how their values are read and written, and when what is lazy is
//! extended.
//!
//! Registers without a seat live in memory and are written there at once. Registers with a seat live in a
//! host register, which may be lazy (`plan::words`). Control leaves a superblock with the pinned registers in
//! the seats and nothing lazy.

use super::{
    block::Block,
    host::{HOSTS, register},
};
use crate::{
    jit::{
        emit::*,
        plan::{PINNED, Seats, Set, bit, makes_word},
    },
    op::Op,
};

/// Seats and exchanges.
impl Block<'_> {
    /// The superblock is entered: the seats change from the pinned registers to those of the plan.
    pub(super) fn swap_in(&mut self) {
        self.swap(self.plan.seats, PINNED);
    }

    /// The superblock is left: nothing is lazy any more, all floating-point registers are in memory, and the
    /// seats change back to the pinned registers. rax stays as it is.
    pub(super) fn swap_out(&mut self) {
        self.settle(Set::MAX);
        self.release(Set::MAX);
        self.expose();
        self.swap(PINNED, self.plan.seats);
    }

    fn swap(&mut self, to: Seats, from: Seats) {
        for (host, (new, old)) in HOSTS.into_iter().zip(to.into_iter().zip(from)) {
            if new != old {
                self.e.store(register(old), host);
                self.e.mov(Size::Quad, host, Operand::Memory(register(new)));
            }
        }
    }

    /// The host register in which a guest register has its seat; `None` if it lives in memory.
    pub(super) fn pinned(&self, guest: u8) -> Option<Register> {
        let seat = self.plan.seats.iter().position(|&seated| seated == guest);
        seat.map(|seat| HOSTS[seat])
    }
}

/// Reading and writing.
impl Block<'_> {
    /// Where a register lives, as an operand.
    pub(super) fn operand(&self, guest: u8) -> Operand {
        self.pinned(guest)
            .map_or(Operand::Memory(register(guest)), Operand::Register)
    }

    /// A host register that holds a register's value and must not be changed: its seat, or else `scratch`.
    pub(super) fn value(&mut self, guest: u8, scratch: Register) -> Register {
        self.pinned(guest).unwrap_or_else(|| {
            self.e.mov(Size::Quad, scratch, Operand::Memory(register(guest)));
            scratch
        })
    }

    /// The host register in which a register's new value is best computed: its seat, or else rax.
    pub(super) fn target(&self, guest: u8) -> Register {
        self.pinned(guest).unwrap_or(RAX)
    }

    /// A host register that holds `rs1` and may be changed while `rs2` is still needed: the target of `rd`,
    /// if it can be.
    pub(super) fn first(&mut self, o: Op) -> Register {
        let target = self.target(o.rd);
        let work = if self.operand(o.rs2) == Operand::Register(target) && o.rs1 != o.rs2 {
            RAX
        } else {
            target
        };
        self.e.mov(Size::Quad, work, self.operand(o.rs1));
        work
    }

    /// The value in `host` becomes the register's.
    pub(super) fn define(&mut self, guest: u8, host: Register) {
        self.forget(guest);
        match self.pinned(guest) {
            Some(to) => self.e.mov(Size::Quad, to, Operand::Register(host)),
            None => self.e.store(register(guest), host),
        }
    }

    /// The value in `host` becomes the register's, unless that is x0.
    pub(super) fn define_unless_x0(&mut self, guest: u8, host: Register) {
        if guest != 0 {
            self.define(guest, host);
        }
    }

    /// The lower half of `host`, sign-extended, becomes the register's value; with a seat it is lazy.
    pub(super) fn define_word(&mut self, guest: u8, host: Register) {
        if self.pinned(guest).is_some() {
            self.define(guest, host);
            self.known.words.lazy |= bit(guest);
        } else {
            self.e.load(Extend::WordSigned, RAX, Operand::Register(host));
            self.define(guest, RAX);
        }
        self.known.words.known |= bit(guest);
    }

    /// The result of an operation of this size, in `host`, becomes the register's value.
    pub(super) fn result(&mut self, size: Size, guest: u8, host: Register) {
        match size {
            Size::Quad => self.define(guest, host),
            Size::Double => self.define_word(guest, host),
        }
    }

    /// The register has another value now, of which nothing is known.
    pub(super) fn forget(&mut self, guest: u8) {
        self.known.shared.forget(guest);
        self.known.words.forget(guest);
    }
}

/// Sign-extended words.
impl Block<'_> {
    /// A native op begins: what it reads all of is extended. Returns whether its operands are sign-extended
    /// words.
    pub(super) fn before(&mut self, o: Op) -> bool {
        let words = self.known.words.are(o);
        self.settle(self.known.words.read_whole(o));
        self.expose();
        words
    }

    /// A native op ends, whose operands were sign-extended `words`, or not.
    pub(super) fn after(&mut self, o: Op, words: bool) {
        if let Some(register) = makes_word(o, words) {
            self.known.words.known |= bit(register);
        }
    }

    /// The size of a comparison or logical operation: of sign-extended words, the lower halves say the same.
    pub(super) fn size_of(&self, o: Op) -> Size {
        if self.known.words.are(o) {
            Size::Double
        } else {
            Size::Quad
        }
    }

    /// Is one of the operands lazy?
    pub(super) fn is_lazy(&self, o: Op) -> bool {
        self.known.words.is_lazy(o)
    }

    /// Extends those of these registers that are lazy. The flags stay as they are.
    pub(super) fn settle(&mut self, registers: Set) {
        let lazy = self.known.words.lazy & registers;
        for (guest, host) in self.plan.seats.into_iter().zip(HOSTS) {
            if lazy & bit(guest) != 0 {
                self.e.load(Extend::WordSigned, host, Operand::Register(host));
            }
        }
        self.known.words.lazy &= !lazy;
    }
}
