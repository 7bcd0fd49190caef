//! Memory accesses of superblocks: the TLB's lookup inline, and what it finds shared by neighbours.
//!
//! A lookup takes the first byte's entry and compares it with the last byte's tag: it matches only if both are in one page.
//! Accesses through the same register that lie close together share one. What it finds, the distance from guest to
//! host addresses, stays in [`SHARED`] until the register is written or the interpreter has done something.
//!
//! In a loop that follows a chain of pointers, each turn waits for the load of the last one and then for its lookup. The nodes are mostly
//! equally far from their host addresses, many in one page or in one of the guest's large pages. So there a lookup only *confirms* what
//! [`SHARED`] holds already: the host's processor foresees that it does, and begins the load at once.

use super::{
    emit::*,
    plan::{Extent, Group},
    stubs::{Field, NOTHING, SHARED, TLB, TLB_MASK, TLB_SECOND, field, held},
    translate::{At, Block, Cold},
};
use crate::{
    op::{Code, Op},
    tlb::STORE_DISTANCE,
};

/// The lookup whose result is in [`SHARED`].
#[derive(Clone, Copy)]
pub struct Shared {
    /// What it holds for.
    pub group: Group,
    /// Where in the code it was made, which no other was.
    pub made: usize,
}

/// A lookup of an entry at rdx, with the tag in rax.
#[derive(Clone, Copy)]
pub struct Lookup {
    /// Taken if it fails.
    pub miss: Jump,
    /// Where the code goes on when it does not.
    hit: usize,
    /// Of the TLB's tables.
    table: i32,
}

impl Lookup {
    /// What the entry says of where the page is.
    pub fn place(&self) -> Operand {
        Operand::Memory(Memory::indexed(TLB, RDX, 0, self.table + 8))
    }
}

/// What an access found out about its address.
pub struct Reached {
    /// Where to access.
    pub memory: Memory,
    lookup: Option<Lookup>,
    /// It was made for others too.
    leads: bool,
}

impl Block<'_> {
    /// Looks the address of an access up; rcx and rdx may be part of the result.
    pub(super) fn reach(&mut self, at: At, o: Op) -> Reached {
        let extent = Extent::of(o).expect("an access that can share a lookup");
        let covers = |shared: &Shared| shared.group.base == o.rs1 && shared.group.extent.covers(extent);
        let covered = self.shared.as_ref().is_some_and(covers);
        let base = self.value(o.rs1, RCX);
        let known = if self.find_stream(o) {
            Some(RDX)
        } else {
            covered.then_some(SHARED)
        };
        if let Some(place) = known {
            return Reached {
                memory: Memory::indexed(place, base, 0, o.imm),
                lookup: None,
                leads: false,
            };
        }
        let chain = self.plan.follows_chain(o.rs1) && !self.alone;
        let group = (!self.alone).then(|| self.plan.group(at.index)).flatten();
        if let Some(group) = group {
            let lookup = if chain {
                self.confirm(base, group.extent)
            } else {
                self.lookup(base, group.extent, -4096, SHARED)
            };
            let made = self.e.here();
            self.shared = Some(Shared { group, made });
            return Reached {
                memory: Memory::indexed(SHARED, base, 0, o.imm),
                lookup: Some(lookup),
                leads: true,
            };
        }
        let (place, lookup) = if chain && self.shared.is_none() {
            (SHARED, self.confirm(base, extent))
        } else {
            (RDX, self.lookup(base, extent, -4096, RDX))
        };
        Reached {
            memory: Memory::indexed(place, base, 0, o.imm),
            lookup: Some(lookup),
            leads: false,
        }
    }

    /// Looks up what is behind `base`, in a chain of pointers: [`SHARED`] holds the place already, or else becomes it on the side.
    fn confirm(&mut self, base: Register, extent: Extent) -> Lookup {
        let lookup = self.find(base, extent, -4096);
        self.e.alu(Alu::Cmp, Size::Quad, SHARED, lookup.place());
        let elsewhere = self.e.jump_if(Condition::NotEqual);
        let back = self.e.here();
        self.put_off(elsewhere, Cold::Elsewhere { lookup, back });
        lookup
    }

    /// Looks up what is behind `base`. `mask` is for the last byte's tag; the place goes into `found`.
    pub(super) fn lookup(&mut self, base: Register, extent: Extent, mask: i32, found: Register) -> Lookup {
        let lookup = self.find(base, extent, mask);
        self.e.mov(Size::Quad, found, lookup.place());
        lookup
    }

    /// Finds the entry of what is behind `base`.
    fn find(&mut self, base: Register, extent: Extent, mask: i32) -> Lookup {
        let (first, last) = (extent.low, extent.high - 1);
        let table = if extent.stores { STORE_DISTANCE as i32 } else { 0 };
        let e = &mut self.e;
        e.lea(Size::Quad, RAX, Memory::at(base, last));
        if first == last {
            e.rotate(RDX, RAX, 8);
        } else if first == 0 {
            e.rotate(RDX, base, 8);
        } else {
            e.lea(Size::Double, RDX, Memory::at(base, first));
            e.rotate(RDX, RDX, 8);
        }
        e.alu_immediate(Alu::And, Size::Double, Operand::Register(RDX), TLB_MASK);
        e.alu_immediate(Alu::And, Size::Quad, Operand::Register(RAX), mask);
        let entry = Operand::Memory(Memory::indexed(TLB, RDX, 0, table));
        e.alu(Alu::Cmp, Size::Quad, RAX, entry);
        let miss = e.jump_if(Condition::NotEqual);
        let hit = e.here();
        Lookup { miss, hit, table }
    }

    /// Looks up where the byte at `rs1` is stored: in the base, which is returned, plus rdx.
    pub(super) fn look_up_byte(&mut self, o: Op) -> (Register, Lookup) {
        let base = self.value(o.rs1, RCX);
        (base, self.lookup(base, Extent::first_byte(true), -4096, RDX))
    }

    /// Goes on with the access if the second slot has its entry.
    pub(super) fn look_again(&mut self, lookup: &Lookup) {
        let e = &mut self.e;
        e.alu_immediate(Alu::Xor, Size::Double, Operand::Register(RDX), TLB_SECOND);
        let entry = Operand::Memory(Memory::indexed(TLB, RDX, 0, lookup.table));
        e.alu(Alu::Cmp, Size::Quad, RAX, entry);
        let hit = e.jump_if(Condition::Equal);
        e.land_back(hit, lookup.hit);
    }

    /// Behind the access.
    pub(super) fn reached(&mut self, at: At, reached: &Reached) {
        if let Some(lookup) = reached.lookup {
            self.looked_up(lookup, at, reached.leads);
        }
    }

    /// Translates a load, a store or an atomic access.
    pub(super) fn access(&mut self, at: At, o: Op) {
        use Code::*;
        match o.code {
            Lb => self.load(Extend::ByteSigned, at, o),
            Lh => self.load(Extend::HalfSigned, at, o),
            Lw => self.load(Extend::WordSigned, at, o),
            Ld => self.load(Extend::Full, at, o),
            Lbu => self.load(Extend::Byte, at, o),
            Lhu => self.load(Extend::Half, at, o),
            Lwu => self.load(Extend::Word, at, o),
            Sb => self.store(1, at, o),
            Sh => self.store(2, at, o),
            Sw => self.store(4, at, o),
            Sd => self.store(8, at, o),
            AmoW => self.amo(4, at, o),
            AmoD => self.amo(8, at, o),
            LrW => self.load_reserved(4, at, o),
            LrD => self.load_reserved(8, at, o),
            ScW => self.store_conditional(4, at, o),
            // ScD; the others do not come here.
            _ => self.store_conditional(8, at, o),
        }
    }

    fn load(&mut self, extend: Extend, at: At, o: Op) {
        let reached = self.reach(at, o);
        let target = self.target(o.rd);
        self.e.load(extend, target, Operand::Memory(reached.memory));
        self.define(o.rd, target);
        self.reached(at, &reached);
    }

    fn store(&mut self, size: u8, at: At, o: Op) {
        let reached = self.reach(at, o);
        let from = self.value(o.rs2, RAX);
        self.e.store_low(size, reached.memory, from);
        self.reached(at, &reached);
    }

    /// rcx becomes the host address of an atomic access.
    fn reach_atomic(&mut self, size: u8, stores: bool, o: Op) -> Lookup {
        let base = self.value(o.rs1, RCX);
        // Of the first byte alone: at a misaligned address it does not match.
        let mask = -4096 | i32::from(size - 1);
        let lookup = self.lookup(base, Extent::first_byte(stores), mask, RDX);
        self.e.lea(Size::Quad, RCX, Memory::indexed(RDX, base, 0, 0));
        lookup
    }

    fn load_atomic(&mut self, size: u8) {
        let extend = if size == 8 {
            Extend::Full
        } else {
            Extend::WordSigned
        };
        self.e.load(extend, RAX, Operand::Memory(Memory::at(RCX, 0)));
    }

    /// `address` becomes what a reservation of it is.
    fn reservation(&mut self, address: Register) {
        self.e.alu(Alu::Sub, Size::Quad, address, held(Field::Ram));
        self.e
            .alu_immediate(Alu::And, Size::Quad, Operand::Register(address), -8);
    }

    fn load_reserved(&mut self, size: u8, at: At, o: Op) {
        let lookup = self.reach_atomic(size, false, o);
        self.load_atomic(size);
        self.reservation(RCX);
        self.e.store(field(Field::Reserved), RCX);
        self.define_unless_x0(o.rd, RAX);
        self.looked_up(lookup, at, false);
    }

    /// If it succeeds, or if nothing is reserved at all, as on the way out of a kernel.
    fn store_conditional(&mut self, size: u8, at: At, o: Op) {
        let base = self.value(o.rs1, RCX);
        self.e
            .alu_immediate(Alu::Cmp, Size::Quad, held(Field::Reserved), NOTHING as i32);
        let reserved = self.e.jump_if(Condition::NotEqual);
        self.e.test_bits(base, i32::from(size - 1));
        let misaligned = self.e.jump_if(Condition::NotEqual);
        self.result_of_store(1, o);
        let fails = self.e.jump();
        self.e.land(reserved);
        let lookup = self.reach_atomic(size, true, o);
        self.e.mov(Size::Quad, RAX, Operand::Register(RCX));
        self.reservation(RAX);
        self.e.alu(Alu::Cmp, Size::Quad, RAX, held(Field::Reserved));
        let elsewhere = self.e.jump_if(Condition::NotEqual);
        self.e
            .alu_immediate(Alu::Or, Size::Quad, held(Field::Reserved), NOTHING as i32);
        let from = self.value(o.rs2, RAX);
        self.e.store_low(size, Memory::at(RCX, 0), from);
        self.result_of_store(0, o);
        self.e.land(fails);
        self.interpret_at(misaligned, at, true);
        self.interpret_at(elsewhere, at, true);
        self.looked_up(lookup, at, false);
    }

    fn result_of_store(&mut self, result: i64, o: Op) {
        if o.rd != 0 {
            let target = self.target(o.rd);
            self.e.load_immediate(target, result);
            self.define(o.rd, target);
        }
    }

    fn amo(&mut self, size: u8, at: At, o: Op) {
        let lookup = self.reach_atomic(size, true, o);
        self.load_atomic(size);
        let operand = self.operand(o.rs2);
        self.e.mov(Size::Quad, RDX, operand);
        let op = match o.field() {
            0x00 => Some(Alu::Add),
            0x04 => Some(Alu::Xor),
            0x08 => Some(Alu::Or),
            0x0c => Some(Alu::And),
            _ => None,
        };
        if let Some(op) = op {
            self.e.alu(op, Size::Quad, RDX, Operand::Register(RAX));
        }
        self.e.store_low(size, Memory::at(RCX, 0), RDX);
        self.define_unless_x0(o.rd, RAX);
        self.looked_up(lookup, at, false);
    }
}
