//! The code of CSR instructions and fences, as far as they are translated (`plan::csr`).
//!
//! Registers of supervisor mode that just hold a value, `sstatus` and `fflags` are read and written in place.
//! An access that would change the address space, let an interrupt in or raise an exception leaves for the
//! interpreter before anything has changed.

use super::{
    block::Block,
    cold::At,
    host::{WORKSPACE, field, held},
    known::{Lookups, Use},
};
use crate::{
    csr::{self, DIRTY_TO_SD, STATUS_BITS, STATUS_GRAVE, status},
    jit::{
        emit::*,
        plan::csr::{Change, FFLAGS, FRM, address, change, is_float, is_immediate, may_write},
        workspace::HOST_FLAGS,
    },
    op::Op,
};

/// The flags in `fcsr`, and where the rounding mode is (F chapter, "Floating-Point Control and Status
/// Register").
const FLAG_BITS: i32 = 0x1f;
const FRM_SHIFT: u8 = 5;

impl Block<'_> {
    /// Translates an access to a register that just holds a value, or to `sstatus`. Where the mode may not
    /// access the register, the interpreter raises the exception.
    pub(super) fn csr(&mut self, at: At, o: Op) {
        if is_float(o) {
            return self.float_csr(at, o);
        }
        let Some((offset, mask)) = csr::plain(address(o)) else {
            return self.status(at, o);
        };
        self.e.alu_immediate(Alu::Cmp, Size::Quad, held!(supervisor), 0);
        let user = self.e.jump_if(Condition::Equal);
        self.e.mov(Size::Quad, RCX, held!(csrs));
        let memory = Memory::at(RCX, offset as i32);
        let (writes, immediate) = (change(o) == Change::Write, is_immediate(o));
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
        self.interpret_at(user, at);
    }

    /// Translates an access to `fflags`, or a read of `frm` or `fcsr`.
    fn float_csr(&mut self, at: At, o: Op) {
        let writes = may_write(o);
        self.guard(if writes { Use::Write } else { Use::Read }, at);
        if self.plan.restores_flags(at.index) {
            // The comparison before it was of two numbers, or else the superblock was left.
            return;
        }
        let reads = o.rd != 0 || change(o) != Change::Write;
        self.e.mov(Size::Quad, RCX, held!(csrs));
        let fcsr = Operand::Memory(Memory::at(RCX, csr::FCSR as i32));
        self.e.alu_immediate(Alu::Cmp, Size::Quad, held!(float_live), 0);
        let live = self.e.skip_unless(Condition::NotEqual);
        if reads && address(o) != FRM {
            self.gather_flags();
        }
        if writes {
            // All that the host has gathered is in `fcsr` or is about to be overwritten.
            self.e.load_status(field!(float_status));
        }
        self.e.land_near(live);
        self.e.mov(Size::Quad, RAX, fcsr);
        if writes {
            self.changed_flags(o);
            self.e.store(Memory::at(RCX, csr::FCSR as i32), RDX);
        }
        match address(o) {
            FRM => self.e.shift(Shift::Right, Size::Quad, RAX, FRM_SHIFT),
            FFLAGS => self
                .e
                .alu_immediate(Alu::And, Size::Quad, Operand::Register(RAX), FLAG_BITS),
            _ => {}
        }
        self.define_unless_x0(o.rd, RAX);
    }

    /// `fcsr` takes the flags that the host has gathered, which it keeps. rax is overwritten.
    fn gather_flags(&mut self) {
        let fcsr = Memory::at(RCX, csr::FCSR as i32);
        let e = &mut self.e;
        e.store_status(field!(float_seen));
        e.load(Extend::Word, RAX, held!(float_seen));
        let all = HOST_FLAGS as i32 - 1;
        e.alu_immediate(Alu::And, Size::Double, Operand::Register(RAX), all);
        let table = field!(float_flags);
        let flags = Memory::indexed(WORKSPACE, RAX, 0, table.displacement);
        e.load(Extend::Byte, RAX, Operand::Memory(flags));
        e.alu(Alu::Or, Size::Quad, RAX, Operand::Memory(fcsr));
        e.store(fcsr, RAX);
    }

    /// rdx becomes what an access to `fflags` makes of `fcsr`, which rax holds.
    fn changed_flags(&mut self, o: Op) {
        if is_immediate(o) {
            self.e.load_immediate(RDX, i64::from(o.rs1));
        } else {
            let operand = self.operand(o.rs1);
            self.e.mov(Size::Quad, RDX, operand);
        }
        let e = &mut self.e;
        let (new, old) = (Operand::Register(RDX), Operand::Register(RAX));
        // Which flags change, and then how they are.
        match change(o) {
            Change::Write => e.alu(Alu::Xor, Size::Quad, RDX, old),
            Change::Set => {
                e.alu(Alu::Or, Size::Quad, RDX, old);
                e.alu(Alu::Xor, Size::Quad, RDX, old);
            }
            Change::Clear => e.alu(Alu::And, Size::Quad, RDX, old),
        }
        e.alu_immediate(Alu::And, Size::Double, new, FLAG_BITS);
        e.alu(Alu::Xor, Size::Quad, RDX, old);
    }

    /// Translates a fence of address translation: where it is allowed it does nothing, as translations are
    /// always up to date.
    pub(super) fn fence(&mut self, at: At) {
        self.e.alu_immediate(Alu::Cmp, Size::Quad, held!(fences), 0);
        let illegal = self.e.jump_if(Condition::Equal);
        self.interpret_at(illegal, at);
    }

    /// Translates an access to `sstatus`. The interpreter does it where the address space changes or an
    /// interrupt may come.
    fn status(&mut self, at: At, o: Op) {
        let supervisor = held!(supervisor);
        self.e.alu_immediate(Alu::Cmp, Size::Quad, supervisor, 0);
        let mut grave = vec![self.e.jump_if(Condition::Equal)];
        self.e.mov(Size::Quad, RCX, held!(csrs));
        self.e.mov(Size::Quad, RAX, Operand::Memory(Memory::at(RCX, 0)));
        if may_write(o) {
            self.changed_status(o);
            self.e.test_bits(RDX, STATUS_GRAVE);
            grave.push(self.e.jump_if(Condition::NotEqual));
            if change(o) != Change::Clear {
                self.e.test_bits(RDX, status::SIE as i32);
                let same = self.e.jump_if(Condition::Equal);
                self.e.alu_immediate(Alu::Cmp, Size::Quad, held!(calm), 0);
                grave.push(self.e.jump_if(Condition::Equal));
                self.e.land(same);
            }
            self.e.alu(Alu::Xor, Size::Quad, RDX, Operand::Register(RAX));
            self.e.store(Memory::at(RCX, 0), RDX);
        }
        if o.rd != 0 {
            let value = Operand::Register(RAX);
            self.e.alu_immediate(Alu::And, Size::Quad, value, STATUS_BITS);
            for part in [held!(status_constants), held!(float_dirty)] {
                self.e.alu(Alu::Or, Size::Quad, RAX, part);
            }
            self.define(o.rd, RAX);
        }
        if change(o) == Change::Write || o.rs1 != 0 && !is_immediate(o) {
            self.show_float();
        }
        for jump in grave {
            self.interpret_at(jump, at);
        }
        // If the interpreter has done it, address space and floating-point unit may be in another state.
        self.known.shared = Lookups::default();
        self.known.float = None;
    }

    /// The fields that say what may be done with the floating-point registers become those for the `mstatus`
    /// in rdx.
    fn show_float(&mut self) {
        let (fs, status) = (status::FS as i32, Operand::Register(RDX));
        self.e.alu_immediate(Alu::And, Size::Quad, status, fs);
        self.e.store(field!(float_on), RDX);
        self.e.alu_immediate(Alu::Add, Size::Quad, status, fs & fs >> 1);
        self.e.shift(Shift::Left, Size::Quad, RDX, DIRTY_TO_SD);
        self.e.shift(Shift::Right, Size::Quad, RDX, 63);
        self.e.shift(Shift::Left, Size::Quad, RDX, 63);
        self.e.store(field!(float_dirty), RDX);
        self.e.alu(Alu::And, Size::Quad, RDX, held!(float_mode));
        self.e.store(field!(float_plain), RDX);
        self.e.store_immediate(Size::Quad, field!(float_ready), 0);
    }

    /// rdx becomes the bits of `sstatus` that an access changes, if rax is `mstatus`.
    fn changed_status(&mut self, o: Op) {
        let old = Operand::Register(RAX);
        if is_immediate(o) {
            self.e.load_immediate(RDX, i64::from(o.rs1));
        } else {
            let operand = self.operand(o.rs1);
            self.e.mov(Size::Quad, RDX, operand);
        }
        match change(o) {
            Change::Write => self.e.alu(Alu::Xor, Size::Quad, RDX, old),
            Change::Set => {
                self.e.alu(Alu::Or, Size::Quad, RDX, old);
                self.e.alu(Alu::Xor, Size::Quad, RDX, old);
            }
            Change::Clear => self.e.alu(Alu::And, Size::Quad, RDX, old),
        }
        self.e
            .alu_immediate(Alu::And, Size::Quad, Operand::Register(RDX), STATUS_BITS);
    }
}
