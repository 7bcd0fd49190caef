//! Which guest registers live in host registers, and how their values get there and back.
//!
//! Between superblocks it is always those of [`PINNED`]. Inside a superblock, what is not among them but used much oftener takes
//! the places of those that are used least, exchanged on the way in, and back on every way out; in a loop, if it is used oftener at all.

use super::{
    emit::*,
    plan::{PINNED, Seats, Set},
    stubs::{HOSTS, register},
    translate::Block,
};
use crate::op::Op;

impl Block<'_> {
    /// From [`PINNED`] to this superblock's map.
    pub(super) fn swap_in(&mut self) {
        self.swap(self.plan.seats, PINNED);
    }

    /// Back to [`PINNED`], and nothing is lazy.
    pub(super) fn swap_out(&mut self) {
        self.settle(Set::MAX);
        self.exposed = 0;
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

    /// The host register that a guest register lives in.
    pub(super) fn pinned(&self, guest: u8) -> Option<Register> {
        let seat = self.plan.seats.iter().position(|&seated| seated == guest);
        seat.map(|seat| HOSTS[seat])
    }

    pub(super) fn operand(&self, guest: u8) -> Operand {
        self.pinned(guest)
            .map_or(Operand::Memory(register(guest)), Operand::Register)
    }

    /// The register's value, in its own host register or in `scratch`.
    pub(super) fn value(&mut self, guest: u8, scratch: Register) -> Register {
        self.pinned(guest).unwrap_or_else(|| {
            self.e.mov(Size::Quad, scratch, Operand::Memory(register(guest)));
            scratch
        })
    }

    /// Where to compute a register's new value.
    pub(super) fn target(&self, guest: u8) -> Register {
        self.pinned(guest).unwrap_or(RAX)
    }

    /// A register that holds `rs1` and may be changed while `rs2` is still needed: where the result is to be, if it can.
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

    /// What is in `host` becomes the register's value.
    pub(super) fn define(&mut self, guest: u8, host: Register) {
        self.forget(guest);
        match self.pinned(guest) {
            Some(to) => self.e.mov(Size::Quad, to, Operand::Register(host)),
            None => self.e.store(register(guest), host),
        }
    }

    /// Likewise, of an op that may name x0.
    pub(super) fn define_unless_x0(&mut self, guest: u8, host: Register) {
        if guest != 0 {
            self.define(guest, host);
        }
    }

    /// The register has another value now.
    pub(super) fn forget(&mut self, guest: u8) {
        if self.shared.is_some_and(|shared| shared.group.base == guest) {
            self.shared = None;
        }
        self.words.forget(guest);
    }
}
