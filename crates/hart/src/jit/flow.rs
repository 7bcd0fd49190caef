//! Where control goes from a superblock: to another slot of its page, to another page, into a call, back from one.
//!
//! Jumps are *linked*: they lead directly to the code of a slot once there is some, and again to the general way when that is
//! dropped. A jump to another page asks the TLB whether that is where it was at translation.

use super::{
    emit::*,
    plan::{Course, PINNED, SLOTS, Set},
    stubs::{Field, call_far, field, find_entries, find_entry, go_far, held, register},
    translate::{At, Block, Cold, Skip},
};
use crate::{op::Op, tlb::PLACE_SHIFT};

/// A jump of a superblock that may lead directly to the code of a slot.
pub struct Link {
    /// Is it gone, at the latest, when the code of that page is dropped?
    pub inside: bool,
    /// Where the code of the page is kept that it leads to.
    pub place: usize,
    pub slot: usize,
    /// The address of the jump's last four bytes.
    pub at: u64,
    /// The address where it leads as long as there is no such code.
    pub otherwise: u64,
}

/// Does a call keep the return address in this register? (Unprivileged manual, "Unconditional Jumps".)
fn is_link(register: u8) -> bool {
    matches!(register, 1 | 5)
}

impl Block<'_> {
    /// rax becomes the address of a slot.
    fn address(&mut self, slot: i64) {
        self.e.mov(Size::Quad, RAX, held(Field::Page));
        if slot != 0 {
            self.e
                .alu_immediate(Alu::Add, Size::Quad, Operand::Register(RAX), slot as i32 * 2);
        }
    }

    /// Out of the generated code.
    pub(super) fn leave(&mut self, slot: i64) {
        self.address(slot);
        self.e.jump_far(self.source.stubs.exit);
    }

    /// Goes on at a slot, or outside the page.
    pub(super) fn go(&mut self, slot: i64) {
        if slot == self.plan.head() {
            self.repeat(None);
            return;
        }
        self.swap_out();
        if !(0..SLOTS as i64).contains(&slot) {
            self.go_out(slot, None);
            return;
        }
        let code = self.source.entries[slot as usize];
        if code == self.source.stubs.exit {
            let jump = self.e.jump();
            self.link(jump, true, self.source.place, slot as usize);
            self.put_off(jump, Cold::Leave { slot });
        } else {
            self.e.jump_far(code);
        }
    }

    /// Calls what begins at a slot, which may be outside the page: a return to behind this op leads to behind it in the code, where the
    /// host's processor expects it.
    fn call(&mut self, at: At, o: Op, slot: i64) {
        self.swap_out();
        let frame = Operand::Memory(register(o.rd));
        if (0..SLOTS as i64).contains(&slot) {
            self.e.push_operand(frame);
            let call = self.e.call_later();
            self.link(call, true, self.source.place, slot as usize);
            self.put_off(call, Cold::Leave { slot });
        } else {
            self.go_out(slot, Some(frame));
        }
        self.come_back(at, o);
    }

    /// A call comes back, with its address in rax and in the frame: the page is where it was, but its code may be gone.
    fn come_back(&mut self, at: At, o: Op) {
        let slot = at.slot + o.halves();
        let e = &mut self.e;
        e.alu_immediate(Alu::Add, Size::Quad, Operand::Register(RSP), 8);
        if slot >= SLOTS {
            e.jump_far(self.source.stubs.far);
            return;
        }
        e.lea(Size::Quad, RCX, Memory::at(RAX, slot as i32 * -2));
        e.store(field(Field::Page), RCX);
        let jump = e.jump();
        self.link(jump, false, self.source.place, slot);
        self.put_off(jump, Cold::Look);
    }

    /// Taken if the code of the page whose entry is at rdx is not kept there.
    fn kept_elsewhere(&mut self, place: usize) -> Jump {
        let kept = Operand::Memory(Memory::at(RDX, 8));
        self.e
            .alu_immediate(Alu::Cmp, Size::Quad, kept, (place << PLACE_SHIFT) as i32);
        self.e.jump_if(Condition::NotEqual)
    }

    /// The jump, which has just been emitted, will lead to the code of a slot of a page as long as there is some.
    fn link(&mut self, Jump(end): Jump, inside: bool, place: usize, slot: usize) {
        self.links.push(Link {
            inside,
            place,
            slot,
            at: self.source.hot + end as u64 - 4,
            otherwise: 0,
        });
    }

    /// Goes on at a slot outside the page: directly, if the code of that page is where it was at translation. With a `frame`
    /// it is a call.
    fn go_out(&mut self, slot: i64, frame: Option<Operand>) {
        let (page, offset) = ((slot * 2) & -4096, (slot as i32 * 2) & 4095);
        let e = &mut self.e;
        e.mov(Size::Quad, RAX, held(Field::Page));
        e.alu_immediate(Alu::Add, Size::Quad, Operand::Register(RAX), page as i32);
        find_entry(e, false);
        e.alu(Alu::Cmp, Size::Quad, RAX, Operand::Memory(Memory::at(RDX, 0)));
        let unknown = e.jump_if(Condition::NotEqual);
        let place = (self.source.known)(page);
        let mut others = Vec::new();
        if let Some(place) = place {
            others.push(self.kept_elsewhere(place));
        }
        self.e.store(field(Field::Page), RAX);
        if let Some(frame) = frame {
            self.e.push_operand(frame);
        }
        if let Some(place) = place {
            let jump = match frame {
                Some(_) => self.e.call_later(),
                None => self.e.jump(),
            };
            self.link(jump, false, place, offset as usize / 2);
            others.push(jump);
        } else {
            // What leaves wants to know where to.
            let e = &mut self.e;
            e.alu_immediate(Alu::Add, Size::Quad, Operand::Register(RAX), offset);
            find_entries(e);
            let code = Memory::at(RDX, offset * 4);
            match frame {
                Some(_) => e.call_to(code),
                None => e.jump_to(Operand::Memory(code)),
            }
        }
        self.put_off(unknown, Cold::Far { offset, others });
    }

    pub(super) fn branch(&mut self, condition: Condition, at: At, o: Op) {
        self.compare(o);
        let taken = at.slot as i64 + i64::from(o.imm);
        let behind = (at.slot + o.halves()) as i64;
        let completed = at.index + 1;
        // What follows may be where the branch leads to; then the way out is behind it.
        let follows = self
            .plan
            .ops
            .get(completed)
            .is_some_and(|&(next, _)| next as i64 == taken)
            && taken != behind;
        let (condition, slot) = if follows {
            (condition.not(), behind)
        } else {
            (condition, taken)
        };
        debug_assert!(slot != self.plan.head() || completed == self.plan.ops.len());
        let inside = slot == self.plan.head() && completed == self.plan.ops.len()
            || self.plan.op_at(completed, slot).is_some();
        if !inside
            && (self.plan.seats == PINNED || self.plan.course == Course::Onward)
            && self.source.page.is_likely(slot)
        {
            let near = self.e.skip_unless(condition);
            let known = (self.words, self.exposed);
            self.give_back(completed..self.plan.ops.len());
            self.go(slot);
            (self.words, self.exposed) = known;
            self.e.land_near(near);
            return;
        }
        if slot == self.plan.head() && completed == self.plan.ops.len() {
            self.repeat(Some(condition));
            return;
        }
        let jump = self.e.jump_if(condition);
        if let Some(to) = self.plan.op_at(completed, slot) {
            let (shared, words) = (self.shared.map(|shared| shared.made), self.words.known);
            self.skips.push(Skip { to, shared, words });
            self.put_off(jump, Cold::Skip { completed, to });
        } else {
            self.put_off(jump, Cold::Go { completed, slot });
        }
    }

    /// The code of an op begins, to which earlier branches may lead: what is known now is what is known on all ways here.
    pub(super) fn join(&mut self, index: usize) {
        let mut words = Set::MAX;
        for skip in self.skips.iter().filter(|skip| skip.to == index) {
            self.float_known = None;
            self.shared = self.shared.filter(|known| Some(known.made) == skip.shared);
            words &= skip.words;
        }
        // On the other ways nothing is lazy, but what is a word may be so from here on.
        self.settle(!words);
        self.words.known &= words;
        self.begins[usize::from(self.fast)].resize(index + 1, self.e.here());
    }

    /// `rd` becomes the address of a byte of the page or beyond.
    pub(super) fn define_address(&mut self, offset: i64, o: Op) {
        let target = self.target(o.rd);
        self.e.mov(Size::Quad, target, held(Field::Page));
        if let Ok(offset) = i32::try_from(offset) {
            self.e
                .alu_immediate(Alu::Add, Size::Quad, Operand::Register(target), offset);
        } else {
            self.e.load_immediate(RCX, offset);
            self.e.alu(Alu::Add, Size::Quad, target, Operand::Register(RCX));
        }
        self.define(o.rd, target);
    }

    fn define_link(&mut self, at: At, o: Op) {
        self.define_address((at.slot + o.halves()) as i64 * 2, o);
    }

    pub(super) fn jump_and_link(&mut self, at: At, o: Op) {
        self.define_link(at, o);
        let slot = at.slot as i64 + i64::from(o.imm);
        if is_link(o.rd) {
            self.call(at, o, slot);
        } else {
            self.go(slot);
        }
    }

    pub(super) fn jump_register(&mut self, o: Op) {
        let from = self.value(o.rs1, RAX);
        if (from, o.imm) != (RAX, 0) {
            self.e.lea(Size::Quad, RAX, Memory::at(from, o.imm));
        }
        self.swap_out();
        if is_link(o.rs1) && o.imm == 0 {
            let expected = Operand::Memory(Memory::at(RSP, 8));
            self.e.alu(Alu::Cmp, Size::Quad, RAX, expected);
            let other = self.e.jump_if(Condition::NotEqual);
            self.put_off(other, Cold::Return);
            self.e.ret();
        } else {
            go_far(&mut self.e, self.source.stubs);
        }
    }

    pub(super) fn jump_and_link_register(&mut self, at: At, o: Op) {
        let from = self.value(o.rs1, RAX);
        // The link may overwrite the base.
        self.e.lea(Size::Quad, RDX, Memory::at(from, o.imm));
        self.define_link(at, o);
        self.e.mov(Size::Quad, RAX, Operand::Register(RDX));
        self.swap_out();
        if is_link(o.rd) {
            let frame = Operand::Memory(register(o.rd));
            let unknown = call_far(&mut self.e, frame);
            self.put_off(unknown, Cold::Look);
            self.come_back(at, o);
        } else {
            go_far(&mut self.e, self.source.stubs);
        }
    }
}
