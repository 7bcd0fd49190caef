//! Finds the code of a guest page: in the TLB's table for fetches, and from there in the page's table of
//! entry points.
//!
//! An entry of that TLB table has the page's address and where its entry points begin. A page that the table
//! does not know is not looked for here: that is the interpreter's business.

use super::host::{TLB_MASK, TLB_SECOND, field, held};
use crate::jit::emit::*;

/// Looks up the page of the address in rax. rdx becomes the address of its entry in the TLB and rcx the
/// page's address; the jump is taken if the TLB does not know the page. `second` asks the second of the two
/// entries that a page may have.
pub fn look_up_page(e: &mut Emitter, second: bool) -> Jump {
    find_entry(e, second);
    e.mov(Size::Quad, RCX, Operand::Register(RAX));
    e.alu_immediate(Alu::And, Size::Quad, Operand::Register(RCX), -4096);
    e.alu(Alu::Cmp, Size::Quad, RCX, Operand::Memory(Memory::at(RDX, 0)));
    e.jump_if(Condition::NotEqual)
}

/// rdx becomes the address of the TLB's entry for fetches from the page of the address in rax.
pub fn find_entry(e: &mut Emitter, second: bool) {
    e.rotate(RDX, RAX, 8);
    e.alu_immediate(Alu::And, Size::Double, Operand::Register(RDX), TLB_MASK);
    if second {
        e.alu_immediate(Alu::Xor, Size::Double, Operand::Register(RDX), TLB_SECOND);
    }
    e.alu(Alu::Add, Size::Quad, RDX, held!(fetch));
}

/// Goes on at the address in rax, whose page [`look_up_page`] has found.
pub fn enter_page(e: &mut Emitter) {
    let code = find_code(e);
    e.jump_to(Operand::Memory(code));
}

/// The place of the entry point for the address in rax, whose page [`look_up_page`] has found. The page
/// becomes the present one.
pub fn find_code(e: &mut Emitter) -> Memory {
    e.store(field!(page), RCX);
    find_entries(e);
    e.mov(Size::Double, RCX, Operand::Register(RAX));
    e.alu_immediate(Alu::And, Size::Double, Operand::Register(RCX), 0xffe);
    Memory::indexed(RDX, RCX, 2, 0)
}

/// rdx, the address of an entry for fetches, becomes the address of the page's table of entry points.
pub fn find_entries(e: &mut Emitter) {
    e.mov(Size::Quad, RDX, Operand::Memory(Memory::at(RDX, 8)));
    e.alu(Alu::Add, Size::Quad, RDX, held!(entries));
}
