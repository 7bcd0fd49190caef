//! 32-bit results, whose sign extension is put off until somebody wants it.
//!
//! Half of what a 64-bit program computes with `int` is read by 32-bit instructions alone, which do not look at the upper half, and is then
//! overwritten. So a result that is a sign-extended word stays as the host's processor leaves it, *lazy*, in its host register: until
//! something reads all of it, or control leaves the superblock. The ways out extend it, most of which are never gone. A register that has no host register
//! is never lazy.
//!
//! Of two values that are sign-extended words, comparisons say the same as of their lower halves, and so do AND, OR and XOR.

use super::{access::writes, emit::*, registers::reads, translate::Block};
use crate::op::{Code, Op};

/// Ops of a turn for each register that is lazy at its end, if a loop is to be there twice only for their sake: what takes longer gains
/// too little for the time to translate it.
const OPS_PER_LAZY: usize = 8;

/// Guest registers, a bit for each.
pub type Set = u32;

/// That of one register.
pub fn bit(register: u8) -> Set {
    1 << (register & 31)
}

/// What is known of the guest's registers at some place in the code.
#[derive(Clone, Copy, Default)]
pub struct Words {
    /// Whose values are sign-extended words.
    pub known: Set,
    /// Those of them whose host register has the lower half, and anything above it.
    pub lazy: Set,
}

impl Words {
    /// What is known if these are lazy, and nothing else.
    pub fn only(lazy: Set) -> Words {
        Words { known: lazy, lazy }
    }

    fn are(self, op: Op) -> bool {
        let is = |register: u8| register == 0 || self.known & bit(register) != 0;
        is(op.rs1) && (!op.has_rs2() || is(op.rs2))
    }
}

/// Which of an op's operands it reads the lower halves of, and nothing else, if they are `words`.
fn reads_low(op: Op, words: bool) -> Set {
    use Code::*;
    match op.code {
        Addw | Subw | Mulw | Sllw | Srlw | Sraw | Divw | Divuw | Remw | Remuw | Rolw | Rorw => {
            bit(op.rs1) | bit(op.rs2)
        }
        Addiw | Slliw | Srliw | Sraiw | Roriw | SlliUw | Clzw | Ctzw | Cpopw | SextB | SextH | ZextH => {
            bit(op.rs1)
        }
        AddUw | Sh1addUw | Sh2addUw | Sh3addUw if op.rs1 != op.rs2 => bit(op.rs1),
        Sb | Sh | Sw if op.rs1 != op.rs2 => bit(op.rs2),
        Sll | Srl | Sra if op.rs1 != op.rs2 => bit(op.rs2),
        And | Or | Xor | Slt | Sltu | Beq | Bne | Blt | Bge | Bltu | Bgeu if words => {
            bit(op.rs1) | bit(op.rs2)
        }
        Andi | Ori | Xori | Slti | Sltiu if words => bit(op.rs1),
        Slli if op.imm & 63 >= 32 => bit(op.rs1),
        _ => 0,
    }
}

/// Is the result of a native op a sign-extended word, for certain, if its operands are `words`?
fn makes_word(op: Op, words: bool) -> bool {
    use Code::*;
    match op.code {
        Lb | Lh | Lw | Lbu | Lhu | LrW | AmoW | ScW | ScD | Li | Slt | Sltu | Slti | Sltiu => true,
        Addw | Subw | Mulw | Sllw | Srlw | Sraw | Divw | Divuw | Remw | Remuw | Rolw | Rorw => true,
        Addiw | Slliw | Srliw | Sraiw | Roriw | SextB | SextH | ZextH | Bext | Bexti => true,
        Clz | Ctz | Cpop | Clzw | Ctzw | Cpopw => true,
        Andi => op.imm >= 0 || words,
        Srli => op.imm & 63 > 32,
        Srai => op.imm & 63 >= 32 || words,
        Mv | Ori | Xori | And | Or | Xor | Min | Max | Minu | Maxu => words,
        _ => false,
    }
}

impl Block<'_> {
    /// Before a native op: what it reads all of is extended, and what is lazy still is so if the op has to be done otherwise. Are its
    /// operands words?
    pub(super) fn before(&mut self, o: Op) -> bool {
        let words = self.words.are(o);
        let read = reads(o)
            .into_iter()
            .flatten()
            .fold(0, |set, register| set | bit(register));
        self.settle(read & !reads_low(o, words));
        self.exposed = self.words.lazy;
        words
    }

    /// Behind a native op whose operands were `words`, or not.
    pub(super) fn behind(&mut self, o: Op, words: bool) {
        if let Some(register @ 1..32) = writes(o)
            && makes_word(o, words)
        {
            self.words.known |= bit(register);
        }
    }

    pub(super) fn are_words(&self, o: Op) -> bool {
        self.words.are(o)
    }

    /// The size of an operation that on words is the same as on their lower halves.
    pub(super) fn size_of(&self, o: Op) -> Size {
        if self.words.are(o) {
            Size::Double
        } else {
            Size::Quad
        }
    }

    /// Is one of the operands lazy?
    pub(super) fn is_lazy(&self, o: Op) -> bool {
        self.words.lazy & (bit(o.rs1) | if o.has_rs2() { bit(o.rs2) } else { 0 }) != 0
    }

    /// Extends those of these that are lazy. The flags stay as they are.
    pub(super) fn settle(&mut self, registers: Set) {
        let lazy = self.words.lazy & registers;
        for (guest, host) in self.map {
            if lazy & bit(guest) != 0 {
                self.e.load(Extend::WordSigned, host, Operand::Register(host));
            }
        }
        self.words.lazy &= !lazy;
    }

    /// Defines a 32-bit result.
    pub(super) fn define_word(&mut self, guest: u8, host: Register) {
        if self.pinned(guest).is_some() {
            self.define(guest, host);
            self.words.lazy |= bit(guest);
        } else {
            self.e.load(Extend::WordSigned, RAX, Operand::Register(host));
            self.define(guest, RAX);
        }
        self.words.known |= bit(guest);
    }

    /// A jump to the head follows: to that of the slow turns, where nothing is lazy, or of the fast ones. Does it lead on from a first turn
    /// to others that are there only for what is lazy?
    pub(super) fn settle_for_head(&mut self) -> bool {
        let mut leads_on = false;
        if !self.fast {
            self.carried = self.words;
            let worth = self.words.lazy.count_ones() as usize * OPS_PER_LAZY >= self.ops.len();
            leads_on = self.streams.is_empty() && self.words.lazy != 0 && worth;
        }
        self.settle(match self.fast || leads_on {
            true => !self.carried.lazy,
            false => Set::MAX,
        });
        leads_on
    }
}
