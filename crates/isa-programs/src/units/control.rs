//! Branches, jumps, calls, loops, environment calls, returns from traps, WFI, fences.
//!
//! Targets are the starts of later units, so that a program comes to its end; only a loop that counts goes
//! back. In M-mode no jump may leave the code.

use super::Builder;
use crate::{
    encode::{
        self, C_EBREAK, EBREAK, ECALL, FENCE_I, MRET, SFENCE_VMA, SRET, WFI, addi, branch_offset, csr, csrw,
        jump_offset, number, opcode, r,
    },
    space::Mode,
};

// Fields of `mstatus` and a bit of `mip`, by the manual's names.
const SPP: u64 = 1 << 8;
const MPP: u64 = 3 << 11;
const SSI: u64 = 1 << 1;
const MPP_SUPERVISOR: u64 = 1 << 11;

impl Builder<'_> {
    pub(super) fn control(&mut self) {
        let wild = self.setting.home != Mode::Machine;
        match self.random.below(20) {
            0..=5 => self.branch(),
            6..=7 => self.compressed_branch(),
            8 => self.jump(),
            9 => self.indirect(),
            10 => self.call(),
            11..=12 => self.repeat(),
            13 if wild => self.stray(),
            14..=15 => self.call_environment(),
            16 => self.return_from_trap(),
            17 => self.wait(),
            18..=19 => self.fence(),
            _ => self.indirect(),
        }
    }

    fn over(&mut self) -> usize {
        self.random.below(4) as usize
    }

    fn branch(&mut self) {
        let funct3 = if self.random.percent(3) {
            2
        } else {
            self.random.pick(&[0, 1, 4, 5, 6, 7])
        };
        let rs1 = self.random.register();
        let rs2 = if self.random.percent(15) {
            rs1
        } else {
            self.random.register()
        };
        let over = self.over();
        self.code.unit(4);
        self.code.branch(r(opcode::BRANCH, funct3, 0, 0, rs1, rs2), over);
    }

    fn compressed_branch(&mut self) {
        let over = self.over();
        self.code.unit(2);
        match self.random.below(3) {
            0 => self.code.compressed_jump(5 << 13 | 1, over),
            kind => {
                let register = self.random.field(8) as u16;
                self.code
                    .compressed_branch((5 + kind as u16) << 13 | register << 7 | 1, over);
            }
        }
    }

    fn jump(&mut self) {
        let rd = self.destination();
        let over = self.over();
        self.code.unit(4);
        self.code.jump(opcode::JAL | rd << 7, over);
    }

    /// `jalr`, `c.jr` or `c.jalr` to an address just computed.
    fn indirect(&mut self) {
        self.code.unit(12);
        let register = self.scratch();
        let over = self.over();
        self.code.word(encode::u(opcode::AUIPC, register, 0));
        self.code.address(addi(register, register, 0), 4, over);
        match self.random.below(4) {
            0 => self.code.half(4 << 13 | (register as u16) << 7 | 2),
            1 => {
                self.forget(1);
                self.code.half(4 << 13 | 1 << 12 | (register as u16) << 7 | 2);
            }
            kind => {
                // Bit 0 of the target is dropped.
                let odd = (kind - 2) as i32;
                let rd = self.destination();
                self.code.word(encode::i(opcode::JALR, 0, rd, register, odd));
            }
        }
    }

    /// A call and its return, backwards.
    fn call(&mut self) {
        let link = self.scratch();
        self.code.unit(12);
        self.code.word(opcode::JAL | link << 7 | jump_offset(8));
        self.code.word(opcode::JAL | jump_offset(8));
        self.code.word(encode::i(opcode::JALR, 0, 0, link, 0));
    }

    /// A loop of a few harmless instructions.
    fn repeat(&mut self) {
        self.code.unit(36);
        let count = self.scratch();
        let times = 1 + self.random.field(6) as i32;
        self.code.word(addi(count, 0, times));
        let body = 1 + self.random.field(5) as i32;
        for _ in 0..body {
            let mut rd = self.destination();
            if rd == count {
                rd = 0;
            }
            let (rs1, rs2) = (self.random.register(), self.random.register());
            let word = if self.random.percent(30) {
                r(
                    opcode::OP_FP,
                    7,
                    self.random.pick(&[0, 1, 8, 9]),
                    self.random.register(),
                    rs1,
                    rs2,
                )
            } else {
                let (funct7, funct3) = self
                    .random
                    .pick(&[(0, 0), (0x20, 0), (0, 4), (1, 0), (1, 3), (0, 3)]);
                r(opcode::OP, funct3, funct7, rd, rs1, rs2)
            };
            self.code.word(word);
        }
        self.code.word(addi(count, count, -1));
        let back = -(body + 1) * 4;
        self.code
            .word(r(opcode::BRANCH, 1, 0, 0, count, 0) | branch_offset(back));
    }

    /// A jump to wherever a register points: data, or nowhere.
    fn stray(&mut self) {
        self.code.unit(36);
        let register = if self.random.percent(50) {
            self.random.register()
        } else {
            self.scratch()
        };
        if self.random.percent(60) && register != 0 {
            let address = self.address();
            self.load_address(register, address);
        }
        let rd = self.destination();
        self.code.word(encode::i(opcode::JALR, 0, rd, register, 0));
    }

    /// An instruction on two pages, the second of which may be one that cannot be fetched. Its upper half
    /// has to be 0x0001: no immediate, base or source register `x2` or `x3`.
    pub(super) fn straddle(&mut self) {
        let rd = self.destination() << 7;
        let source = 1 << 16 | self.random.field(2) << 15;
        let opcode = match self.random.below(6) {
            0 => opcode::LUI,
            1 => opcode::AUIPC,
            2 => opcode::OP_IMM,
            // A CSR that does not exist: illegal, with the bits of both halves in the trap value.
            3 => opcode::SYSTEM | 1 << 12,
            4 if !self.setting.physical => opcode::LOAD | 3 << 12,
            _ => opcode::OP_IMM_32,
        };
        self.code.straddle(source | rd | opcode);
    }

    fn call_environment(&mut self) {
        self.code.unit(4);
        match self.random.below(3) {
            0 => self.code.half(C_EBREAK),
            1 => self.code.word(EBREAK),
            _ => self.code.word(ECALL),
        }
    }

    /// `sret` or `mret` to code further on, in this mode or a lower one.
    fn return_from_trap(&mut self) {
        self.code.unit(48);
        let (target, bits) = self.two_scratches();
        let over = self.over();
        let to_user = self.random.percent(40);
        self.code.word(encode::u(opcode::AUIPC, target, 0));
        self.code.address(addi(target, target, 0), 4, over);
        if to_user && self.setting.home != Mode::User {
            let distance = self.space.user_base.wrapping_sub(self.space.code_base);
            self.load_constant(bits, distance);
            self.code.word(r(opcode::OP, 0, 0, target, target, bits));
        }
        let machine = self.setting.home == Mode::Machine && self.random.percent(70);
        let (counter, status, clear, set) = if machine {
            (number::MEPC, number::MSTATUS, MPP, MPP_SUPERVISOR)
        } else {
            (number::SEPC, number::SSTATUS, SPP, SPP)
        };
        self.code.word(csrw(counter, target));
        self.load_constant(bits, clear);
        self.code.word(csr(3, 0, status, bits));
        if !to_user {
            self.load_constant(bits, set);
            self.code.word(csr(2, 0, status, bits));
        }
        self.code.word(if machine { MRET } else { SRET });
    }

    /// WFI with something pending, or where it is illegal.
    fn wait(&mut self) {
        if self.setting.interrupt != SSI {
            return self.fence();
        }
        let (status, pending, enabled, own) = match self.setting.home {
            Mode::Machine => (number::MSTATUS, number::MIP, number::MIE, 8),
            Mode::Supervisor if self.setting.tw || self.setting.mideleg & SSI == 0 => {
                self.code.unit(4);
                self.code.word(if self.setting.tw { WFI } else { SFENCE_VMA });
                return;
            }
            _ => (number::SSTATUS, number::SIP, number::SIE, 2),
        };
        self.code.unit(20);
        self.code.word(csr(7, 0, status, own));
        self.code.word(csr(6, 0, pending, 2));
        self.code.word(csr(6, 0, enabled, 2));
        self.code.word(WFI);
        self.code.word(csr(7, 0, pending, 2));
    }

    fn fence(&mut self) {
        if self.random.percent(30) {
            return self.part_of_fence();
        }
        self.code.unit(4);
        let any = self.random.next() as u32;
        let word = match self.random.below(4) {
            0 => FENCE_I | any & 0xffff_8f80,
            1 => opcode::MISC_MEM | any & 0xffff_8f80,
            // All forms of sfence.vma.
            _ => SFENCE_VMA | any & 0x01ff_8000,
        };
        self.code.word(word);
    }
}
