//! What integer registers will hold further on in a superblock, as far as its ops compute that from what they
//! hold now: how the turns of a short loop are counted before it is entered.
//!
//! `gather` asks. All of this is advice: it is computed once, when the superblock is made, and another time
//! the loop may make more turns or fewer.

use super::instruction::{native, writes};
use crate::op::{Code, Op};

/// The values of integer registers at some place in a superblock; `None`: not known.
pub struct Ahead([Option<u64>; 32]);

impl Ahead {
    /// The registers hold these values.
    pub fn new(registers: &[u64; 32]) -> Ahead {
        Ahead(registers.map(Some))
    }

    /// An op is executed. Only what counts and moves pointers is computed.
    pub fn execute(&mut self, op: Op) {
        if !native(op) {
            // Nothing is known of what the interpreter does, and what it does takes long: a system call.
            self.0 = [None; 32];
        }
        let Some(to) = writes(op).filter(|&to| usize::from(to) < self.0.len()) else {
            return;
        };
        let (first, second, imm) = (self.value(op.rs1), self.value(op.rs2), op.imm);
        let added = |value: u64| value.wrapping_add_signed(i64::from(imm));
        let both = first.zip(second);
        self.0[usize::from(to)] = match op.code {
            Code::Li => Some(i64::from(imm) as u64),
            Code::Mv => first,
            Code::Addi => first.map(added),
            Code::Addiw => first.map(|value| added(value) as i32 as u64),
            Code::Slli => first.map(|value| value << (imm & 63)),
            Code::Add => both.map(|(first, second)| first.wrapping_add(second)),
            Code::Sub => both.map(|(first, second)| first.wrapping_sub(second)),
            Code::Addw => both.map(|(first, second)| first.wrapping_add(second) as i32 as u64),
            Code::Subw => both.map(|(first, second)| first.wrapping_sub(second) as i32 as u64),
            _ => None,
        };
    }

    /// Is a branch taken? `None`: it depends on what is not known, or the op is no branch.
    pub fn takes(&self, op: Op) -> Option<bool> {
        let (first, second) = self.value(op.rs1).zip(self.value(op.rs2))?;
        Some(match op.code {
            Code::Beq => first == second,
            Code::Bne => first != second,
            Code::Blt => (first as i64) < second as i64,
            Code::Bge => first as i64 >= second as i64,
            Code::Bltu => first < second,
            Code::Bgeu => first >= second,
            _ => return None,
        })
    }

    fn value(&self, register: u8) -> Option<u64> {
        if register == 0 {
            return Some(0);
        }
        *self.0.get(usize::from(register))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead() -> Ahead {
        let mut registers = [0; 32];
        (registers[10], registers[11]) = (0x1000, 0x1010);
        Ahead::new(&registers)
    }

    #[test]
    fn the_turns_of_a_loop_that_counts_are_foreseen() {
        let mut ahead = ahead();
        let add = Op::new(Code::Addi, 10, 10, 0, 8);
        let branch = Op::new(Code::Bne, 0, 10, 11, -2);
        let taken = [(); 2].map(|()| {
            ahead.execute(add);
            ahead.takes(branch)
        });
        assert_eq!(taken, [Some(true), Some(false)]);
    }

    #[test]
    fn what_comes_from_memory_is_not_known() {
        let mut ahead = ahead();
        let branch = Op::new(Code::Beq, 0, 12, 0, -2);
        assert_eq!(ahead.takes(branch), Some(true));
        ahead.execute(Op::new(Code::Ld, 12, 10, 0, 0));
        assert_eq!(ahead.takes(branch), None);
        ahead.execute(Op::new(Code::Add, 12, 12, 10, 0));
        assert_eq!(ahead.takes(branch), None);
        ahead.execute(Op::new(Code::Mv, 12, 0, 0, 0));
        assert_eq!(ahead.takes(branch), Some(true));
        ahead.execute(Op::new(Code::Wfi, 0, 0, 0, 0));
        assert_eq!(ahead.takes(branch), None);
    }

    #[test]
    fn words_are_extended_and_comparisons_have_signs() {
        let mut ahead = ahead();
        ahead.execute(Op::new(Code::Li, 5, 0, 0, 1));
        ahead.execute(Op::new(Code::Slli, 5, 5, 0, 31));
        ahead.execute(Op::new(Code::Addiw, 5, 5, 0, 0));
        let compare = |code| ahead.takes(Op::new(code, 0, 5, 10, -2));
        assert_eq!(compare(Code::Blt), Some(true));
        assert_eq!(compare(Code::Bltu), Some(false));
        assert_eq!(compare(Code::Bge), Some(false));
        assert_eq!(compare(Code::Bgeu), Some(true));
        assert_eq!(compare(Code::Add), None);
    }
}
