//! Comparisons that are made quiet: compilers save the floating-point flags before `flt` and `fle`, which
//! raise NV for a quiet NaN where C's operators must not, and restore them afterwards.
//!
//! A comparison of two numbers raises no flag, so the write that follows it changes nothing. `superblock`
//! asks [`restores_flags`], and `generate/csr.rs` then leaves the write out. The answer is a fact: if the
//! write would change a flag, the guest would see whether it was translated.

use super::{
    course::{op_at, way_out},
    csr::{Change, FFLAGS, address, change, is_immediate},
    float::compares,
};
use crate::op::{Code, Op};

/// Does the op with this number write to `fflags` what the op before the last one has read there, and is the
/// op between them a comparison? Then `fflags` is after the three what it was before them, as long as the
/// comparison has raised no flag. No branch of the superblock leads between them.
pub fn restores_flags(ops: &[(usize, Op)], index: usize) -> bool {
    let Some(&[(_, read), (_, compare), (_, write)]) =
        index.checked_sub(2).and_then(|first| ops.get(first..=index))
    else {
        return false;
    };
    let saved = read.rd;
    let is_access = |op: Op| op.code == Code::Csr && address(op) == FFLAGS && !is_immediate(op);
    let reads = is_access(read) && change(read) == Change::Set && read.rs1 == 0 && saved != 0;
    let writes = is_access(write) && change(write) == Change::Write && write.rd == 0;
    let target = |branch| op_at(ops, branch + 1, way_out(ops, branch)?.0);
    let mut targets = (0..index).filter_map(target);
    reads
        && writes
        && write.rs1 == saved
        && compares(compare)
        && compare.rd != saved
        && !targets.any(|target| target + 1 == index || target == index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    const FRFLAGS_A4: u32 = 0x0010_2773;
    const FSFLAGS_A4: u32 = 0x0017_1073;
    const FLT_D_A5: u32 = 0xa2b5_17d3;
    const FADD_D: u32 = 0x02b5_77d3;

    fn restores(words: &[u32]) -> bool {
        let ops: Vec<_> = (0..)
            .step_by(2)
            .zip(words.iter().map(|&word| decode(word)))
            .collect();
        restores_flags(&ops, ops.len() - 1)
    }

    #[test]
    fn flags_that_are_saved_and_restored_around_a_comparison_stay() {
        assert!(restores(&[FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4]));
        assert!(restores(&[FADD_D, FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4]));
    }

    #[test]
    fn nothing_else_restores_them() {
        // Arithmetic raises flags, and so may what comes before.
        assert!(!restores(&[FRFLAGS_A4, FADD_D, FSFLAGS_A4]));
        assert!(!restores(&[FLT_D_A5, FSFLAGS_A4]));
        assert!(!restores(&[FRFLAGS_A4, FLT_D_A5, FLT_D_A5, FSFLAGS_A4]));
        // Other registers: what is written, what the comparison overwrites, what the write reads.
        let rd = |word: u32, register: u32| word & !(31 << 7) | register << 7;
        assert!(!restores(&[rd(FRFLAGS_A4, 13), FLT_D_A5, FSFLAGS_A4]));
        assert!(!restores(&[FRFLAGS_A4, rd(FLT_D_A5, 14), FSFLAGS_A4]));
        assert!(!restores(&[FRFLAGS_A4, FLT_D_A5, rd(FSFLAGS_A4, 13)]));
        // `csrrs` and `csrrc` in place of a write, and other CSRs.
        assert!(!restores(&[FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4 + 0x1000]));
        assert!(!restores(&[FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4 + 0x2000]));
        assert!(!restores(&[FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4 + (2 << 20)]));
        assert!(!restores(&[FRFLAGS_A4 + (2 << 20), FLT_D_A5, FSFLAGS_A4]));
        // The numbers 14 and 0 in place of registers.
        assert!(!restores(&[FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4 + 0x4000]));
    }

    #[test]
    fn no_branch_leads_between_them() {
        // `beqz a0` over so many bytes.
        let branch = |bytes: u32| 0x0005_0063 | (bytes >> 1 & 15) << 8;
        assert!(restores(&[branch(4), FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4]));
        assert!(!restores(&[branch(8), FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4]));
        assert!(!restores(&[branch(12), FRFLAGS_A4, FLT_D_A5, FSFLAGS_A4]));
    }
}
