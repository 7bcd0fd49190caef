//! The part of the test assembler for C: every compressed instruction by its own name, in the order of the
//! manual's tables.

use super::{Line, float_register, register};

impl Line<'_> {
    pub(super) fn compressed(&self, name: &str, operands: &[&str]) -> Option<u16> {
        let r = |at: usize| operands.get(at).and_then(|text| register(text));
        let f = |at: usize| operands.get(at).and_then(|text| float_register(text));
        let v = |at: usize| {
            operands
                .get(at)
                .and_then(|text| self.value(text))
                .map(|value| value as u32)
        };
        let to = |at: usize| v(at).map(|target| target.wrapping_sub(self.pc as u32));
        let m = |at: usize| operands.get(at).and_then(|text| self.memory(text));
        let m = |at: usize| m(at).map(|(offset, base)| (offset as u32, base));
        let short = |register: u32| register.checked_sub(8).filter(|&register| register < 8);
        let bits = |value: u32, from: u32, count: u32, to: u32| (value >> from & ((1 << count) - 1)) << to;
        let imm6 = |imm: u32| bits(imm, 5, 1, 12) | bits(imm, 0, 5, 2);
        let word = |imm: u32| bits(imm, 3, 3, 10) | bits(imm, 2, 1, 6) | bits(imm, 6, 1, 5);
        let double = |imm: u32| bits(imm, 3, 3, 10) | bits(imm, 6, 2, 5);
        let sp_word = |imm: u32| bits(imm, 5, 1, 12) | bits(imm, 2, 3, 4) | bits(imm, 6, 2, 2);
        let sp_double = |imm: u32| bits(imm, 5, 1, 12) | bits(imm, 3, 2, 5) | bits(imm, 6, 3, 2);
        let quadrant0 = |funct3: u32, r: u32, memory: (u32, u32), imm: u32| {
            Some(funct3 << 13 | imm | short(memory.1)? << 7 | short(r)? << 2)
        };
        let alu = |funct: u32| Some(0x8c01 | funct | short(r(0)?)? << 7 | short(r(1)?)? << 2);
        let branch = |funct3: u32| {
            let imm = to(1)?;
            let imm = bits(imm, 8, 1, 12)
                | bits(imm, 3, 2, 10)
                | bits(imm, 6, 2, 5)
                | bits(imm, 1, 2, 3)
                | bits(imm, 5, 1, 2);
            Some(funct3 << 13 | imm | short(r(0)?)? << 7 | 1)
        };
        let half: u32 = match name {
            "c.addi4spn" => {
                let imm = v(2)?;
                let imm = bits(imm, 4, 2, 11) | bits(imm, 6, 4, 7) | bits(imm, 2, 1, 6) | bits(imm, 3, 1, 5);
                imm | short(r(0)?)? << 2
            }
            "c.fld" => quadrant0(1, f(0)?, m(1)?, double(m(1)?.0))?,
            "c.lw" => quadrant0(2, r(0)?, m(1)?, word(m(1)?.0))?,
            "c.ld" => quadrant0(3, r(0)?, m(1)?, double(m(1)?.0))?,
            "c.fsd" => quadrant0(5, f(0)?, m(1)?, double(m(1)?.0))?,
            "c.sw" => quadrant0(6, r(0)?, m(1)?, word(m(1)?.0))?,
            "c.sd" => quadrant0(7, r(0)?, m(1)?, double(m(1)?.0))?,
            "c.nop" => 1,
            "c.addi" => 0x0001 | imm6(v(1)?) | r(0)? << 7,
            "c.addiw" => 0x2001 | imm6(v(1)?) | r(0)? << 7,
            "c.li" => 0x4001 | imm6(v(1)?) | r(0)? << 7,
            "c.addi16sp" => {
                let imm = v(0)?;
                0x6101
                    | bits(imm, 9, 1, 12)
                    | bits(imm, 4, 1, 6)
                    | bits(imm, 6, 1, 5)
                    | bits(imm, 7, 2, 3)
                    | bits(imm, 5, 1, 2)
            }
            "c.lui" => 0x6001 | imm6(v(1)?) | r(0)? << 7,
            "c.srli" => 0x8001 | imm6(v(1)?) | short(r(0)?)? << 7,
            "c.srai" => 0x8401 | imm6(v(1)?) | short(r(0)?)? << 7,
            "c.andi" => 0x8801 | imm6(v(1)?) | short(r(0)?)? << 7,
            "c.sub" => alu(0)?,
            "c.xor" => alu(0x20)?,
            "c.or" => alu(0x40)?,
            "c.and" => alu(0x60)?,
            "c.subw" => alu(0x1000)?,
            "c.addw" => alu(0x1020)?,
            "c.j" => {
                let imm = to(0)?;
                0xa001
                    | bits(imm, 11, 1, 12)
                    | bits(imm, 4, 1, 11)
                    | bits(imm, 8, 2, 9)
                    | bits(imm, 10, 1, 8)
                    | bits(imm, 6, 1, 7)
                    | bits(imm, 7, 1, 6)
                    | bits(imm, 1, 3, 3)
                    | bits(imm, 5, 1, 2)
            }
            "c.beqz" => branch(6)?,
            "c.bnez" => branch(7)?,
            "c.slli" => 0x0002 | imm6(v(1)?) | r(0)? << 7,
            "c.fldsp" => 0x2002 | sp_double(m(1)?.0) | f(0)? << 7,
            "c.lwsp" => 0x4002 | sp_word(m(1)?.0) | r(0)? << 7,
            "c.ldsp" => 0x6002 | sp_double(m(1)?.0) | r(0)? << 7,
            "c.jr" => 0x8002 | r(0)? << 7,
            "c.mv" => 0x8002 | r(0)? << 7 | r(1)? << 2,
            "c.ebreak" => 0x9002,
            "c.jalr" => 0x9002 | r(0)? << 7,
            "c.add" => 0x9002 | r(0)? << 7 | r(1)? << 2,
            "c.fsdsp" => 0xa002 | bits(m(1)?.0, 3, 3, 10) | bits(m(1)?.0, 6, 3, 7) | f(0)? << 2,
            "c.swsp" => 0xc002 | bits(m(1)?.0, 2, 4, 9) | bits(m(1)?.0, 6, 2, 7) | r(0)? << 2,
            "c.sdsp" => 0xe002 | bits(m(1)?.0, 3, 3, 10) | bits(m(1)?.0, 6, 3, 7) | r(0)? << 2,
            _ => return None,
        };
        Some(half as u16)
    }
}
