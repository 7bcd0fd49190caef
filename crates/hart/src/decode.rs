//! Instruction bits to [`Op`]: RV64GC and the extensions in [`isa`](crate::isa), exactly the encodings of the
//! manual's opcode listings.
//!
//! Pure functions of the bits: nothing here may depend on what a hart's registers say. Everything reserved
//! becomes [`Code::Illegal`] with the bits in `imm`, which is what the trap reports in `mtval`. Hints and
//! writes to `x0` without effect become [`Code::Nop`].

mod bits;

use bits::pure;

use crate::op::{Code, FloatForm, FloatKind, Op, SINK};

/// Decodes one instruction. Of a compressed one (`bits & 3 != 3`) only the low 16 bits are looked at.
#[must_use]
pub fn decode(bits: u32) -> Op {
    if is_compressed(bits) {
        let bits = bits & 0xffff;
        compressed(bits).unwrap_or(illegal(bits)).with_halves(1)
    } else {
        full(bits).unwrap_or(illegal(bits)).with_halves(2)
    }
}

/// Is an instruction that starts with these bits 16 bits long?
#[inline]
#[must_use]
pub const fn is_compressed(bits: u32) -> bool {
    bits & 3 != 3
}

const fn illegal(bits: u32) -> Op {
    Op::new(Code::Illegal, 0, 0, 0, bits as i32)
}

/// An integer load. Into `x0` it may still fault, or be seen by a device.
const fn load(code: Code, rd: u32, rs1: u32, imm: i32) -> Op {
    let op = Op::new(code, rd, rs1, 0, imm);
    if rd == 0 { Op { rd: SINK, ..op } } else { op }
}

/// `addi`, or what it is if it has no source register or no immediate.
const fn add_immediate(rd: u32, rs1: u32, imm: i32) -> Op {
    match (rs1, imm) {
        (0, _) => pure(Code::Li, rd, 0, 0, imm),
        (_, 0) => pure(Code::Mv, rd, rs1, 0, 0),
        _ => pure(Code::Addi, rd, rs1, 0, imm),
    }
}

/// Sign-extends the low `width` bits.
const fn signed(value: u32, width: u32) -> i32 {
    ((value << (32 - width)) as i32) >> (32 - width)
}

/// Bits `from..from + count` of the instruction, placed at bit `to`.
const fn field(bits: u32, from: u32, count: u32, to: u32) -> u32 {
    (bits >> from & ((1 << count) - 1)) << to
}

fn full(bits: u32) -> Option<Op> {
    let rd = bits >> 7 & 31;
    let funct3 = bits >> 12 & 7;
    let rs1 = bits >> 15 & 31;
    let rs2 = bits >> 20 & 31;
    let imm_i = bits as i32 >> 20;
    let imm_s = (bits as i32 >> 25) << 5 | rd as i32;
    Some(match bits >> 2 & 31 {
        0x00 => load(load_code(funct3)?, rd, rs1, imm_i),
        0x01 => match funct3 {
            2 => Op::new(Code::Flw, rd, rs1, 0, imm_i),
            3 => Op::new(Code::Fld, rd, rs1, 0, imm_i),
            _ => return None,
        },
        // FENCE and FENCE.I do nothing here: memory is sequential and caches are coherent. Unused fields
        // are ignored, as the manual wants.
        0x03 if funct3 <= 1 => Op::new(Code::Nop, 0, 0, 0, 0),
        0x03 => bits::block(bits, funct3, rd, rs1)?,
        0x04 => op_imm(bits, funct3, rd, rs1, imm_i)?,
        0x05 => pure(Code::Auipc, rd, 0, 0, (bits & 0xffff_f000) as i32),
        0x06 => op_imm_32(bits, funct3, rd, rs1, imm_i)?,
        0x08 => {
            let code = match funct3 {
                0 => Code::Sb,
                1 => Code::Sh,
                2 => Code::Sw,
                3 => Code::Sd,
                _ => return None,
            };
            Op::new(code, 0, rs1, rs2, imm_s)
        }
        0x09 => match funct3 {
            2 => Op::new(Code::Fsw, 0, rs1, rs2, imm_s),
            3 => Op::new(Code::Fsd, 0, rs1, rs2, imm_s),
            _ => return None,
        },
        0x0b => atomic(bits, funct3, rd, rs1, rs2)?,
        0x0c => {
            let code = op_code(bits >> 25, funct3)?;
            if matches!(code, Code::Add) && rs1 == 0 {
                pure(Code::Mv, rd, rs2, 0, 0)
            } else {
                pure(code, rd, rs1, rs2, 0)
            }
        }
        0x0d => pure(Code::Li, rd, 0, 0, (bits & 0xffff_f000) as i32),
        0x0e if bits::is_zext_h(bits) => pure(Code::ZextH, rd, rs1, 0, 0),
        0x0e => pure(op_32_code(bits >> 25, funct3)?, rd, rs1, rs2, 0),
        0x10..=0x13 => fused(bits, rd, rs1, rs2)?,
        0x14 => float(bits, funct3, rd, rs1, rs2)?,
        0x18 => {
            let imm = (bits as i32 >> 31) << 11
                | (field(bits, 7, 1, 10) | field(bits, 25, 6, 4) | field(bits, 8, 4, 0)) as i32;
            Op::new(branch_code(funct3)?, 0, rs1, rs2, imm)
        }
        0x19 if funct3 == 0 => jump_register(rd, rs1, imm_i),
        0x1b => {
            let imm = (bits as i32 >> 31) << 19
                | (field(bits, 12, 8, 11) | field(bits, 20, 1, 10) | field(bits, 21, 10, 0)) as i32;
            jump(rd, imm)
        }
        0x1c => system(bits, funct3, rd, rs1, rs2)?,
        _ => return None,
    })
}

const fn jump(rd: u32, halfwords: i32) -> Op {
    Op::new(if rd == 0 { Code::J } else { Code::Jal }, rd, 0, 0, halfwords)
}

const fn jump_register(rd: u32, rs1: u32, imm: i32) -> Op {
    Op::new(if rd == 0 { Code::Jr } else { Code::Jalr }, rd, rs1, 0, imm)
}

const fn load_code(funct3: u32) -> Option<Code> {
    Some(match funct3 {
        0 => Code::Lb,
        1 => Code::Lh,
        2 => Code::Lw,
        3 => Code::Ld,
        4 => Code::Lbu,
        5 => Code::Lhu,
        6 => Code::Lwu,
        _ => return None,
    })
}

const fn branch_code(funct3: u32) -> Option<Code> {
    Some(match funct3 {
        0 => Code::Beq,
        1 => Code::Bne,
        4 => Code::Blt,
        5 => Code::Bge,
        6 => Code::Bltu,
        7 => Code::Bgeu,
        _ => return None,
    })
}

fn op_imm(bits: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> Option<Op> {
    let shift = imm & 63;
    Some(match (funct3, bits >> 26) {
        (0, _) => add_immediate(rd, rs1, imm),
        (1, 0x00) => pure(Code::Slli, rd, rs1, 0, shift),
        (2, _) => pure(Code::Slti, rd, rs1, 0, imm),
        (3, _) => pure(Code::Sltiu, rd, rs1, 0, imm),
        (4, _) => pure(Code::Xori, rd, rs1, 0, imm),
        (5, 0x00) => pure(Code::Srli, rd, rs1, 0, shift),
        (5, 0x10) => pure(Code::Srai, rd, rs1, 0, shift),
        (6, _) => pure(Code::Ori, rd, rs1, 0, imm),
        (7, _) => pure(Code::Andi, rd, rs1, 0, imm),
        _ => bits::op_imm(bits, funct3, rd, rs1)?,
    })
}

fn op_imm_32(bits: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> Option<Op> {
    let shift = imm & 31;
    Some(match (funct3, bits >> 25) {
        (0, _) => pure(Code::Addiw, rd, rs1, 0, imm),
        (1, 0x00) => pure(Code::Slliw, rd, rs1, 0, shift),
        (5, 0x00) => pure(Code::Srliw, rd, rs1, 0, shift),
        (5, 0x20) => pure(Code::Sraiw, rd, rs1, 0, shift),
        _ => bits::op_imm_32(bits, funct3, rd, rs1)?,
    })
}

const fn op_code(funct7: u32, funct3: u32) -> Option<Code> {
    Some(match (funct7, funct3) {
        (0x00, 0) => Code::Add,
        (0x20, 0) => Code::Sub,
        (0x00, 1) => Code::Sll,
        (0x00, 2) => Code::Slt,
        (0x00, 3) => Code::Sltu,
        (0x00, 4) => Code::Xor,
        (0x00, 5) => Code::Srl,
        (0x20, 5) => Code::Sra,
        (0x00, 6) => Code::Or,
        (0x00, 7) => Code::And,
        (0x01, 0) => Code::Mul,
        (0x01, 1) => Code::Mulh,
        (0x01, 2) => Code::Mulhsu,
        (0x01, 3) => Code::Mulhu,
        (0x01, 4) => Code::Div,
        (0x01, 5) => Code::Divu,
        (0x01, 6) => Code::Rem,
        (0x01, 7) => Code::Remu,
        _ => return bits::op_code(funct7, funct3),
    })
}

const fn op_32_code(funct7: u32, funct3: u32) -> Option<Code> {
    Some(match (funct7, funct3) {
        (0x00, 0) => Code::Addw,
        (0x20, 0) => Code::Subw,
        (0x00, 1) => Code::Sllw,
        (0x00, 5) => Code::Srlw,
        (0x20, 5) => Code::Sraw,
        (0x01, 0) => Code::Mulw,
        (0x01, 4) => Code::Divw,
        (0x01, 5) => Code::Divuw,
        (0x01, 6) => Code::Remw,
        (0x01, 7) => Code::Remuw,
        _ => return bits::op_32_code(funct7, funct3),
    })
}

fn atomic(bits: u32, funct3: u32, rd: u32, rs1: u32, rs2: u32) -> Option<Op> {
    let double = match funct3 {
        2 => false,
        3 => true,
        _ => return None,
    };
    let funct5 = bits >> 27;
    let code = match funct5 {
        0x02 if rs2 != 0 => return None,
        0x02 if double => Code::LrD,
        0x02 => Code::LrW,
        0x03 if double => Code::ScD,
        0x03 => Code::ScW,
        0x00 | 0x01 | 0x04 | 0x08 | 0x0c | 0x10 | 0x14 | 0x18 | 0x1c if double => Code::AmoD,
        0x00 | 0x01 | 0x04 | 0x08 | 0x0c | 0x10 | 0x14 | 0x18 | 0x1c => Code::AmoW,
        _ => return None,
    };
    Some(Op::new(code, rd, rs1, rs2, funct5 as i32))
}

fn system(bits: u32, funct3: u32, rd: u32, rs1: u32, rs2: u32) -> Option<Op> {
    let code = match funct3 {
        0 => match bits {
            0x0000_0073 => Code::Ecall,
            0x0010_0073 => Code::Ebreak,
            0x1020_0073 => Code::Sret,
            0x3020_0073 => Code::Mret,
            0x1050_0073 => Code::Wfi,
            0x1800_0073 => Code::SfenceWInval,
            0x1810_0073 => Code::SfenceInvalIr,
            _ if bits >> 25 == 0x09 && rd == 0 => Code::SfenceVma,
            _ if bits >> 25 == 0x0b && rd == 0 => Code::SinvalVma,
            _ => return None,
        },
        4 => return None,
        _ => Code::Csr,
    };
    Some(Op::new(code, rd, rs1, rs2, bits as i32))
}

/// Format bits of a floating-point instruction: is it D? Other formats are not implemented.
const fn is_double(format: u32) -> Option<bool> {
    match format & 3 {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

const fn form(kind: FloatKind, double: bool, rounding: u32, rs3: u32) -> i32 {
    FloatForm {
        kind,
        double,
        rounding: rounding as u8,
        rs3: rs3 as usize,
    }
    .pack()
}

/// Static rounding modes 5 and 6 are reserved.
const fn rounding(funct3: u32) -> Option<u32> {
    if funct3 == 5 || funct3 == 6 {
        None
    } else {
        Some(funct3)
    }
}

fn fused(bits: u32, rd: u32, rs1: u32, rs2: u32) -> Option<Op> {
    let kind = match bits >> 2 & 3 {
        0 => FloatKind::Madd,
        1 => FloatKind::Msub,
        2 => FloatKind::Nmsub,
        _ => FloatKind::Nmadd,
    };
    let imm = form(
        kind,
        is_double(bits >> 25)?,
        rounding(bits >> 12 & 7)?,
        bits >> 27,
    );
    Some(Op::new(Code::Float, rd, rs1, rs2, imm))
}

fn float(bits: u32, funct3: u32, rd: u32, rs1: u32, rs2: u32) -> Option<Op> {
    use FloatKind::*;
    let double = is_double(bits >> 25)?;
    // Whether funct3 is a rounding mode or selects the operation.
    let (kind, rounds) = match (bits >> 27, funct3, rs2) {
        (0x00, ..) => (Add, true),
        (0x01, ..) => (Sub, true),
        (0x02, ..) => (Mul, true),
        (0x03, ..) => (Div, true),
        (0x0b, _, 0) => (Sqrt, true),
        (0x04, 0, _) => (Sgnj, false),
        (0x04, 1, _) => (Sgnjn, false),
        (0x04, 2, _) => (Sgnjx, false),
        (0x05, 0, _) => (Min, false),
        (0x05, 1, _) => (Max, false),
        (0x08, _, 1) if !double => (Convert, true),
        (0x08, _, 0) if double => (Convert, true),
        (0x14, 0, _) => (Le, false),
        (0x14, 1, _) => (Lt, false),
        (0x14, 2, _) => (Eq, false),
        (0x18, _, 0) => (ToW, true),
        (0x18, _, 1) => (ToWu, true),
        (0x18, _, 2) => (ToL, true),
        (0x18, _, 3) => (ToLu, true),
        (0x1a, _, 0) => (FromW, true),
        (0x1a, _, 1) => (FromWu, true),
        (0x1a, _, 2) => (FromL, true),
        (0x1a, _, 3) => (FromLu, true),
        (0x1c, 0, 0) => (MoveToInteger, false),
        (0x1c, 1, 0) => (Class, false),
        (0x1e, 0, 0) => (MoveFromInteger, false),
        _ => return None,
    };
    let mode = if rounds { rounding(funct3)? } else { 0 };
    Some(Op::new(Code::Float, rd, rs1, rs2, form(kind, double, mode, 0)))
}

/// RV64 C (manual, chapter "C", and its instruction listings for quadrants 0 to 2).
fn compressed(bits: u32) -> Option<Op> {
    let funct3 = bits >> 13 & 7;
    match bits & 3 {
        0 => quadrant0(bits, funct3),
        1 => quadrant1(bits, funct3),
        _ => quadrant2(bits, funct3),
    }
}

fn quadrant0(bits: u32, funct3: u32) -> Option<Op> {
    let short_rd = 8 + (bits >> 2 & 7);
    let rs1 = 8 + (bits >> 7 & 7);
    let word = (field(bits, 10, 3, 3) | field(bits, 6, 1, 2) | field(bits, 5, 1, 6)) as i32;
    let double = (field(bits, 10, 3, 3) | field(bits, 5, 2, 6)) as i32;
    Some(match funct3 {
        0 => {
            let imm =
                field(bits, 11, 2, 4) | field(bits, 7, 4, 6) | field(bits, 6, 1, 2) | field(bits, 5, 1, 3);
            if imm == 0 {
                return None;
            }
            add_immediate(short_rd, 2, imm as i32)
        }
        1 => Op::new(Code::Fld, short_rd, rs1, 0, double),
        2 => Op::new(Code::Lw, short_rd, rs1, 0, word),
        3 => Op::new(Code::Ld, short_rd, rs1, 0, double),
        5 => Op::new(Code::Fsd, 0, rs1, short_rd, double),
        6 => Op::new(Code::Sw, 0, rs1, short_rd, word),
        7 => Op::new(Code::Sd, 0, rs1, short_rd, double),
        _ => return None,
    })
}

fn quadrant1(bits: u32, funct3: u32) -> Option<Op> {
    let rd = bits >> 7 & 31;
    let imm = signed(field(bits, 12, 1, 5) | field(bits, 2, 5, 0), 6);
    let short = 8 + (bits >> 7 & 7);
    Some(match funct3 {
        0 => add_immediate(rd, rd, imm),
        1 if rd != 0 => pure(Code::Addiw, rd, rd, 0, imm),
        2 => add_immediate(rd, 0, imm),
        3 if rd == 2 => {
            let imm = signed(
                field(bits, 12, 1, 9)
                    | field(bits, 6, 1, 4)
                    | field(bits, 5, 1, 6)
                    | field(bits, 3, 2, 7)
                    | field(bits, 2, 1, 5),
                10,
            );
            if imm == 0 {
                return None;
            }
            add_immediate(2, 2, imm)
        }
        3 if imm != 0 => pure(Code::Li, rd, 0, 0, imm << 12),
        4 => arithmetic(bits, short, imm)?,
        5 => {
            let bytes = field(bits, 12, 1, 11)
                | field(bits, 11, 1, 4)
                | field(bits, 9, 2, 8)
                | field(bits, 8, 1, 10)
                | field(bits, 7, 1, 6)
                | field(bits, 6, 1, 7)
                | field(bits, 3, 3, 1)
                | field(bits, 2, 1, 5);
            jump(0, signed(bytes, 12) >> 1)
        }
        6 | 7 => {
            let bytes = field(bits, 12, 1, 8)
                | field(bits, 10, 2, 3)
                | field(bits, 5, 2, 6)
                | field(bits, 3, 2, 1)
                | field(bits, 2, 1, 5);
            let code = if funct3 == 6 { Code::Beq } else { Code::Bne };
            Op::new(code, 0, short, 0, signed(bytes, 9) >> 1)
        }
        _ => return None,
    })
}

/// The MISC-ALU group of quadrant 1.
fn arithmetic(bits: u32, rd: u32, imm: i32) -> Option<Op> {
    let rs2 = 8 + (bits >> 2 & 7);
    Some(match (bits >> 10 & 3, bits >> 12 & 1, bits >> 5 & 3) {
        (0, ..) => pure(Code::Srli, rd, rd, 0, imm & 63),
        (1, ..) => pure(Code::Srai, rd, rd, 0, imm & 63),
        (2, ..) => pure(Code::Andi, rd, rd, 0, imm),
        (3, 0, 0) => pure(Code::Sub, rd, rd, rs2, 0),
        (3, 0, 1) => pure(Code::Xor, rd, rd, rs2, 0),
        (3, 0, 2) => pure(Code::Or, rd, rd, rs2, 0),
        (3, 0, 3) => pure(Code::And, rd, rd, rs2, 0),
        (3, 1, 0) => pure(Code::Subw, rd, rd, rs2, 0),
        (3, 1, 1) => pure(Code::Addw, rd, rd, rs2, 0),
        _ => return None,
    })
}

fn quadrant2(bits: u32, funct3: u32) -> Option<Op> {
    let rd = bits >> 7 & 31;
    let rs2 = bits >> 2 & 31;
    let load_word = (field(bits, 12, 1, 5) | field(bits, 4, 3, 2) | field(bits, 2, 2, 6)) as i32;
    let load_double = (field(bits, 12, 1, 5) | field(bits, 5, 2, 3) | field(bits, 2, 3, 6)) as i32;
    let store_word = (field(bits, 9, 4, 2) | field(bits, 7, 2, 6)) as i32;
    let store_double = (field(bits, 10, 3, 3) | field(bits, 7, 3, 6)) as i32;
    Some(match funct3 {
        0 => pure(Code::Slli, rd, rd, 0, (field(bits, 12, 1, 5) | rs2) as i32),
        1 => Op::new(Code::Fld, rd, 2, 0, load_double),
        2 if rd != 0 => Op::new(Code::Lw, rd, 2, 0, load_word),
        3 if rd != 0 => Op::new(Code::Ld, rd, 2, 0, load_double),
        4 => match (bits >> 12 & 1, rd, rs2) {
            (0, 0, 0) => return None,
            (0, _, 0) => jump_register(0, rd, 0),
            (0, ..) => pure(Code::Mv, rd, rs2, 0, 0),
            (_, 0, 0) => Op::new(Code::Ebreak, 0, 0, 0, 0),
            (_, _, 0) => jump_register(1, rd, 0),
            _ => pure(Code::Add, rd, rd, rs2, 0),
        },
        5 => Op::new(Code::Fsd, 0, 2, rs2, store_double),
        6 => Op::new(Code::Sw, 0, 2, rs2, store_word),
        7 => Op::new(Code::Sd, 0, 2, rs2, store_double),
        _ => return None,
    })
}
