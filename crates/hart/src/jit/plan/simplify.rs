//! Shorter ways to compute the same: some ops of a superblock are replaced, one for one, so that steps are
//! counted as before.
//!
//! A rotation without Zbb is two shifts and an `or`, which becomes one rotation. An extension, also one that
//! scales an index, is a shift to the left and one to the right, the second of which becomes `zext.h`,
//! `slli.uw` and the like. The shifts before are left out if nobody can see what they computed: if nothing
//! reads it, and nothing in between leaves the superblock or is jumped to.
//!
//! `superblock` has the ops of each plan replaced before anything else looks at them. The new ops must leave
//! the same registers wherever control can leave the superblock, and never another number of ops or another
//! length: a mistake here makes the guest compute something else.

use std::borrow::Cow;

use super::{
    course::{op_at, way_out},
    instruction::{reads, writes},
};
use crate::op::{Code, Op};

/// The ops to translate instead of these: as many, with the same lengths.
pub fn simplify(ops: &[(usize, Op)]) -> Cow<'_, [(usize, Op)]> {
    let mut ops = Cow::Borrowed(ops);
    let has = |is: fn(Op) -> bool| ops.iter().any(|&(_, op)| is(op));
    let rotates = has(|op| op.code == Code::Or) && has(is_shift);
    let extends = has(|op| op.code == Code::Slli) && has(|op| matches!(op.code, Code::Srli | Code::Srai));
    if rotates || extends {
        let joins = joins(&ops);
        for index in 0..ops.len() {
            rotate(&mut ops, &joins, index);
            extend(&mut ops, &joins, index);
        }
    }
    ops
}

/// For each op, whether a branch of the superblock may lead to it.
fn joins(ops: &[(usize, Op)]) -> Vec<bool> {
    let mut joins = vec![false; ops.len()];
    for index in 0..ops.len() {
        if let Some((slot, _)) = way_out(ops, index)
            && let Some(to) = op_at(ops, index + 1, slot)
        {
            joins[to] = true;
        }
    }
    joins
}

/// If the op at `index` is the `or` that completes a rotation, it becomes the rotation.
fn rotate(ops: &mut Cow<'_, [(usize, Op)]>, joins: &[bool], index: usize) {
    let (_, or) = ops[index];
    if or.code != Code::Or || or.rs1 == or.rs2 {
        return;
    }
    let made = |register| made(ops, joins, index, register);
    let (Some(one), Some(other)) = (made(or.rs1), made(or.rs2)) else {
        return;
    };
    let (code, bits) = match (ops[one].1.code, ops[other].1.code) {
        (Code::Slliw, Code::Srliw) | (Code::Srliw, Code::Slliw) => (Code::Roriw, 32),
        (Code::Slli, Code::Srli) | (Code::Srli, Code::Slli) => (Code::Rori, 64),
        _ => return,
    };
    let [(_, a), (_, b)] = [ops[one], ops[other]];
    let from = a.rs1;
    let first = one.min(other);
    let kept = ops[first..index].iter().all(|&(_, op)| writes(op) != Some(from));
    if from != b.rs1 || a.imm == 0 || a.imm + b.imm != bits || !kept {
        return;
    }
    let right = if matches!(a.code, Code::Srliw | Code::Srli) {
        a
    } else {
        b
    };
    let rotation = Op::new(code, or.rd.into(), from.into(), 0, right.imm);
    let ops = ops.to_mut();
    ops[index].1 = rotation.with_halves(or.halves() as u8);
    for shift in [one, other] {
        if is_unseen(ops, joins, shift) {
            leave_out(ops, shift);
        }
    }
}

/// If the op at `index` is the second shift of an extension, it becomes the extension.
fn extend(ops: &mut Cow<'_, [(usize, Op)]>, joins: &[bool], index: usize) {
    let (_, second) = ops[index];
    if !matches!(second.code, Code::Srli | Code::Srai) {
        return;
    }
    let Some(first) = made(ops, joins, index, second.rs1) else {
        return;
    };
    let (_, left) = ops[first];
    let (code, by) = match (left.code, left.imm, second.code, second.imm) {
        // `add.uw` with x0, which is `zext.w`.
        (Code::Slli, 32, Code::Srli, 32) => (Code::AddUw, 0),
        (Code::Slli, 32, Code::Srli, 0..32) => (Code::SlliUw, 32 - second.imm),
        (Code::Slli, 48, Code::Srli, 48) => (Code::ZextH, 0),
        (Code::Slli, 48, Code::Srai, 48) => (Code::SextH, 0),
        (Code::Slli, 56, Code::Srai, 56) => (Code::SextB, 0),
        _ => return,
    };
    let from = left.rs1;
    let kept = ops[first..index].iter().all(|&(_, op)| writes(op) != Some(from));
    // The two shifts are neighbours and write the register that they read: nobody else sees what the first
    // computes.
    let alone = first + 1 == index && left.rd == from && second.rd == from;
    if !kept && !alone {
        return;
    }
    let whole = Op::new(code, second.rd.into(), from.into(), 0, by);
    let ops = ops.to_mut();
    ops[index].1 = whole.with_halves(second.halves() as u8);
    if alone || is_unseen(ops, joins, first) {
        leave_out(ops, first);
    }
}

/// The op at `index` becomes one that does nothing.
fn leave_out(ops: &mut [(usize, Op)], index: usize) {
    let halves = ops[index].1.halves() as u8;
    ops[index].1 = Op::new(Code::Nop, 0, 0, 0, 0).with_halves(halves);
}

/// The shift by a constant that computed the value of a register before the op at `index`, as a number in the
/// superblock; `None` if it may have been something else.
fn made(ops: &[(usize, Op)], joins: &[bool], index: usize, register: u8) -> Option<usize> {
    for at in (0..index).rev() {
        let (_, op) = ops[at];
        if joins[at + 1] || !is_quiet(op) {
            return None;
        }
        if writes(op) == Some(register) {
            return is_shift(op).then_some(at);
        }
    }
    None
}

/// Is the result of the op at `index` overwritten before anything can read it?
fn is_unseen(ops: &[(usize, Op)], joins: &[bool], index: usize) -> bool {
    let register = writes(ops[index].1);
    for at in index + 1..ops.len() {
        let (_, op) = ops[at];
        if joins[at] || !is_quiet(op) || reads(op).contains(&register) {
            return false;
        }
        if writes(op) == register {
            return true;
        }
    }
    false
}

/// Is this op a shift by a constant?
fn is_shift(op: Op) -> bool {
    matches!(op.code, Code::Slliw | Code::Srliw | Code::Slli | Code::Srli)
}

/// Does an op only compute an integer register, so that control goes on with the next op for certain?
fn is_quiet(op: Op) -> bool {
    use Code::*;
    is_shift(op)
        || matches!(
            op.code,
            Li | Mv
                | Nop
                | Addi
                | Addiw
                | Xori
                | Ori
                | Andi
                | Slti
                | Sltiu
                | Srai
                | Sraiw
                | Add
                | Sub
                | Addw
                | Subw
                | Xor
                | Or
                | And
                | Slt
                | Sltu
                | Sll
                | Srl
                | Sra
                | Sllw
                | Srlw
                | Sraw
                | Mul
                | Mulw
                | SlliUw
                | AddUw
                | ZextH
                | SextH
                | SextB
                | Rori
                | Roriw
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of these ops, by their codes.
    fn simplified(ops: &[Op]) -> Vec<Code> {
        let ops = ops.iter().map(|op| op.with_halves(2)).enumerate();
        let ops: Vec<_> = ops.map(|(index, op)| (2 * index, op)).collect();
        simplify(&ops).iter().map(|&(_, op)| op.code).collect()
    }

    fn shift(code: Code, to: u32, from: u32, count: i32) -> Op {
        Op::new(code, to, from, 0, count)
    }

    const OR: Op = Op::new(Code::Or, 10, 10, 12, 0);

    #[test]
    fn two_shifts_and_an_or_become_a_rotation_and_what_nobody_sees_is_left_out() {
        let left = shift(Code::Slli, 12, 11, 8);
        let right = shift(Code::Srli, 10, 11, 56);
        // The `or` overwrites one of the shifts' results; the other one may be read later.
        assert_eq!(
            simplified(&[left, right, OR]),
            [Code::Slli, Code::Nop, Code::Rori]
        );
        let overwritten = Op::new(Code::Li, 12, 0, 0, 1);
        assert_eq!(
            simplified(&[left, right, OR, overwritten]),
            [Code::Nop, Code::Nop, Code::Rori, Code::Li]
        );
    }

    #[test]
    fn shifts_that_do_not_add_up_to_the_width_are_no_rotation() {
        let ops = [shift(Code::Slli, 12, 11, 8), shift(Code::Srli, 10, 11, 55), OR];
        assert_eq!(simplified(&ops), ops.map(|op| op.code));
    }

    #[test]
    fn a_shift_to_the_left_and_one_to_the_right_become_an_extension() {
        let ops = [shift(Code::Slli, 10, 10, 48), shift(Code::Srai, 10, 10, 48)];
        assert_eq!(simplified(&ops), [Code::Nop, Code::SextH]);
        let ops = [shift(Code::Slli, 10, 10, 32), shift(Code::Srli, 10, 10, 29)];
        assert_eq!(simplified(&ops), [Code::Nop, Code::SlliUw]);
    }

    #[test]
    fn what_a_branch_may_jump_into_stays_as_it_is() {
        let skip = Op::new(Code::Beq, 0, 13, 14, 4);
        let ops = [skip, shift(Code::Slli, 10, 10, 48), shift(Code::Srai, 10, 10, 48)];
        assert_eq!(simplified(&ops), ops.map(|op| op.code));
    }
}
