//! Instruction formats to bits (unprivileged manual, "RV32/64G Instruction Set Listings").
//!
//! The runtime and the generator write all their instructions with these functions. They check nothing, since
//! the generator wants reserved encodings as well.

/// Major opcodes, with the two low bits that say "32 bits long".
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod opcode {
    pub const LOAD: u32 = 0x03;
    pub const LOAD_FP: u32 = 0x07;
    pub const MISC_MEM: u32 = 0x0f;
    pub const OP_IMM: u32 = 0x13;
    pub const AUIPC: u32 = 0x17;
    pub const OP_IMM_32: u32 = 0x1b;
    pub const STORE: u32 = 0x23;
    pub const STORE_FP: u32 = 0x27;
    pub const AMO: u32 = 0x2f;
    pub const OP: u32 = 0x33;
    pub const LUI: u32 = 0x37;
    pub const OP_32: u32 = 0x3b;
    pub const MADD: u32 = 0x43;
    pub const OP_FP: u32 = 0x53;
    pub const BRANCH: u32 = 0x63;
    pub const JALR: u32 = 0x67;
    pub const JAL: u32 = 0x6f;
    pub const SYSTEM: u32 = 0x73;
}

/// Register names.
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod register {
    pub const ZERO: u32 = 0;
    pub const RA: u32 = 1;
    pub const SP: u32 = 2;
    pub const GP: u32 = 3;
    pub const T0: u32 = 5;
    pub const T1: u32 = 6;
    pub const T2: u32 = 7;
    pub const S0: u32 = 8;
    pub const S1: u32 = 9;
    pub const A0: u32 = 10;
    pub const A1: u32 = 11;
    pub const A2: u32 = 12;
    pub const A3: u32 = 13;
    pub const A4: u32 = 14;
    pub const A5: u32 = 15;
    pub const S2: u32 = 18;
    pub const S3: u32 = 19;
    pub const S4: u32 = 20;
    pub const S5: u32 = 21;
    pub const S6: u32 = 22;
    pub const S7: u32 = 23;
    pub const S8: u32 = 24;
    pub const S11: u32 = 27;
    pub const T3: u32 = 28;
    pub const T4: u32 = 29;
}

/// Numbers of the CSRs that have a part in the programs (privileged manual, "CSR Listing"). `hart` has a list
/// of its own: these programs are what it is tested with, so a wrong number there must not be wrong here too.
#[expect(missing_docs, reason = "the names are the manual's")]
pub mod number {
    pub const FFLAGS: u32 = 0x001;
    pub const FRM: u32 = 0x002;
    pub const FCSR: u32 = 0x003;
    pub const SSTATUS: u32 = 0x100;
    pub const SIE: u32 = 0x104;
    pub const STVEC: u32 = 0x105;
    pub const SCOUNTEREN: u32 = 0x106;
    pub const SENVCFG: u32 = 0x10a;
    pub const SSCRATCH: u32 = 0x140;
    pub const SEPC: u32 = 0x141;
    pub const SCAUSE: u32 = 0x142;
    pub const STVAL: u32 = 0x143;
    pub const SIP: u32 = 0x144;
    pub const STIMECMP: u32 = 0x14d;
    pub const SATP: u32 = 0x180;
    pub const MSTATUS: u32 = 0x300;
    pub const MISA: u32 = 0x301;
    pub const MEDELEG: u32 = 0x302;
    pub const MIDELEG: u32 = 0x303;
    pub const MIE: u32 = 0x304;
    pub const MTVEC: u32 = 0x305;
    pub const MCOUNTEREN: u32 = 0x306;
    pub const MENVCFG: u32 = 0x30a;
    pub const MCOUNTINHIBIT: u32 = 0x320;
    pub const MSCRATCH: u32 = 0x340;
    pub const MEPC: u32 = 0x341;
    pub const MCAUSE: u32 = 0x342;
    pub const MTVAL: u32 = 0x343;
    pub const MIP: u32 = 0x344;
    pub const PMPCFG0: u32 = 0x3a0;
    pub const PMPCFG2: u32 = 0x3a2;
    pub const PMPADDR0: u32 = 0x3b0;
    pub const PMPADDR15: u32 = 0x3bf;
    pub const MCYCLE: u32 = 0xb00;
    pub const MINSTRET: u32 = 0xb02;
    pub const CYCLE: u32 = 0xc00;
    pub const TIME: u32 = 0xc01;
    pub const INSTRET: u32 = 0xc02;
    pub const MVENDORID: u32 = 0xf11;
    pub const MARCHID: u32 = 0xf12;
    pub const MIMPID: u32 = 0xf13;
    pub const MHARTID: u32 = 0xf14;

    /// `pmpaddr0` to `pmpaddr15`.
    #[must_use]
    pub const fn pmpaddr(entry: u32) -> u32 {
        PMPADDR0 + entry
    }
}

/// `ecall`.
pub const ECALL: u32 = 0x0000_0073;
/// `ebreak`.
pub const EBREAK: u32 = 0x0010_0073;
/// `sret`.
pub const SRET: u32 = 0x1020_0073;
/// `mret`.
pub const MRET: u32 = 0x3020_0073;
/// `wfi`.
pub const WFI: u32 = 0x1050_0073;
/// `sfence.vma x0, x0`.
pub const SFENCE_VMA: u32 = 0x1200_0073;
/// `sinval.vma x0, x0`.
pub const SINVAL_VMA: u32 = 0x1600_0073;
/// `sfence.w.inval`.
pub const SFENCE_W_INVAL: u32 = 0x1800_0073;
/// `sfence.inval.ir`.
pub const SFENCE_INVAL_IR: u32 = 0x1810_0073;
/// `fence.i`.
pub const FENCE_I: u32 = 0x0000_100f;
/// `c.nop`.
pub const C_NOP: u16 = 0x0001;
/// `c.ebreak`.
pub const C_EBREAK: u16 = 0x9002;

/// An instruction in R format.
#[must_use]
pub const fn r(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

/// An instruction in I format; the low 12 bits of `imm` count.
#[must_use]
pub const fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

/// An instruction in S format; the low 12 bits of `imm` count.
#[must_use]
pub const fn s(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | opcode
}

/// An instruction in U format; the high 20 bits of `imm` count.
#[must_use]
pub const fn u(opcode: u32, rd: u32, imm: u32) -> u32 {
    imm & 0xffff_f000 | rd << 7 | opcode
}

/// The immediate bits of a branch by so many bytes.
#[must_use]
pub const fn branch_offset(bytes: i32) -> u32 {
    let b = bytes as u32;
    (b >> 12 & 1) << 31 | (b >> 5 & 0x3f) << 25 | (b >> 1 & 0xf) << 8 | (b >> 11 & 1) << 7
}

/// The immediate bits of `jal` by so many bytes.
#[must_use]
pub const fn jump_offset(bytes: i32) -> u32 {
    let b = bytes as u32;
    (b >> 20 & 1) << 31 | (b >> 1 & 0x3ff) << 21 | (b >> 11 & 1) << 20 | (b >> 12 & 0xff) << 12
}

/// The immediate bits of `c.j` by so many bytes.
#[must_use]
pub const fn compressed_jump_offset(bytes: i32) -> u16 {
    let b = bytes as u32;
    ((b >> 11 & 1) << 12
        | (b >> 4 & 1) << 11
        | (b >> 8 & 3) << 9
        | (b >> 10 & 1) << 8
        | (b >> 6 & 1) << 7
        | (b >> 7 & 1) << 6
        | (b >> 1 & 7) << 3
        | (b >> 5 & 1) << 2) as u16
}

/// The immediate bits of `c.beqz` and `c.bnez` by so many bytes.
#[must_use]
pub const fn compressed_branch_offset(bytes: i32) -> u16 {
    let b = bytes as u32;
    ((b >> 8 & 1) << 12 | (b >> 3 & 3) << 10 | (b >> 6 & 3) << 5 | (b >> 1 & 3) << 3 | (b >> 5 & 1) << 2)
        as u16
}

/// `addi`.
#[must_use]
pub const fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(opcode::OP_IMM, 0, rd, rs1, imm)
}

/// `slli`.
#[must_use]
pub const fn slli(rd: u32, rs1: u32, shift: u32) -> u32 {
    i(opcode::OP_IMM, 1, rd, rs1, shift as i32)
}

/// `srli`.
#[must_use]
pub const fn srli(rd: u32, rs1: u32, shift: u32) -> u32 {
    i(opcode::OP_IMM, 5, rd, rs1, shift as i32)
}

/// `ld`.
#[must_use]
pub const fn ld(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(opcode::LOAD, 3, rd, rs1, imm)
}

/// `sd`.
#[must_use]
pub const fn sd(rs2: u32, rs1: u32, imm: i32) -> u32 {
    s(opcode::STORE, 3, rs1, rs2, imm)
}

/// A CSR instruction: funct3 1 to 3 and 5 to 7.
#[must_use]
pub const fn csr(funct3: u32, rd: u32, csr: u32, rs1: u32) -> u32 {
    csr << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode::SYSTEM
}

/// `csrr`.
#[must_use]
pub const fn csrr(rd: u32, number: u32) -> u32 {
    csr(2, rd, number, 0)
}

/// `csrw`.
#[must_use]
pub const fn csrw(number: u32, rs1: u32) -> u32 {
    csr(1, 0, number, rs1)
}

/// The instructions that put a constant into a register, as assemblers do it.
pub fn load_constant(rd: u32, value: u64, emit: &mut impl FnMut(u32)) {
    let signed = value as i64;
    let low = (signed << 52) >> 52;
    if let Ok(word) = i32::try_from(signed) {
        let upper = word.wrapping_sub(low as i32) as u32;
        if upper == 0 {
            emit(addi(rd, 0, low as i32));
        } else {
            emit(u(opcode::LUI, rd, upper));
            // addiw: lui of 0x80000 has sign-extended a positive number.
            emit(i(opcode::OP_IMM_32, 0, rd, rd, low as i32));
        }
        return;
    }
    let rest = signed.wrapping_sub(low) >> 12;
    let shift = rest.trailing_zeros();
    load_constant(rd, (rest >> shift) as u64, emit);
    emit(slli(rd, rd, 12 + shift));
    if low != 0 {
        emit(addi(rd, rd, low as i32));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the instructions of `load_constant` compute.
    fn run(value: u64) -> u64 {
        let mut x = 0u64;
        load_constant(1, value, &mut |word| {
            let imm = i64::from(word as i32 >> 20);
            x = match (word & 0x7f, word >> 12 & 7) {
                (opcode::LUI, _) => i64::from((word & 0xffff_f000) as i32) as u64,
                (opcode::OP_IMM_32, 0) => i64::from(x.wrapping_add(imm as u64) as i32) as u64,
                (opcode::OP_IMM, 0) if word >> 15 & 31 == 0 => imm as u64,
                (opcode::OP_IMM, 0) => x.wrapping_add(imm as u64),
                _ => x << (imm & 63),
            };
        });
        x
    }

    #[test]
    fn constants_are_loaded_exactly() {
        let mut random = crate::random::Random::new(1, 0);
        for _ in 0..10_000 {
            let value = random.next() >> random.below(64) ^ (random.next() << random.below(64));
            assert_eq!(run(value), value);
            assert_eq!(run(value as i32 as u64), value as i32 as u64);
        }
        for value in [
            0,
            u64::MAX,
            0x7fff_ffff,
            0x8000_0000,
            0x7fff_ffff_ffff_f800,
            1 << 63,
        ] {
            assert_eq!(run(value), value);
        }
    }
}
