//! The course of control in a superblock: how far its ops reach, and whether the last leads back to the
//! first.
//!
//! The ops of a superblock are given in the order of execution, each with its *slot*: the number of its first
//! halfword in its page. Slots grow from one op to the next, as only jumps and branches forward are followed,
//! but for short loops inside the superblock: their ops are there once for each turn (`unroll`).
//!
//! The other files of the plan ask [`is_loop`], [`way_out`] and [`op_at`], whose answers are facts: the
//! generator leads jumps to the op that [`op_at`] names. `gather` asks [`next_slot`], whose `taken` is a
//! guess, and a wrong guess costs speed alone.

use super::instruction::{ends, is_branch};
use crate::op::{Code, Op};

/// Slots of a page, one for each halfword.
pub const SLOTS: usize = 2048;
/// Ops of a superblock at most.
pub const OPS_MAX: usize = 128;

/// Does the last op lead back to the first? Then the superblock is a loop, and what the ops do once is a
/// *turn* of it.
pub fn is_loop(ops: &[(usize, Op)]) -> bool {
    let (Some(&(head, _)), Some(&(slot, op))) = (ops.first(), ops.last()) else {
        return false;
    };
    (is_branch(op) || op.code == Code::J) && slot as i64 + i64::from(op.imm) == head as i64
}

/// The slot at which a superblock goes on after an op. A jump forward is followed, and so is a branch
/// forward if its target is `taken` most of the time, as long as the target is a slot of the page. `None`:
/// the superblock ends with this op.
pub fn next_slot(slot: usize, op: Op, taken: impl Fn(usize) -> bool) -> Option<usize> {
    let forward = usize::try_from(op.imm).ok().filter(|&distance| distance > 0);
    let target = forward.map(|distance| slot + distance);
    match op.code {
        Code::J => target,
        _ if ends(op) => None,
        _ => target
            .filter(|&target| is_branch(op) && taken(target))
            .or(Some(slot + op.halves())),
    }
}

/// The number in the superblock of the first op at a slot whose number is not below `first`; `None` if there
/// is none.
pub fn op_at(ops: &[(usize, Op)], first: usize, slot: i64) -> Option<usize> {
    let slot = usize::try_from(slot).ok()?;
    let index = ops.get(first..)?.iter().position(|&(other, _)| other == slot)?;
    Some(first + index)
}

/// The slot to which a branch, the op with this number, leads when control does not go on with the next op of
/// the superblock, and whether that is what the branch does when it is taken. `None` if it is no branch.
pub fn way_out(ops: &[(usize, Op)], index: usize) -> Option<(i64, bool)> {
    let &(slot, op) = ops.get(index).filter(|&&(_, op)| is_branch(op))?;
    let taken = slot as i64 + i64::from(op.imm);
    let after = (slot + op.halves()) as i64;
    let next = ops.get(index + 1).map(|&(next, _)| next as i64);
    let follows = next == Some(taken) && taken != after;
    Some(if follows { (after, false) } else { (taken, true) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(code: Code, imm: i32) -> Op {
        Op::new(code, 0, 10, 11, imm).with_halves(2)
    }

    #[test]
    fn a_superblock_whose_last_op_leads_to_its_first_is_a_loop() {
        let body = (100, op(Code::Nop, 0));
        for code in [Code::Bne, Code::J] {
            assert!(is_loop(&[body, (102, op(code, -2))]));
            assert!(!is_loop(&[body, (102, op(code, -4))]));
        }
        // A call of the head is a recursion.
        assert!(!is_loop(&[body, (102, op(Code::Jal, -2))]));
        assert!(!is_loop(&[]));
    }

    #[test]
    fn jumps_forward_are_followed_and_branches_forward_if_they_are_mostly_taken() {
        let always = |_| true;
        let never = |_| false;
        assert_eq!(next_slot(100, op(Code::J, 20), never), Some(120));
        assert_eq!(next_slot(100, op(Code::Beq, 20), always), Some(120));
        assert_eq!(next_slot(100, op(Code::Beq, 20), never), Some(102));
    }

    #[test]
    fn a_superblock_ends_at_jumps_back_calls_and_returns() {
        let always = |_| true;
        for last in [
            op(Code::J, -20),
            op(Code::Jal, 20),
            op(Code::Jr, 0),
            op(Code::Ecall, 0),
        ] {
            assert_eq!(next_slot(100, last, always), None, "{last:?}");
        }
        // A branch back is not followed: the superblock goes on with what follows the branch.
        assert_eq!(next_slot(100, op(Code::Beq, -20), always), Some(102));
    }

    #[test]
    fn the_way_out_of_a_branch_is_where_the_superblock_does_not_go_on() {
        let ops = |next| [(100, op(Code::Beq, 20)), (next, op(Code::Nop, 0))];
        assert_eq!(way_out(&ops(102), 0), Some((120, true)));
        assert_eq!(way_out(&ops(120), 0), Some((102, false)));
        assert_eq!(way_out(&ops(120)[..1], 0), Some((120, true)));
        assert_eq!(way_out(&ops(102), 1), None);
        assert_eq!(
            way_out(&[(100, op(Code::Beq, 2)), (102, op(Code::Nop, 0))], 0),
            Some((102, true))
        );
    }

    #[test]
    fn an_op_is_found_by_its_slot_among_the_later_ones_only() {
        let ops = [100, 101, 103].map(|slot| (slot, op(Code::Nop, 0)));
        assert_eq!(op_at(&ops, 0, 103), Some(2));
        assert_eq!(op_at(&ops, 1, 100), None);
        assert_eq!(op_at(&ops, 0, 102), None);
        // Of a loop's turns, the next one.
        let turns = [100, 101, 100, 101].map(|slot| (slot, op(Code::Nop, 0)));
        assert_eq!(op_at(&turns, 1, 100), Some(2));
        assert_eq!(op_at(&ops, 0, -1), None);
    }
}
