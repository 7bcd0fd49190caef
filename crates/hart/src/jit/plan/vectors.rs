//! Which floating-point registers of the guest live in the host's vector registers while a superblock runs.
//!
//! Between superblocks all of them live in memory. Inside one, each that its ops use has a vector register of
//! the host, as long as there are enough; those that are used least go without. A value is loaded when it is
//! used first and stored where control leaves (`generate/vectors.rs`).
//!
//! `superblock` asks [`Vectors::of`]. Any choice gives right code if no vector register has two registers of
//! the guest; a bad choice costs speed.

use super::float::registers;
use crate::op::Op;

/// Vector registers of the host that hold floating-point registers of the guest.
pub const VECTORS: usize = 13;

/// The number of the vector register, below [`VECTORS`], of each floating-point register that has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vectors([Option<u8>; 32]);

impl Vectors {
    /// The vector registers for these ops.
    pub fn of(ops: &[(usize, Op)]) -> Vectors {
        let mut uses = [0; 32];
        for register in ops.iter().flat_map(|&(_, op)| registers(op)).flatten() {
            uses[usize::from(register & 31)] += 1;
        }
        let mut used: Vec<usize> = (0..32).filter(|&register| uses[register] > 0).collect();
        used.sort_by_key(|&register| std::cmp::Reverse(uses[register]));
        let mut vectors = Vectors::default();
        for (number, &register) in (0..VECTORS as u8).zip(&used) {
            vectors.0[register] = Some(number);
        }
        vectors
    }

    /// The number of the vector register that a floating-point register has; `None` if it lives in memory.
    pub fn number(&self, register: u8) -> Option<u8> {
        self.0[usize::from(register & 31)]
    }

    /// Has no floating-point register a vector register, as none is used?
    pub fn are_none(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Code;

    fn loads(registers: impl IntoIterator<Item = u32>) -> Vec<(usize, Op)> {
        let ops = registers.into_iter().enumerate();
        ops.map(|(index, register)| (2 * index, Op::new(Code::Fld, register, 10, 0, 0).with_halves(2)))
            .collect()
    }

    #[test]
    fn each_register_that_is_used_has_a_vector_of_its_own() {
        let vectors = Vectors::of(&loads([3, 31, 0, 3]));
        let mut numbers = [0, 3, 31].map(|register| vectors.number(register).unwrap());
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(vectors.number(1), None);
    }

    #[test]
    fn where_there_are_too_few_those_that_are_used_least_live_in_memory() {
        let vectors = Vectors::of(&loads((0..32).chain(20..32)));
        let has = |register: &u8| vectors.number(*register).is_some();
        assert_eq!((0..32).filter(has).count(), VECTORS);
        assert!((20..32).all(|register| has(&register)));
    }

    #[test]
    fn integers_need_none() {
        let ops = [(0, Op::new(Code::Ld, 10, 11, 0, 0).with_halves(2))];
        assert!(Vectors::of(&ops).are_none());
        assert!(!Vectors::of(&loads([4])).are_none());
    }
}
