//! Sign-extended words: which ops make them, and which ops look at nothing but their lower halves.
//!
//! Half of what a 64-bit program computes with `int` is read by 32-bit instructions alone, which do not look
//! at the upper half, and is then overwritten. So a result that is a sign-extended word stays in its host
//! register as the host's processor leaves it, *lazy*: its upper half holds anything. It is extended when
//! something reads all of it, or when control leaves the superblock; most ways out are never taken. A
//! register that lives in memory is never lazy. Of two values that are sign-extended words, comparisons say
//! the same as of their lower halves, and so do AND, OR and XOR (docs/decisions/0046).
//!
//! The generator carries a [`Words`] along while it makes code, and asks here, op by op, what must be
//! extended before the op and what is a word after it (`generate/registers.rs`). Every answer is a fact: to
//! claim a word that is none, or a read of the lower half that is one of all, makes the guest compute
//! something else.

use super::instruction::{reads, writes};
use crate::op::{Code, Op};

/// A set of guest registers, a bit for each.
pub type Set = u32;

/// The set of one register.
pub fn bit(register: u8) -> Set {
    1 << (register & 31)
}

/// What is known of the guest's registers at some place in a superblock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The registers whose values are sign-extended words for certain.
    pub known: Set,
    /// Those of `known` whose host registers hold the lower half, and anything above it.
    pub lazy: Set,
}

impl Words {
    /// Knows that these are lazy, and nothing else.
    pub fn only(lazy: Set) -> Words {
        Words { known: lazy, lazy }
    }

    /// Are the operands of an op sign-extended words? x0 is one.
    pub fn are(self, op: Op) -> bool {
        let is = |register: u8| register == 0 || self.known & bit(register) != 0;
        is(op.rs1) && (!op.has_rs2() || is(op.rs2))
    }

    /// Is one of the operands of an op lazy?
    pub fn is_lazy(self, op: Op) -> bool {
        self.lazy & (bit(op.rs1) | if op.has_rs2() { bit(op.rs2) } else { 0 }) != 0
    }

    /// The registers that a native op reads all of, so that they must not be lazy.
    pub fn read_whole(self, op: Op) -> Set {
        let read = reads(op).into_iter().flatten();
        read.fold(0, |set, register| set | bit(register)) & !reads_low(op, self.are(op))
    }

    /// The register holds another value now, of which nothing is known.
    pub fn forget(&mut self, register: u8) {
        self.known &= !bit(register);
        self.lazy &= !bit(register);
    }
}

/// The registers of whose values an op reads the lower halves and nothing else, if its operands are `words`,
/// or not.
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

/// The register whose value is a sign-extended word for certain after a native op whose operands were
/// `words`, or not.
pub fn makes_word(op: Op, words: bool) -> Option<u8> {
    writes(op).filter(|register| (1..32).contains(register) && is_word(op, words))
}

/// Is the result of a native op a sign-extended word for certain, if its operands are `words`, or not?
fn is_word(op: Op, words: bool) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: Code, to: u32, one: u32, other: u32) -> Op {
        Op::new(code, to, one, other, 0).with_halves(2)
    }

    #[test]
    fn a_32_bit_sum_of_anything_is_a_word_and_reads_lower_halves_only() {
        let add = op(Code::Addw, 10, 11, 12);
        assert_eq!(makes_word(add, false), Some(10));
        assert_eq!(Words::default().read_whole(add), 0);
    }

    #[test]
    fn a_64_bit_sum_reads_all_of_its_operands() {
        let add = op(Code::Add, 10, 11, 12);
        assert_eq!(makes_word(add, true), None);
        assert_eq!(Words::only(bit(11) | bit(12)).read_whole(add), bit(11) | bit(12));
    }

    #[test]
    fn words_are_compared_by_their_lower_halves_but_not_with_what_may_be_none() {
        let compare = op(Code::Blt, 0, 11, 12);
        assert_eq!(Words::only(bit(11) | bit(12)).read_whole(compare), 0);
        assert_eq!(Words::only(bit(11)).read_whole(compare), bit(11) | bit(12));
        // x0 is a word.
        assert_eq!(Words::only(bit(11)).read_whole(op(Code::Blt, 0, 11, 0)), 0);
    }

    #[test]
    fn a_store_reads_all_of_its_address_and_half_of_its_value() {
        assert_eq!(Words::default().read_whole(op(Code::Sw, 0, 11, 12)), bit(11));
        assert_eq!(Words::default().read_whole(op(Code::Sw, 0, 11, 11)), bit(11));
    }
}
