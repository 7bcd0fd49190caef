//! The part of the test assembler for Zba, Zbb, Zbs, Zicond, Zicbom, Zicboz and Svinval.

use super::{Line, i_type, r_type, register};

/// (name, opcode, funct7, funct3) of what has two source registers.
const TWO: [(&str, u32, u32, u32); 24] = [
    ("add.uw", 0x3b, 0x04, 0),
    ("sh1add", 0x33, 0x10, 2),
    ("sh2add", 0x33, 0x10, 4),
    ("sh3add", 0x33, 0x10, 6),
    ("sh1add.uw", 0x3b, 0x10, 2),
    ("sh2add.uw", 0x3b, 0x10, 4),
    ("sh3add.uw", 0x3b, 0x10, 6),
    ("andn", 0x33, 0x20, 7),
    ("orn", 0x33, 0x20, 6),
    ("xnor", 0x33, 0x20, 4),
    ("min", 0x33, 0x05, 4),
    ("minu", 0x33, 0x05, 5),
    ("max", 0x33, 0x05, 6),
    ("maxu", 0x33, 0x05, 7),
    ("rol", 0x33, 0x30, 1),
    ("ror", 0x33, 0x30, 5),
    ("rolw", 0x3b, 0x30, 1),
    ("rorw", 0x3b, 0x30, 5),
    ("bclr", 0x33, 0x24, 1),
    ("bext", 0x33, 0x24, 5),
    ("binv", 0x33, 0x34, 1),
    ("bset", 0x33, 0x14, 1),
    ("czero.eqz", 0x33, 0x07, 5),
    ("czero.nez", 0x33, 0x07, 7),
];

/// (name, opcode, the twelve high bits, funct3) of what has one.
const ONE: [(&str, u32, u32, u32); 11] = [
    ("clz", 0x13, 0x600, 1),
    ("ctz", 0x13, 0x601, 1),
    ("cpop", 0x13, 0x602, 1),
    ("clzw", 0x1b, 0x600, 1),
    ("ctzw", 0x1b, 0x601, 1),
    ("cpopw", 0x1b, 0x602, 1),
    ("sext.b", 0x13, 0x604, 1),
    ("sext.h", 0x13, 0x605, 1),
    ("zext.h", 0x3b, 0x080, 4),
    ("orc.b", 0x13, 0x287, 5),
    ("rev8", 0x13, 0x6b8, 5),
];

/// (name, opcode, the twelve high bits without the amount, funct3, the largest amount).
const AMOUNT: [(&str, u32, u32, u32, u64); 7] = [
    ("slli.uw", 0x1b, 0x080, 1, 63),
    ("rori", 0x13, 0x600, 5, 63),
    ("roriw", 0x1b, 0x600, 5, 31),
    ("bclri", 0x13, 0x480, 1, 63),
    ("bexti", 0x13, 0x480, 5, 63),
    ("binvi", 0x13, 0x680, 1, 63),
    ("bseti", 0x13, 0x280, 1, 63),
];

impl Line<'_> {
    pub(super) fn bits(&self, name: &str, operands: &[&str]) -> Option<u32> {
        let r = |at: usize| operands.get(at).and_then(|text| register(text));
        if let Some(&(_, opcode, funct7, funct3)) = TWO.iter().find(|known| known.0 == name) {
            return Some(r_type(opcode, r(0)?, funct3, r(1)?, r(2)?, funct7));
        }
        if let Some(&(_, opcode, high, funct3)) = ONE.iter().find(|known| known.0 == name) {
            return Some(high << 20 | r_type(opcode, r(0)?, funct3, r(1)?, 0, 0));
        }
        if let Some(&(_, opcode, high, funct3, most)) = AMOUNT.iter().find(|known| known.0 == name) {
            let amount = self.value(operands.get(2)?)?;
            assert!(amount <= most, "amount {amount} does not fit");
            return Some(high << 20 | i_type(opcode, r(0)?, funct3, r(1)?, amount));
        }
        if let Some(kind) = name.strip_prefix("cbo.") {
            let kind = ["inval", "clean", "flush", "", "zero"]
                .iter()
                .position(|&known| known == kind)?;
            return Some(i_type(0x0f, 0, 2, self.memory(operands.first()?)?.1, kind as u64));
        }
        Some(match name {
            "sinval.vma" => r_type(0x73, 0, 0, r(0).unwrap_or(0), r(1).unwrap_or(0), 0x0b),
            "sfence.w.inval" => 0x1800_0073,
            "sfence.inval.ir" => 0x1810_0073,
            _ => return None,
        })
    }
}
