//! The course of control in a superblock: how far its ops reach, and whether the last leads back to the
//! first.
//!
//! The ops of a superblock are given in the order of execution, each with its *slot*: the number of its first
//! halfword in its page. Slots only grow from one op to the next, as only jumps and branches forward are
//! followed.
//!
//! The interpreter asks [`next_slot`] and [`is_loop`] when it gathers a superblock (`interp/code.rs`), the
//! other files of the plan ask [`is_loop`] and [`op_at`]. All three answers are facts: the generator leads
//! jumps to the op that [`op_at`] names. Only `taken` in [`next_slot`] is a guess, and a wrong guess costs
//! speed alone.

use super::instruction::{ends, is_branch};
use crate::op::{Code, Op};

/// Slots of a page, one for each halfword.
pub const SLOTS: usize = 2048;
/// Ops of a superblock at most.
pub const OPS_MAX: usize = 64;

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

/// The number in the superblock of the op at a slot; `None` if there is no op at the slot, or if the op's
/// number is below `first`.
pub fn op_at(ops: &[(usize, Op)], first: usize, slot: i64) -> Option<usize> {
    let slot = usize::try_from(slot).ok()?;
    let rest = ops.get(first..)?;
    let index = rest.binary_search_by_key(&slot, |&(slot, _)| slot).ok()?;
    Some(first + index)
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
    fn an_op_is_found_by_its_slot_among_the_later_ones_only() {
        let ops = [100, 101, 103].map(|slot| (slot, op(Code::Nop, 0)));
        assert_eq!(op_at(&ops, 0, 103), Some(2));
        assert_eq!(op_at(&ops, 1, 100), None);
        assert_eq!(op_at(&ops, 0, 102), None);
        assert_eq!(op_at(&ops, 0, -1), None);
    }
}
