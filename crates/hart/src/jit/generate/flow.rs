//! Where control goes from a superblock: to another slot of its page, to another page, into a call, back from
//! one.
//!
//! Jumps are *linked*: they lead directly to the code of a slot as long as there is some, and else to the
//! general way. A jump to another page asks the TLB whether the code of that page is kept where it was when
//! the superblock was made.

use std::ops::Range;

use super::{
    block::{Block, Target},
    cold::{At, Cold},
    host::{LEFT, field, held, register},
    pages::{find_entries, find_entry},
    stubs::{call_far, go_far},
};
use crate::{
    jit::{emit::*, plan::SLOTS},
    op::Op,
    tlb::PLACE_SHIFT,
};

/// Is a jump that writes its return address to this register a call? (Unprivileged manual, "Unconditional
/// Jumps".)
fn is_link(register: u8) -> bool {
    matches!(register, 1 | 5)
}

impl Block<'_> {
    /// rax becomes the address of a slot.
    fn address(&mut self, slot: i64) {
        self.e.mov(Size::Quad, RAX, held!(page));
        if slot != 0 {
            self.e
                .alu_immediate(Alu::Add, Size::Quad, Operand::Register(RAX), slot as i32 * 2);
        }
    }

    /// These ops were counted when the turn began and are not done.
    pub(super) fn give_back(&mut self, ops: Range<usize>) {
        if !ops.is_empty() {
            let steps = ops.len() as i32;
            self.e
                .alu_immediate(Alu::Add, Size::Quad, Operand::Register(LEFT), steps);
        }
    }

    /// Leaves generated code; the next instruction is at a slot.
    pub(super) fn leave(&mut self, slot: i64) {
        self.address(slot);
        self.e.jump_far(self.source.stubs.exit);
    }

    /// Leaves the superblock and goes on at a slot, which may be outside the page.
    pub(super) fn go(&mut self, slot: i64) {
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

    /// Calls what begins at a slot, which may be outside the page. The return address of the guest's call
    /// leads to the code after this op, where the host's processor expects the return.
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

    /// A call comes back, with the return address in rax and in the last frame. The page is where it was, but
    /// its code may be gone.
    fn come_back(&mut self, at: At, o: Op) {
        let slot = at.slot + o.halves();
        let e = &mut self.e;
        e.alu_immediate(Alu::Add, Size::Quad, Operand::Register(RSP), 8);
        if slot >= SLOTS {
            e.jump_far(self.source.stubs.far);
            return;
        }
        e.lea(Size::Quad, RCX, Memory::at(RAX, slot as i32 * -2));
        e.store(field!(page), RCX);
        let jump = e.jump();
        self.link(jump, false, self.source.place, slot);
        self.put_off(jump, Cold::Indirect);
    }

    /// The jump is taken if the code of the page whose entry rdx points to is not kept in this place.
    fn kept_elsewhere(&mut self, place: usize) -> Jump {
        let kept = Operand::Memory(Memory::at(RDX, 8));
        self.e
            .alu_immediate(Alu::Cmp, Size::Quad, kept, (place << PLACE_SHIFT) as i32);
        self.e.jump_if(Condition::NotEqual)
    }

    /// The jump will lead to the code of a slot as long as there is some.
    fn link(&mut self, jump: Jump, inside: bool, place: usize, slot: usize) {
        let target = Target { inside, place, slot };
        self.links.push((jump, target));
    }

    /// Goes on at a slot outside the page: directly, if the code of that page is kept where it was when the
    /// superblock was made. With a `frame`, the place of the return address, it is a call.
    fn go_out(&mut self, slot: i64, frame: Option<Operand>) {
        let (page, offset) = ((slot * 2) & -4096, (slot as i32 * 2) & 4095);
        let e = &mut self.e;
        e.mov(Size::Quad, RAX, held!(page));
        e.alu_immediate(Alu::Add, Size::Quad, Operand::Register(RAX), page as i32);
        find_entry(e, false);
        e.alu(Alu::Cmp, Size::Quad, RAX, Operand::Memory(Memory::at(RDX, 0)));
        let unknown = e.jump_if(Condition::NotEqual);
        let place = (self.source.known)(page);
        let mut others = Vec::new();
        if let Some(place) = place {
            others.push(self.kept_elsewhere(place));
        }
        self.e.store(field!(page), RAX);
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
            // If there is no code, control leaves with the address in rax.
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

    /// `rd` becomes the address of the byte with this offset in the page, which may lie beyond it.
    pub(super) fn define_address(&mut self, offset: i64, o: Op) {
        let target = self.target(o.rd);
        self.e.mov(Size::Quad, target, held!(page));
        if let Ok(offset) = i32::try_from(offset) {
            self.e
                .alu_immediate(Alu::Add, Size::Quad, Operand::Register(target), offset);
        } else {
            self.e.load_immediate(RCX, offset);
            self.e.alu(Alu::Add, Size::Quad, target, Operand::Register(RCX));
        }
        self.define(o.rd, target);
    }

    /// `rd` becomes the return address.
    fn define_link(&mut self, at: At, o: Op) {
        self.define_address((at.slot + o.halves()) as i64 * 2, o);
    }

    /// Translates JAL.
    pub(super) fn jump_and_link(&mut self, at: At, o: Op) {
        self.define_link(at, o);
        let slot = at.slot as i64 + i64::from(o.imm);
        if is_link(o.rd) {
            self.call(at, o, slot);
        } else {
            self.go(slot);
        }
    }

    /// Translates JALR with x0: a return or another indirect jump.
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

    /// Translates JALR with another register: an indirect call, mostly.
    pub(super) fn jump_and_link_register(&mut self, at: At, o: Op) {
        let from = self.value(o.rs1, RAX);
        // The return address may overwrite the base register.
        self.e.lea(Size::Quad, RDX, Memory::at(from, o.imm));
        self.define_link(at, o);
        self.e.mov(Size::Quad, RAX, Operand::Register(RDX));
        self.swap_out();
        if is_link(o.rd) {
            let frame = Operand::Memory(register(o.rd));
            let unknown = call_far(&mut self.e, frame);
            self.put_off(unknown, Cold::Indirect);
            self.come_back(at, o);
        } else {
            go_far(&mut self.e, self.source.stubs);
        }
    }
}
