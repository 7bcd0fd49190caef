//! An assembler for test guests: as much RV64IA as they need, with labels.

#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::BTreeMap;

pub const ZERO: u32 = 0;
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

pub const MSTATUS: u32 = 0x300;
pub const MIDELEG: u32 = 0x303;
pub const MIE: u32 = 0x304;
pub const MCOUNTEREN: u32 = 0x306;
pub const MEPC: u32 = 0x341;
pub const MIP: u32 = 0x344;
pub const PMPCFG0: u32 = 0x3a0;
pub const PMPADDR0: u32 = 0x3b0;
pub const SSTATUS: u32 = 0x100;
pub const STVEC: u32 = 0x105;
pub const MTVEC: u32 = 0x305;
pub const MCAUSE: u32 = 0x342;
pub const TIME: u32 = 0xc01;
pub const STIMECMP: u32 = 0x14d;
pub const MENVCFG: u32 = 0x30a;

/// A program under construction.
#[derive(Default)]
pub struct Asm {
    words: Vec<u32>,
    labels: BTreeMap<&'static str, usize>,
    jumps: Vec<(usize, &'static str)>,
}

impl Asm {
    fn i(&mut self, opcode: u32, rd: u32, funct: u32, rs1: u32, imm: i32) {
        assert!((-2048..2048).contains(&imm));
        self.words
            .push((imm as u32) << 20 | rs1 << 15 | funct << 12 | rd << 7 | opcode);
    }

    fn s(&mut self, funct: u32, rs2: u32, rs1: u32, imm: i32) {
        assert!((-2048..2048).contains(&imm));
        let imm = imm as u32;
        self.words
            .push((imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct << 12 | (imm & 31) << 7 | 0x23);
    }

    pub fn label(&mut self, name: &'static str) {
        self.labels.insert(name, self.words.len());
    }

    pub fn addi(&mut self, rd: u32, rs1: u32, imm: i32) {
        self.i(0x13, rd, 0, rs1, imm);
    }

    pub fn andi(&mut self, rd: u32, rs1: u32, imm: i32) {
        self.i(0x13, rd, 7, rs1, imm);
    }

    pub fn xori(&mut self, rd: u32, rs1: u32, imm: i32) {
        self.i(0x13, rd, 4, rs1, imm);
    }

    pub fn slli(&mut self, rd: u32, rs1: u32, shift: i32) {
        self.i(0x13, rd, 1, rs1, shift);
    }

    pub fn srli(&mut self, rd: u32, rs1: u32, shift: i32) {
        self.i(0x13, rd, 5, rs1, shift);
    }

    pub fn lui(&mut self, rd: u32, upper: u32) {
        self.words.push(upper << 12 | rd << 7 | 0x37);
    }

    /// Any constant below 2^31; upper bits above are not reachable with this.
    pub fn li(&mut self, rd: u32, value: u32) {
        let low = (value & 0xfff) as i32;
        let low = if low >= 2048 { low - 4096 } else { low };
        self.lui(rd, value.wrapping_sub(low as u32) >> 12);
        self.addi(rd, rd, low);
    }

    /// `1 << shift`.
    pub fn bit(&mut self, rd: u32, shift: i32) {
        self.addi(rd, ZERO, 1);
        self.slli(rd, rd, shift);
    }

    pub fn add(&mut self, rd: u32, rs1: u32, rs2: u32) {
        self.words.push(rs2 << 20 | rs1 << 15 | rd << 7 | 0x33);
    }

    pub fn sub(&mut self, rd: u32, rs1: u32, rs2: u32) {
        self.words
            .push(0x20 << 25 | rs2 << 20 | rs1 << 15 | rd << 7 | 0x33);
    }

    pub fn ld(&mut self, rd: u32, rs1: u32, imm: i32) {
        self.i(0x03, rd, 3, rs1, imm);
    }

    pub fn lbu(&mut self, rd: u32, rs1: u32, imm: i32) {
        self.i(0x03, rd, 4, rs1, imm);
    }

    pub fn lw(&mut self, rd: u32, rs1: u32, imm: i32) {
        self.i(0x03, rd, 2, rs1, imm);
    }

    pub fn sd(&mut self, rs2: u32, rs1: u32, imm: i32) {
        self.s(3, rs2, rs1, imm);
    }

    pub fn sw(&mut self, rs2: u32, rs1: u32, imm: i32) {
        self.s(2, rs2, rs1, imm);
    }

    pub fn sb(&mut self, rs2: u32, rs1: u32, imm: i32) {
        self.s(0, rs2, rs1, imm);
    }

    pub fn lr_d(&mut self, rd: u32, rs1: u32) {
        self.words.push(2 << 27 | rs1 << 15 | 3 << 12 | rd << 7 | 0x2f);
    }

    pub fn sc_d(&mut self, rd: u32, rs2: u32, rs1: u32) {
        self.words
            .push(3 << 27 | rs2 << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x2f);
    }

    pub fn amoadd_d(&mut self, rd: u32, rs2: u32, rs1: u32) {
        self.words.push(rs2 << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x2f);
    }

    pub fn csrw(&mut self, csr: u32, rs1: u32) {
        self.words.push(csr << 20 | rs1 << 15 | 1 << 12 | 0x73);
    }

    pub fn csrs(&mut self, csr: u32, rs1: u32) {
        self.words.push(csr << 20 | rs1 << 15 | 2 << 12 | 0x73);
    }

    pub fn csrr(&mut self, rd: u32, csr: u32) {
        self.words.push(csr << 20 | 2 << 12 | rd << 7 | 0x73);
    }

    pub fn wfi(&mut self) {
        self.words.push(0x1050_0073);
    }

    pub fn mret(&mut self) {
        self.words.push(0x3020_0073);
    }

    pub fn sret(&mut self) {
        self.words.push(0x1020_0073);
    }

    /// `auipc rd, 0` and the distance to the label.
    pub fn la(&mut self, rd: u32, label: &'static str) {
        self.words.push(rd << 7 | 0x17);
        self.jumps.push((self.words.len(), label));
        self.addi(rd, rd, 0);
    }

    pub fn j(&mut self, label: &'static str) {
        self.jumps.push((self.words.len(), label));
        self.words.push(0x6f);
    }

    pub fn bnez(&mut self, rs1: u32, label: &'static str) {
        self.jumps.push((self.words.len(), label));
        self.words.push(rs1 << 15 | 1 << 12 | 0x63);
    }

    pub fn beqz(&mut self, rs1: u32, label: &'static str) {
        self.jumps.push((self.words.len(), label));
        self.words.push(rs1 << 15 | 0x63);
    }

    /// The program's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        for (at, label) in self.jumps {
            let by = (self.labels[label] as i32 - at as i32) * 4;
            let word = &mut self.words[at];
            let to = by as u32;
            *word |= match *word & 0x7f {
                0x13 => ((by + 4) as u32) << 20, // Relative to the auipc before it.
                0x6f => {
                    (to >> 20 & 1) << 31
                        | (to >> 1 & 0x3ff) << 21
                        | (to >> 11 & 1) << 20
                        | (to >> 12 & 0xff) << 12
                }
                _ => {
                    (to >> 12 & 1) << 31 | (to >> 5 & 0x3f) << 25 | (to >> 1 & 0xf) << 8 | (to >> 11 & 1) << 7
                }
            };
        }
        self.words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}
