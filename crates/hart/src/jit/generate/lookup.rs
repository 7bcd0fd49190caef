//! Finds guest memory: lookups in the TLB, made inline, and what one of them finds used for other accesses
//! too.
//!
//! A lookup takes the entry of the access's first byte and compares its tag with the page of the last byte,
//! so it succeeds only if both are in one page. It finds a distance: what to add to a guest address in that
//! page to get its host address. Accesses through one register that lie close together share a lookup, whose
//! distance stays in [`SHARED`] or, if that serves others, in the workspace.
//!
//! In a loop that follows a chain of pointers, each turn waits for the load of the last one and then for its
//! lookup. The nodes are mostly equally far from their host addresses, many in one page or in one of the
//! guest's large pages. So there a lookup only *confirms* what [`SHARED`] holds already: the host's processor
//! foresees that it does, and begins the load at once (docs/decisions/0044).

use super::{
    block::Block,
    cold::{At, Cold, Lookup},
    host::{SHARED, TLB, TLB_MASK, TLB_SECOND, field},
    known::{Distance, Shared},
};
use crate::{
    jit::{
        emit::*,
        plan::{Extent, Group},
    },
    op::Op,
    tlb::STORE_DISTANCE,
};

/// The bits of an address that name its page.
pub(super) const PAGE_BITS: i32 = -4096;

/// What a lookup is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// One access.
    One,
    /// A group of accesses, of which this one is the first.
    Group,
}

/// The memory that an access goes to.
pub(super) struct Reached {
    /// Where it is; rcx and rdx may be part of the address.
    pub memory: Memory,
    /// The lookup that was made for the access; `None`: its page was known.
    lookup: Option<(Lookup, Serves)>,
}

/// The place that holds a stream's distance: what to add to its guest addresses to get host addresses.
pub(super) fn stream_distance(stream: usize) -> Memory {
    let first = field!(distances);
    Memory {
        displacement: first.displacement + stream as i32 * 8,
        ..first
    }
}

/// The place of a distance that the workspace keeps for a lookup that serves several accesses.
fn kept_distance(number: usize) -> Memory {
    let first = field!(kept);
    Memory {
        displacement: first.displacement + number as i32 * 8,
        ..first
    }
}

impl Block<'_> {
    /// Finds the memory of a load or store through `rs1`. After the code of the access, [`Block::reached`]
    /// must be called.
    pub(super) fn reach(&mut self, at: At, o: Op) -> Reached {
        // Whoever calls this has chosen by the op's code, so no guest reaches the panic.
        let extent = Extent::of(o).expect("a load or a store");
        let base = self.value(o.rs1, RCX);
        let (distance, lookup) = match self.known_distance(o) {
            Some(distance) => (distance, None),
            None => {
                let (distance, lookup, serves) = self.look_up_access(at, o, base, extent);
                (distance, Some((lookup, serves)))
            }
        };
        Reached {
            memory: Memory::indexed(distance, base, 0, o.imm),
            lookup,
        }
    }

    /// The register that holds the distance for an access whose page is known.
    fn known_distance(&mut self, o: Op) -> Option<Register> {
        if self.find_stream(o) {
            return Some(RDX);
        }
        match self.known.shared.serving(o)? {
            Distance::Register => Some(SHARED),
            Distance::Kept(number) => {
                self.e
                    .mov(Size::Quad, RDX, Operand::Memory(kept_distance(number)));
                Some(RDX)
            }
        }
    }

    /// If the op is an access of a stream whose page is known, rdx becomes the distance; else nothing is
    /// done.
    fn find_stream(&mut self, o: Op) -> bool {
        let stream = self.plan.streams().iter().position(|stream| stream.base == o.rs1);
        let Some(stream) = stream.filter(|_| self.pass().fast) else {
            return false;
        };
        self.e
            .mov(Size::Quad, RDX, Operand::Memory(stream_distance(stream)));
        true
    }

    /// Makes the lookup for an access, if possible one that serves others too. Returns the register that
    /// holds the distance.
    fn look_up_access(
        &mut self,
        at: At,
        o: Op,
        base: Register,
        extent: Extent,
    ) -> (Register, Lookup, Serves) {
        let chain = at.shares && self.plan.follows_chain(o.rs1);
        let group = if at.shares {
            self.plan.group(at.index)
        } else {
            None
        };
        if let Some(group) = group {
            let (distance, lookup) = self.look_up_group(at, base, group, chain);
            (distance, lookup, Serves::Group)
        } else if chain && self.known.shared.register_is_free() {
            (SHARED, self.confirm(base, extent), Serves::One)
        } else {
            (RDX, self.look_up(base, extent, PAGE_BITS, RDX), Serves::One)
        }
    }

    /// Makes the lookup for a group. Returns the register that holds the distance for its first access.
    fn look_up_group(&mut self, at: At, base: Register, group: Group, chain: bool) -> (Register, Lookup) {
        let shared = self.known.shared;
        let place = shared.place(|group| self.plan.is_used_from(at.index, group));
        let (found, lookup) = match place {
            Distance::Register if chain => (SHARED, self.confirm(base, group.extent)),
            Distance::Register => (SHARED, self.look_up(base, group.extent, PAGE_BITS, SHARED)),
            Distance::Kept(number) => {
                let lookup = self.look_up(base, group.extent, PAGE_BITS, RDX);
                self.e.store(kept_distance(number), RDX);
                (RDX, lookup)
            }
        };
        let made = self.e.here();
        self.known.shared.add(Shared { group, made }, place);
        (found, lookup)
    }

    /// Looks up what `base` points to, in a chain of pointers: [`SHARED`] mostly holds the distance already,
    /// or else becomes it in the cold code.
    fn confirm(&mut self, base: Register, extent: Extent) -> Lookup {
        let lookup = self.find(base, extent, PAGE_BITS);
        self.e.alu(Alu::Cmp, Size::Quad, SHARED, lookup.distance());
        let elsewhere = self.e.jump_if(Condition::NotEqual);
        let back = self.e.here();
        self.put_off(elsewhere, Cold::Elsewhere { lookup, back });
        lookup
    }

    /// Looks up what `base` points to; `found` becomes the distance. The tag that the entry should have is
    /// the last byte's address under `mask`.
    pub(super) fn look_up(&mut self, base: Register, extent: Extent, mask: i32, found: Register) -> Lookup {
        let lookup = self.find(base, extent, mask);
        self.e.mov(Size::Quad, found, lookup.distance());
        lookup
    }

    /// Finds the entry of what `base` points to: its distance in the table is in rdx, its tag in rax.
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

    /// Goes on after a lookup that has failed, if the second entry that the page may have is the right one.
    pub(super) fn look_again(&mut self, lookup: &Lookup) {
        let e = &mut self.e;
        e.alu_immediate(Alu::Xor, Size::Double, Operand::Register(RDX), TLB_SECOND);
        let entry = Operand::Memory(Memory::indexed(TLB, RDX, 0, lookup.table));
        e.alu(Alu::Cmp, Size::Quad, RAX, entry);
        let hit = e.jump_if(Condition::Equal);
        e.land_back(hit, lookup.hit);
    }

    /// The code of a load or store ends here.
    pub(super) fn reached(&mut self, at: At, reached: &Reached) {
        if let Some((lookup, serves)) = reached.lookup {
            self.looked_up(lookup, at, serves);
        }
    }

    /// The code of an op ends here for which a lookup was made: puts off what happens if the lookup fails.
    pub(super) fn looked_up(&mut self, lookup: Lookup, at: At, serves: Serves) {
        let back = self.back();
        let cold = match serves {
            Serves::Group => Cold::Alone { at, lookup },
            Serves::One => Cold::Second { at, back, lookup },
        };
        self.put_off(lookup.miss, cold);
    }
}
