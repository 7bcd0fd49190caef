//! CSR instructions in superblocks: those registers of supervisor mode that just hold a value, as every entry to a
//! kernel and every return from it uses them.

use super::{
    emit::*,
    stubs::{Field, held},
    translate::{At, Block},
};
use crate::{csr, op::Op};

/// Is there machine code for this [`Code::Csr`](crate::op::Code::Csr)?
pub fn native(op: Op) -> bool {
    // Setting and clearing bits is rare in these.
    let (kind, reads_only) = (op.imm >> 12 & 3, op.rs1 == 0);
    csr::plain(address(op)).is_some() && (kind == 1 || reads_only)
}

fn address(op: Op) -> u32 {
    op.imm as u32 >> 20
}

impl Block<'_> {
    pub(super) fn csr(&mut self, at: At, o: Op) {
        let Some((offset, mask)) = csr::plain(address(o)) else {
            return;
        };
        self.e
            .alu_immediate(Alu::Cmp, Size::Quad, held(Field::Supervisor), 0);
        let user = self.e.jump_if(Condition::Equal);
        self.e.mov(Size::Quad, RCX, held(Field::Csrs));
        let memory = Memory::at(RCX, offset as i32);
        let (writes, immediate) = (o.imm >> 12 & 3 == 1, o.imm >> 14 & 1 != 0);
        if writes && immediate {
            self.e.load_immediate(RDX, i64::from(o.rs1) & mask as i64);
        } else if writes {
            self.e.mov(Size::Quad, RDX, self.operand(o.rs1));
            if let Ok(mask) = i32::try_from(mask as i64) {
                self.e
                    .alu_immediate(Alu::And, Size::Quad, Operand::Register(RDX), mask);
            }
        }
        self.e.mov(Size::Quad, RAX, Operand::Memory(memory));
        if writes {
            self.e.store(memory, RDX);
        }
        self.define_unless_x0(o.rd, RAX);
        self.interpret_at(user, at, true);
    }
}
