//! A small assembler with labels, for the runtime.
//!
//! The other files of [`runtime`](super) append to one [`Assembler`], and [`code`](super::code) finishes it.
//! A label that is missing, defined twice or too far away stops the generator: no wrong runtime is ever made.

use std::collections::BTreeMap;

use crate::encode::{self, addi, branch_offset, jump_offset, opcode, register::*};

/// Branch conditions, by their funct3.
#[derive(Clone, Copy)]
pub enum If {
    Equal = 0,
    NotEqual = 1,
    Less = 4,
    LessUnsigned = 6,
    AtLeastUnsigned = 7,
}

/// Code under construction. Labels are names; each is defined once.
#[derive(Default)]
pub struct Assembler {
    /// The instructions so far.
    words: Vec<u32>,
    /// The index in `words` that each label names.
    labels: BTreeMap<&'static str, usize>,
    /// Branches and jumps without their offset yet: index in `words`, and the label to go to.
    jumps: Vec<(usize, &'static str)>,
    /// Where the loops that are open start, the innermost last.
    marks: Vec<usize>,
}

impl Assembler {
    /// One instruction.
    pub fn word(&mut self, word: u32) {
        self.words.push(word);
    }

    /// Gives the next instruction a name.
    pub fn label(&mut self, name: &'static str) {
        let old = self.labels.insert(name, self.words.len());
        assert!(old.is_none(), "label {name} is defined twice");
    }

    /// Starts a loop that [`Assembler::while_`] closes.
    pub fn repeat(&mut self) {
        self.marks.push(self.words.len());
    }

    /// Branches back to the start of the innermost loop while the condition holds, and closes the loop.
    pub fn while_(&mut self, condition: If, rs1: u32, rs2: u32) {
        let start = self.marks.pop().unwrap_or(0);
        let by = (start as i32 - self.words.len() as i32) * 4;
        self.word(encode::r(opcode::BRANCH, condition as u32, 0, 0, rs1, rs2) | branch_offset(by));
    }

    /// Branches to a label.
    pub fn branch(&mut self, condition: If, rs1: u32, rs2: u32, label: &'static str) {
        self.jumps.push((self.words.len(), label));
        self.word(encode::r(opcode::BRANCH, condition as u32, 0, 0, rs1, rs2));
    }

    /// Jumps to a label.
    pub fn jump(&mut self, label: &'static str) {
        self.jumps.push((self.words.len(), label));
        self.word(opcode::JAL);
    }

    /// Calls a label; clobbers `ra`.
    pub fn call(&mut self, label: &'static str) {
        self.jumps.push((self.words.len(), label));
        self.word(RA << 7 | opcode::JAL);
    }

    /// Returns from a call.
    pub fn ret(&mut self) {
        self.word(encode::i(opcode::JALR, 0, ZERO, RA, 0));
    }

    /// Loads a constant.
    pub fn constant(&mut self, rd: u32, value: u64) {
        encode::load_constant(rd, value, &mut |word| self.words.push(word));
    }

    /// Copies a register.
    pub fn copy(&mut self, rd: u32, rs1: u32) {
        self.word(addi(rd, rs1, 0));
    }

    /// A register operation of major opcode OP.
    pub fn op(&mut self, funct7: u32, funct3: u32, rd: u32, rs1: u32, rs2: u32) {
        self.word(encode::r(opcode::OP, funct3, funct7, rd, rs1, rs2));
    }

    /// The words so far, for code without labels.
    pub fn words(self) -> Vec<u32> {
        self.words
    }

    /// The program's bytes.
    pub fn finish(mut self) -> Vec<u8> {
        for (at, label) in std::mem::take(&mut self.jumps) {
            let Some(&target) = self.labels.get(label) else {
                unreachable!("label {label} is not defined");
            };
            let by = (target as i32 - at as i32) * 4;
            let jumps = self.words[at] & 0x7f == opcode::JAL;
            assert!(
                jumps || (-4096..4096).contains(&by),
                "label {label} is too far for a branch"
            );
            self.words[at] |= if jumps { jump_offset(by) } else { branch_offset(by) };
        }
        self.words.into_iter().flat_map(u32::to_le_bytes).collect()
    }
}
