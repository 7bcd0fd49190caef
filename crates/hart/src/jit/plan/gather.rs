//! Which ops a superblock has: those that are mostly executed after its head, in that order.
//!
//! The interpreter asks [`gather`] (`interp/code.rs`), which hands it the ops of the page and what the
//! directory of translations has counted. Short loops inside the superblock are *unrolled*: their ops are
//! there once for each turn that they would make now. So what a turn finds out, such as a lookup or a value
//! in a vector register, serves the next one and the ops after the loop. The choice is advice: another time
//! the loop may make other turns, and each way out of a turn leads to where the superblock goes on, or out
//! of it.

use super::{
    ahead::Ahead,
    course::{OPS_MAX, is_loop, next_slot},
    instruction::{follows, is_branch},
};
use crate::op::Op;

/// Ops of a superblock at most that are there for the first time. [`OPS_MAX`] counts unrolled turns too.
const DIFFERENT_MAX: usize = 64;

/// The ops from the slot `head` on, each with its slot. `op_of` says which op is at a slot, if there is one;
/// `taken` whether a branch to a slot is mostly taken; `registers` are the integer registers at the head.
pub fn gather(
    head: usize,
    registers: &[u64; 32],
    mut op_of: impl FnMut(usize) -> Option<Op>,
    taken: impl Fn(usize) -> bool,
) -> Vec<(usize, Op)> {
    let mut ops: Vec<(usize, Op)> = Vec::with_capacity(DIFFERENT_MAX);
    let mut ahead = Ahead::new(registers);
    let (mut slot, mut unrolled) = (head, 0);
    while ops.len() < OPS_MAX.min(DIFFERENT_MAX + unrolled)
        && let Some(op) = op_of(slot).filter(|&op| follows(op))
    {
        ops.push((slot, op));
        ahead.execute(op);
        if is_loop(&ops) {
            break;
        }
        if let Some((target, turn)) = next_turn(&ops, &ahead) {
            unrolled += turn;
            slot = target;
            continue;
        }
        let Some(next) = next_slot(slot, op, &taken) else {
            break;
        };
        slot = next;
    }
    ops
}

/// If the last of these ops is a branch back to one of the others, which is taken now, and there is room for
/// one more turn of the loop: the slot to go on at, and how many ops a turn has.
fn next_turn(ops: &[(usize, Op)], ahead: &Ahead) -> Option<(usize, usize)> {
    let &(slot, op) = ops.last().filter(|&&(_, op)| is_branch(op) && op.imm < 0)?;
    let target = slot as i64 + i64::from(op.imm);
    // The turn that ends here, if there are several.
    let begins = ops.iter().rposition(|&(slot, _)| slot as i64 == target)?;
    let turn = ops.len() - begins;
    let fits = ops.len() + turn <= OPS_MAX;
    (fits && ahead.takes(op)?).then_some((target as usize, turn))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Code;

    /// The slots that are gathered from the first op of a page on which these ops are, one halfword each.
    fn gathered(ops: &[Op], registers: &[u64; 32]) -> Vec<usize> {
        let op_of = |slot: usize| Some(ops.get(slot)?.with_halves(1));
        let ops = gather(0, registers, op_of, |_| false);
        ops.iter().map(|&(slot, _)| slot).collect()
    }

    /// A pointer in register 10 goes on by 4.
    const STEP: Op = Op::new(Code::Addi, 10, 10, 0, 4);
    const NOP: Op = Op::new(Code::Nop, 0, 0, 0, 0);
    const END: Op = Op::new(Code::J, 0, 0, 0, -100);

    /// Back by so many halfwords, as long as the pointer has not come to the end, which register 11 holds.
    const fn back(halves: i32) -> Op {
        Op::new(Code::Bne, 0, 10, 11, -halves)
    }

    /// Registers with so many turns to go.
    fn turns(count: u64) -> [u64; 32] {
        let mut registers = [0; 32];
        (registers[10], registers[11]) = (0x1000, 0x1000 + 4 * count);
        registers
    }

    #[test]
    fn the_turns_of_a_short_loop_are_there_one_after_the_other() {
        let ops = [NOP, STEP, back(1), NOP, END];
        assert_eq!(gathered(&ops, &turns(1)), [0, 1, 2, 3, 4]);
        assert_eq!(gathered(&ops, &turns(3)), [0, 1, 2, 1, 2, 1, 2, 3, 4]);
    }

    #[test]
    fn of_a_long_loop_there_are_as_many_turns_as_there_is_room_for() {
        let ops = [NOP, STEP, back(1), END];
        let slots = gathered(&ops, &turns(1000));
        assert!((OPS_MAX - 2..=OPS_MAX).contains(&slots.len()), "{}", slots.len());
        assert_eq!(slots.last(), Some(&3));
        // A turn that is too long is there once.
        let mut ops = vec![NOP, STEP];
        ops.resize(DIFFERENT_MAX - 2, NOP);
        ops.extend([back(DIFFERENT_MAX as i32 - 3), END]);
        assert_eq!(
            gathered(&ops, &turns(1000)).len(),
            DIFFERENT_MAX + DIFFERENT_MAX - 2
        );
    }

    #[test]
    fn a_loop_whose_turns_nobody_can_foresee_is_there_once() {
        let load = Op::new(Code::Ld, 10, 12, 0, 0);
        assert_eq!(gathered(&[NOP, load, back(1), END], &turns(3)), [0, 1, 2, 3]);
    }

    #[test]
    fn a_branch_to_the_head_makes_a_loop_of_the_whole() {
        assert_eq!(gathered(&[STEP, back(1), END], &turns(3)), [0, 1]);
        // Round a shorter loop, of which two turns remain in its first and one in its second turn.
        let outer = Op::new(Code::Beq, 0, 0, 0, -3);
        assert_eq!(
            gathered(&[NOP, STEP, back(1), outer, END], &turns(2)),
            [0, 1, 2, 1, 2, 3]
        );
    }

    #[test]
    fn there_are_never_more_ops_than_a_superblock_may_have() {
        assert_eq!(gathered(&[NOP; 100], &turns(0)).len(), DIFFERENT_MAX);
        let mut ops = vec![NOP, STEP, back(1)];
        ops.resize(100, NOP);
        assert_eq!(gathered(&ops, &turns(5)).len(), DIFFERENT_MAX + 4 * 2);
        assert_eq!(gathered(&ops, &turns(1000)).len(), OPS_MAX);
    }
}
