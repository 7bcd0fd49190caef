//! The encodings of Zba, Zbb, Zbs, Zicond, Zicbom and Zicboz, in their RV64 forms (unprivileged manual,
//! chapters "B", "Zicond" and "CMO").
//!
//! `decode` asks here for what the base encodings leave open. Bits that no chapter defines must stay illegal.

use crate::op::{Code, Op};

/// An op whose only effect is its result: with `x0` as its destination it does nothing.
pub const fn pure(code: Code, rd: u32, rs1: u32, rs2: u32, imm: i32) -> Op {
    let code = if rd & 31 == 0 { Code::Nop } else { code };
    Op::new(code, rd, rs1, rs2, imm)
}

/// The codes of OP instructions, which have two source registers.
pub(super) const fn op_code(funct7: u32, funct3: u32) -> Option<Code> {
    Some(match (funct7, funct3) {
        (0x10, 2) => Code::Sh1add,
        (0x10, 4) => Code::Sh2add,
        (0x10, 6) => Code::Sh3add,
        (0x20, 4) => Code::Xnor,
        (0x20, 6) => Code::Orn,
        (0x20, 7) => Code::Andn,
        (0x05, 4) => Code::Min,
        (0x05, 5) => Code::Minu,
        (0x05, 6) => Code::Max,
        (0x05, 7) => Code::Maxu,
        (0x30, 1) => Code::Rol,
        (0x30, 5) => Code::Ror,
        (0x24, 1) => Code::Bclr,
        (0x24, 5) => Code::Bext,
        (0x34, 1) => Code::Binv,
        (0x14, 1) => Code::Bset,
        (0x07, 5) => Code::CzeroEqz,
        (0x07, 7) => Code::CzeroNez,
        _ => return None,
    })
}

/// The codes of OP-32 instructions, which have two source registers.
pub(super) const fn op_32_code(funct7: u32, funct3: u32) -> Option<Code> {
    Some(match (funct7, funct3) {
        (0x04, 0) => Code::AddUw,
        (0x10, 2) => Code::Sh1addUw,
        (0x10, 4) => Code::Sh2addUw,
        (0x10, 6) => Code::Sh3addUw,
        (0x30, 1) => Code::Rolw,
        (0x30, 5) => Code::Rorw,
        _ => return None,
    })
}

/// Is an OP-32 instruction `zext.h`? Its field for the second source register must be zero; otherwise it
/// would be `packw` of Zbkb, which we do not have.
pub(super) const fn is_zext_h(bits: u32) -> bool {
    bits >> 20 == 0x080 && bits >> 12 & 7 == 4
}

/// OP-IMM instructions that have one operand, or an amount in the low six bits of the immediate.
pub(super) fn op_imm(bits: u32, funct3: u32, rd: u32, rs1: u32) -> Option<Op> {
    let code = match (funct3, bits >> 20) {
        (1, 0x600) => Code::Clz,
        (1, 0x601) => Code::Ctz,
        (1, 0x602) => Code::Cpop,
        (1, 0x604) => Code::SextB,
        (1, 0x605) => Code::SextH,
        (5, 0x287) => Code::OrcB,
        (5, 0x6b8) => Code::Rev8,
        _ => return op_imm_shift(bits, funct3, rd, rs1),
    };
    Some(pure(code, rd, rs1, 0, 0))
}

fn op_imm_shift(bits: u32, funct3: u32, rd: u32, rs1: u32) -> Option<Op> {
    let code = match (funct3, bits >> 26) {
        (1, 0x0a) => Code::Bseti,
        (1, 0x12) => Code::Bclri,
        (1, 0x1a) => Code::Binvi,
        (5, 0x12) => Code::Bexti,
        (5, 0x18) => Code::Rori,
        _ => return None,
    };
    Some(pure(code, rd, rs1, 0, (bits >> 20 & 63) as i32))
}

/// OP-IMM-32 instructions. The amount of `slli.uw` has six bits, that of `roriw` five.
pub(super) fn op_imm_32(bits: u32, funct3: u32, rd: u32, rs1: u32) -> Option<Op> {
    Some(match (funct3, bits >> 20) {
        (1, 0x600) => pure(Code::Clzw, rd, rs1, 0, 0),
        (1, 0x601) => pure(Code::Ctzw, rd, rs1, 0, 0),
        (1, 0x602) => pure(Code::Cpopw, rd, rs1, 0, 0),
        (1, imm) if imm >> 6 == 0x02 => pure(Code::SlliUw, rd, rs1, 0, (imm & 63) as i32),
        (5, imm) if imm >> 5 == 0x30 => pure(Code::Roriw, rd, rs1, 0, (imm & 31) as i32),
        _ => return None,
    })
}

/// The cache-block instructions, which are among MISC-MEM. Others with this `funct3` are reserved.
pub(super) fn block(bits: u32, funct3: u32, rd: u32, rs1: u32) -> Option<Op> {
    let known = funct3 == 2 && rd == 0 && matches!(bits >> 20, 0 | 1 | 2 | 4);
    known.then_some(Op::new(Code::Cbo, 0, rs1, 0, bits as i32))
}
