//! Which guest registers live in host registers, and how their values get there and back.
//!
//! Between superblocks it is always those of [`PINNED`]. Inside a superblock, what is not among them but used much oftener takes
//! the places of those that are used least, exchanged on the way in, and back on every way out; in a loop, if it is used oftener at all.

use super::{
    access::writes,
    emit::*,
    float,
    stubs::{PINNED, register},
    translate::{Block, is_loop, native},
    words::{Set, bit},
};
use crate::op::Op;

/// Guest registers and the host registers they live in.
pub type Map = [(u8, Register); PINNED.len()];

/// How much oftener a register must be used than the one whose place it takes: that costs two instructions on the way in and
/// two on the way out, which a loop does many turns between.
const MORE_IN_LOOP: usize = 1;
const MORE_ELSEWHERE: usize = 6;

/// The map for these ops.
pub fn map(ops: &[(usize, Op)]) -> Map {
    if ops.iter().any(|&(_, op)| !native(op)) {
        return PINNED;
    }
    let mut uses = [0; 32];
    for guest in ops
        .iter()
        .flat_map(|&(_, op)| reads(op).into_iter().chain([writes(op)]))
    {
        // What a load into x0 writes is no register.
        if let Some(guest @ 1..32) = guest {
            uses[usize::from(guest)] += 1;
        }
    }
    let more = if is_loop(ops) {
        MORE_IN_LOOP
    } else {
        MORE_ELSEWHERE
    };
    let used = |guest: u8| uses[usize::from(guest)];
    let mut map = PINNED;
    let mut others: Vec<u8> = (1..32)
        .filter(|&guest| used(guest) >= more && !is_pinned(guest))
        .collect();
    others.sort_by_key(|&guest| std::cmp::Reverse(used(guest)));
    for other in others {
        let least = map
            .iter_mut()
            .filter(|(guest, _)| is_pinned(*guest))
            .min_by_key(|(guest, _)| used(*guest));
        let Some((guest, _)) = least.filter(|(guest, _)| used(other) >= used(*guest) + more) else {
            break;
        };
        *guest = other;
    }
    map
}

fn is_pinned(guest: u8) -> bool {
    PINNED.iter().any(|&(register, _)| register == guest)
}

/// The integer registers that a native op may read.
pub fn reads(op: Op) -> [Option<u8>; 2] {
    use crate::op::Code::*;
    match op.code {
        Li | Auipc | Jal | J | Nop => [None, None],
        Float => [float::from_integer(op).then_some(op.rs1), None],
        Fsw | Fsd => [Some(op.rs1), None],
        _ => [Some(op.rs1), op.has_rs2().then_some(op.rs2)],
    }
}

impl Block<'_> {
    /// From [`PINNED`] to this superblock's map.
    pub(super) fn swap_in(&mut self) {
        self.swap(self.map, PINNED);
    }

    /// Back to [`PINNED`], and nothing is lazy.
    pub(super) fn swap_out(&mut self) {
        self.settle(Set::MAX);
        self.exposed = 0;
        self.swap(PINNED, self.map);
    }

    fn swap(&mut self, to: Map, from: Map) {
        for ((new, host), (old, _)) in to.into_iter().zip(from) {
            if new != old {
                self.e.store(register(old), host);
                self.e.mov(Size::Quad, host, Operand::Memory(register(new)));
            }
        }
    }

    /// The host register that a guest register lives in.
    pub(super) fn pinned(&self, guest: u8) -> Option<Register> {
        self.map
            .iter()
            .find_map(|&(register, host)| (register == guest).then_some(host))
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
        if self.shared.is_some_and(|shared| shared.base == guest) {
            self.shared = None;
        }
        self.words.known &= !bit(guest);
        self.words.lazy &= !bit(guest);
    }
}
