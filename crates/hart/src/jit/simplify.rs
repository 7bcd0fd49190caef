//! Shorter ways to compute the same: a superblock's ops, some of them replaced, one for one, so that steps are counted as
//! before.
//!
//! A rotation without Zbb is two shifts and an `or`; it becomes one rotation. An extension, also one that is scaled as an index, is a
//! shift to the left and one to the right; it becomes `zext.h`, `slli.uw` and the like. The shifts before are left out if nobody can
//! see what they computed: nothing reads it, and nothing in between leaves the superblock or is jumped to.

use std::borrow::Cow;

use super::{
    access::{is_branch, writes},
    registers::reads,
};
use crate::op::{Code, Op};

/// The ops to translate instead of these.
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

/// The ops that branches of the superblock may lead to.
fn joins(ops: &[(usize, Op)]) -> Vec<bool> {
    let mut joins = vec![false; ops.len()];
    for &(slot, op) in ops.iter().filter(|&&(_, op)| is_branch(op)) {
        let target = slot as i64 + i64::from(op.imm);
        if let Ok(index) = ops.binary_search_by_key(&target, |&(slot, _)| slot as i64) {
            joins[index] = true;
        }
    }
    joins
}

/// If the op at `index` completes a rotation, it becomes one.
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

/// If the op at `index` is the second half of an extension, it becomes the whole of it.
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
        // With no register to add, `zext.w`.
        (Code::Slli, 32, Code::Srli, 32) => (Code::AddUw, 0),
        (Code::Slli, 32, Code::Srli, 0..32) => (Code::SlliUw, 32 - second.imm),
        (Code::Slli, 48, Code::Srli, 48) => (Code::ZextH, 0),
        (Code::Slli, 48, Code::Srai, 48) => (Code::SextH, 0),
        (Code::Slli, 56, Code::Srai, 56) => (Code::SextB, 0),
        _ => return,
    };
    let from = left.rs1;
    let kept = ops[first..index].iter().all(|&(_, op)| writes(op) != Some(from));
    // Neighbours that both write the register they read: nobody else sees the first.
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

/// The op at `index` becomes nothing.
fn leave_out(ops: &mut [(usize, Op)], index: usize) {
    let halves = ops[index].1.halves() as u8;
    ops[index].1 = Op::new(Code::Nop, 0, 0, 0, 0).with_halves(halves);
}
/// The shift by a constant that made the value that a register has before the op at `index`, if it is certain that it did.
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

/// Does nobody see what the op at `index` computes?
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

fn is_shift(op: Op) -> bool {
    matches!(op.code, Code::Slliw | Code::Srliw | Code::Slli | Code::Srli)
}

/// Does it only compute an integer register, so that control goes on behind it for certain?
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
