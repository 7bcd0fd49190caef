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
    float,
    stubs::{Field, NOTHING, SHARED, TLB, TLB_MASK, TLB_SECOND, field, held},
    translate::{At, Block, Cold, is_loop, native},
};
use crate::{
    op::{Code, Op},
    tlb::STORE_DISTANCE,
};

/// The stack pointer.
const SP: u8 = 2;
/// Bytes that a shared lookup may cover.
pub const SPAN_MAX: i32 = 1024;

/// What accesses through one register reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Offsets from the register: from here to before there.
    pub low: i32,
    pub high: i32,
    pub stores: bool,
}

impl Extent {
    /// That of an op that can share a lookup.
    pub fn of(op: Op) -> Option<Extent> {
        use Code::*;
        let (size, stores) = match op.code {
            Lb | Lbu => (1, false),
            Lh | Lhu => (2, false),
            Lw | Lwu | Flw => (4, false),
            Ld | Fld => (8, false),
            Sb => (1, true),
            Sh => (2, true),
            Sw | Fsw => (4, true),
            Sd | Fsd => (8, true),
            _ => return None,
        };
        Some(Extent {
            low: op.imm,
            high: op.imm + size,
            stores,
        })
    }

    /// That of the byte where the register points.
    fn first_byte(stores: bool) -> Extent {
        Extent {
            low: 0,
            high: 1,
            stores,
        }
    }

    /// Both, and what lies between.
    pub fn and(self, other: Extent) -> Extent {
        Extent {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            stores: self.stores | other.stores,
        }
    }

    pub fn span(self) -> i32 {
        self.high - self.low
    }

    fn covers(self, other: Extent) -> bool {
        self.low <= other.low && other.high <= self.high && (self.stores || !other.stores)
    }
}

/// The lookup whose result is in [`SHARED`].
#[derive(Clone, Copy)]
pub struct Shared {
    /// The guest register that the addresses start from.
    pub base: u8,
    /// What it holds for.
    extent: Extent,
    /// Where in the code it was made, which no other was.
    pub made: usize,
}

pub fn is_branch(op: Op) -> bool {
    use Code::*;
    matches!(op.code, Beq | Bne | Blt | Bge | Bltu | Bgeu)
}

/// What one lookup can be made for, from the first of these ops on; `None` if it would serve that one only.
fn group(ops: &[(usize, Op)]) -> Option<Shared> {
    let (_, first) = *ops.first()?;
    let mut extent = Extent::of(first)?;
    let base = first.rs1;
    let (mut count, mut branched) = (0, false);
    for &(_, op) in ops {
        if !native(op) {
            break;
        }
        branched |= is_branch(op);
        if let Some(more) = Extent::of(op).filter(|_| op.rs1 == base) {
            let both = extent.and(more);
            // A page that is only read must not be looked up for a store that may not come.
            if both.span() > SPAN_MAX || (more.stores && branched && !extent.stores) {
                break;
            }
            extent = both;
            count += 1;
        }
        if writes(op) == Some(base) {
            break;
        }
    }
    (count > 1).then_some(Shared {
        base,
        extent,
        made: 0,
    })
}

/// The register through which a loop follows a chain of pointers, if nothing else there wants [`SHARED`].
pub fn chain(ops: &[(usize, Op)]) -> Option<u8> {
    if !is_loop(ops) {
        return None;
    }
    let load = (0..ops.len()).find(|&load| leads_to_itself(ops, load))?;
    let chain = ops[load].1.rs1;
    let mut accesses = [0; 32];
    for &(_, op) in ops.iter().filter(|&&(_, op)| op.rs1 != chain) {
        accesses[usize::from(op.rs1)] += usize::from(Extent::of(op).is_some());
    }
    accesses.iter().all(|&count| count <= 1).then_some(chain)
}

/// Is the op at `load` one whose address is what it loaded in the turn before, copied or with constants added?
fn leads_to_itself(ops: &[(usize, Op)], load: usize) -> bool {
    if ops[load].1.code != Code::Ld {
        return false;
    }
    let mut wanted = ops[load].1.rs1;
    // Backwards from there, around and to it again.
    let (before, behind) = ops.split_at(load);
    for &(_, op) in before.iter().rev().chain(behind[1..].iter().rev()) {
        if writes(op) == Some(wanted) {
            if !matches!(op.code, Code::Mv | Code::Addi) {
                return false;
            }
            wanted = op.rs1;
        }
    }
    ops[load].1.rd == wanted
}

/// The integer register that a native op may write.
pub fn writes(op: Op) -> Option<u8> {
    use Code::*;
    match op.code {
        Float => float::to_integer(op).then_some(op.rd),
        Beq | Bne | Blt | Bge | Bltu | Bgeu | Sb | Sh | Sw | Sd | Fsw | Fsd | Flw | Fld | J | Jr | Cbo
        | Nop => None,
        _ => Some(op.rd),
    }
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
        let extent = Extent::of(o).unwrap_or_default();
        let covers = |shared: &Shared| shared.base == o.rs1 && shared.extent.covers(extent);
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
        let chain = self.chain == Some(o.rs1) && !self.alone;
        let shares = |group: &Shared| !self.alone && !self.straddles(at, group);
        if let Some(shared) = group(&self.ops[at.index..]).filter(shares) {
            let lookup = if chain {
                self.confirm(base, shared.extent)
            } else {
                self.lookup(base, shared.extent, -4096, SHARED)
            };
            let made = self.e.here();
            self.shared = Some(Shared { made, ..shared });
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

    /// Does a group lie across two pages of the stack, as far as can be said now? Then it would leave each time. The superblock that
    /// begins behind the access at which it leaves is made when it has left a few times, so that it finds out here.
    fn straddles(&self, at: At, group: &Shared) -> bool {
        if group.base != SP {
            return false;
        }
        let mut sp = self.source.sp;
        for &(_, op) in &self.ops[..at.index] {
            if writes(op) == Some(SP) {
                if (op.code, op.rs1) != (Code::Addi, SP) {
                    return false;
                }
                sp = sp.wrapping_add_signed(i64::from(op.imm));
            }
        }
        let page = |offset| sp.wrapping_add_signed(i64::from(offset)) >> 12;
        page(group.extent.low) != page(group.extent.high - 1)
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
