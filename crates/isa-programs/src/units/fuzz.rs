//! Random words and halfwords: illegal, reserved, and now and then what nobody thought of.
//!
//! Left out is what would take the program out of the generator's hands (jumps backwards, M-mode accesses to
//! memory and CSRs), what changes with time, and LR/SC, which `atomic` does in safe pairs.

use super::{
    Builder,
    bits::{is_block, is_only_fence},
    float::raises_flags_only,
};
use crate::{
    encode::{EBREAK, ECALL, SFENCE_VMA, SFENCE_W_INVAL, SINVAL_VMA, WFI, opcode},
    space::Mode,
};

/// Instructions of which a bit or two are changed.
const MODELS: [u32; 22] = [
    0x0000_0013, // addi
    0x0000_1013, // slli
    0x4000_5013, // srai
    0x0000_0033, // add
    0x0200_0033, // mul
    0x0000_001b, // addiw
    0x0000_501b, // srliw
    0x0000_003b, // addw
    0x0000_2003, // lw
    0x0000_2023, // sw
    0x0000_202f, // amoadd.w
    0x0000_0053, // fadd.s
    0xd000_0053, // fcvt.s.w
    0x0000_0043, // fmadd.s
    0x0800_003b, // add.uw
    0x2000_2033, // sh1add
    0x2000_203b, // sh1add.uw
    0x4000_7033, // andn
    0x6000_1013, // clz
    0x4800_5033, // bext
    0x0e00_5033, // czero.eqz
    0x0000_200f, // cbo.inval
];

impl Builder<'_> {
    pub(super) fn fuzz(&mut self) {
        if self.random.percent(35) {
            self.fuzz_half();
        } else {
            self.fuzz_word();
        }
    }

    fn fuzz_word(&mut self) {
        loop {
            let any = self.random.next() as u32;
            let word = match self.random.below(4) {
                0 => any | 3,
                1 => self.random.pick(&MODELS) | any & 0x01ff_8f80,
                2 => {
                    let registers = any & 0x01ff_8f80;
                    let flips = 1 << (7 + self.random.field(25)) | 1 << (2 + self.random.field(30));
                    (self.random.pick(&MODELS) | registers) ^ flips
                }
                _ => {
                    self.random.pick(&[
                        ECALL,
                        EBREAK,
                        SFENCE_VMA,
                        SINVAL_VMA,
                        SFENCE_W_INVAL,
                        WFI,
                        0x3020_0073,
                    ]) ^ 1 << self.random.field(30)
                        | 3
                }
            };
            if word & 3 == 3 && self.word_is_sound(word) {
                self.code.unit(4);
                self.code.word(word);
                return;
            }
        }
    }

    fn word_is_sound(&self, word: u32) -> bool {
        let machine = self.setting.home == Mode::Machine;
        match word & 0x7f {
            opcode::JAL | opcode::BRANCH => false,
            opcode::JALR => !machine,
            opcode::LOAD | opcode::STORE | opcode::LOAD_FP | opcode::STORE_FP => !self.setting.physical,
            opcode::AMO => !self.setting.physical && !matches!(word >> 27, 2 | 3),
            opcode::OP_FP => !raises_flags_only(word),
            opcode::MISC_MEM => !is_block(word),
            opcode::SYSTEM if word >> 12 & 7 == 0 => {
                // A return goes only where a unit of its own says. Nothing would wake a WFI. And QEMU lets
                // U-mode do the instructions that only fence.
                !matches!(word, 0x1020_0073 | 0x3020_0073)
                    && !is_only_fence(word)
                    && (word != WFI || self.setting.home == Mode::User)
            }
            opcode::SYSTEM => {
                let reads_only = word >> 13 & 1 != 0 && word >> 15 & 31 == 0;
                (!machine || reads_only) && self.csr_is_sound(word >> 20, reads_only)
            }
            _ => true,
        }
    }

    fn fuzz_half(&mut self) {
        loop {
            let half = self.random.next() as u16;
            if half & 3 != 3 && self.half_is_sound(half) {
                self.code.unit(2);
                self.code.half(half);
                return;
            }
        }
    }

    fn half_is_sound(&self, half: u16) -> bool {
        let accesses = !matches!(half >> 13, 0 | 4);
        match (half & 3, half >> 13) {
            (1, 5..=7) => false,
            // c.jr and c.jalr.
            (2, 4) => half >> 2 & 31 != 0 || half >> 7 & 31 == 0 || self.setting.home != Mode::Machine,
            (0 | 2, _) => !(accesses && self.setting.physical),
            _ => true,
        }
    }
}
