//! The [`Plan`] of one superblock: what all other files of this room find out about its ops, in one place.
//!
//! `generate/translate.rs` makes a plan of each superblock before any code, and all of `generate` asks it;
//! the generator asks other files of this room only about a single op. What is known of sign-extended words
//! changes from op to op, so the generator carries it itself ([`Words`]) and the plan has no part of it.
//!
//! A plan must hold for every state in which the guest may enter the superblock: of the present state it
//! knows the stack pointer alone, as advice.

use std::borrow::Cow;

use super::{
    course::{is_loop, op_at, way_out},
    instruction::ends,
    quiet,
    seats::{Seats, seats},
    sharing::{self, Group, chain},
    simplify::simplify,
    streams::{Stream, streams},
    vectors::Vectors,
    words::Words,
};
use crate::op::Op;

/// How many ops a turn of a loop may have for each register that is lazy at the turn's end, if the loop is to
/// be in the code twice for these registers' sake. A longer turn gains too little for the time that it takes
/// to translate it twice.
pub const OPS_PER_LAZY: usize = 8;

/// Where control goes after the last op of a superblock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// Elsewhere: the ops are executed once each time the superblock is entered.
    Onward,
    /// Back to the first op, always or on a condition: the ops are executed in turns.
    Loop {
        /// The register through which the loop follows a chain of pointers, if it does.
        chain: Option<u8>,
        /// The memory that the loop walks through; often empty.
        streams: Vec<Stream>,
    },
}

impl Course {
    fn of(ops: &[(usize, Op)]) -> Course {
        if !is_loop(ops) {
            return Course::Onward;
        }
        Course::Loop {
            chain: chain(ops),
            streams: streams(ops),
        }
    }
}

/// What is known of a superblock before any code is made. It has at least one op.
pub struct Plan<'a> {
    /// The ops to translate, in the order of execution, each with its slot. There are as many as the guest
    /// executes, and each counts one step, but some were replaced by shorter ones that compute the same.
    pub ops: Cow<'a, [(usize, Op)]>,
    /// The guest registers that live in host registers.
    pub seats: Seats,
    /// The floating-point registers that live in vector registers of the host.
    pub vectors: Vectors,
    /// Where control goes after the last op.
    pub course: Course,
    /// The stack pointer when the superblock is made. It may be another one when it is entered, so this is
    /// advice only.
    sp: u64,
}

impl<'a> Plan<'a> {
    /// Plans a superblock of these ops, each with its slot, in the order of execution. Only the last op may
    /// end the superblock or lead back to the first.
    pub fn new(ops: &'a [(usize, Op)], sp: u64) -> Plan<'a> {
        let ops = simplify(ops);
        Plan {
            seats: seats(&ops),
            vectors: Vectors::of(&ops),
            course: Course::of(&ops),
            sp,
            ops,
        }
    }

    /// The slot of the first op, at which the superblock is entered. It is an `i64`, as the slots are to
    /// which control may go on: those of a branch's target may lie before the page or beyond it.
    pub fn head(&self) -> i64 {
        self.ops.first().map_or(0, |&(slot, _)| slot as i64)
    }

    /// The slot that follows the last op, if control may go on there. It may be the first slot of the next
    /// page; it is an `i64` as [`Plan::head`] is.
    pub fn after(&self) -> Option<i64> {
        let &(slot, op) = self.ops.last()?;
        (!ends(op)).then_some((slot + op.halves()) as i64)
    }

    /// The number in the superblock of the first op at a slot whose number is not below `first`; `None` if
    /// there is none.
    pub fn op_at(&self, first: usize, slot: i64) -> Option<usize> {
        op_at(&self.ops, first, slot)
    }

    /// The slot to which a branch, the op with this number, leads when control does not go on with the next
    /// op, and whether that is what the branch does when it is taken. `None` if it is no branch.
    pub fn way_out(&self, index: usize) -> Option<(i64, bool)> {
        way_out(&self.ops, index)
    }

    /// The streams of a loop; none if it is no loop or has none.
    pub fn streams(&self) -> &[Stream] {
        match &self.course {
            Course::Loop { streams, .. } => streams,
            Course::Onward => &[],
        }
    }

    /// Is this the register through which the superblock, a loop, follows a chain of pointers?
    pub fn follows_chain(&self, register: u8) -> bool {
        matches!(self.course, Course::Loop { chain, .. } if chain == Some(register))
    }

    /// The accesses that share the lookup for the op with this number; `None` if it is better made for that
    /// op alone.
    pub fn group(&self, index: usize) -> Option<Group> {
        let (before, ops) = self.ops.split_at(index);
        sharing::group(ops).filter(|&group| !sharing::straddles(before, group, self.sp))
    }

    /// Does a group serve an access from the op with this number on, if nothing is looked up anew?
    pub fn is_used_from(&self, index: usize, group: Group) -> bool {
        sharing::is_used(group, &self.ops[index..])
    }

    /// Does the op with this number write to `fflags` what was read there before the comparison that precedes
    /// it? Then it changes nothing, as long as the comparison has raised no flag.
    pub fn restores_flags(&self, index: usize) -> bool {
        quiet::restores_flags(&self.ops, index)
    }

    /// Is it worth it to have the ops of a loop in the code a second time, for turns that begin with lazy
    /// registers? `words` is what is known of registers at the end of a turn. The question makes sense for a
    /// loop alone, and the generator asks it at the jump back; for what is no loop the answer means nothing.
    pub fn is_worth_carrying(&self, words: Words) -> bool {
        let enough = words.lazy.count_ones() as usize * OPS_PER_LAZY >= self.ops.len();
        self.streams().is_empty() && words.lazy != 0 && enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Code;

    fn block(ops: &[Op]) -> Vec<(usize, Op)> {
        let ops = ops.iter().map(|op| op.with_halves(2));
        ops.enumerate().map(|(index, op)| (2 * index, op)).collect()
    }

    #[test]
    fn a_loop_may_follow_a_chain_and_walk_through_memory_at_once() {
        let ops = block(&[
            Op::new(Code::Ld, 10, 10, 0, 8),
            Op::new(Code::Sd, 0, 11, 10, 0),
            Op::new(Code::Addi, 11, 11, 0, 8),
            Op::new(Code::Bne, 0, 10, 0, -6),
        ]);
        let plan = Plan::new(&ops, 0);
        assert!(plan.follows_chain(10) && !plan.follows_chain(11));
        assert_eq!(
            plan.streams()
                .iter()
                .map(|stream| stream.base)
                .collect::<Vec<_>>(),
            [11]
        );
        assert_eq!((plan.head(), plan.after()), (0, Some(8)));
    }

    #[test]
    fn what_is_no_loop_has_neither_streams_nor_a_chain() {
        let ops = block(&[Op::new(Code::Ld, 10, 10, 0, 8), Op::new(Code::Jr, 0, 1, 0, 0)]);
        let plan = Plan::new(&ops, 0);
        assert_eq!(plan.course, Course::Onward);
        assert_eq!((plan.streams().len(), plan.follows_chain(10)), (0, false));
        assert_eq!(plan.after(), None);
    }

    #[test]
    fn words_are_carried_from_turn_to_turn_of_short_loops_only() {
        let add = Op::new(Code::Addw, 10, 10, 11, 0);
        let turn = |ops: usize| {
            let mut turn = vec![add; ops - 1];
            turn.push(Op::new(Code::Bne, 0, 10, 0, -2 * (ops as i32 - 1)));
            block(&turn)
        };
        let lazy = Words::only(1 << 10);
        assert!(Plan::new(&turn(OPS_PER_LAZY), 0).is_worth_carrying(lazy));
        assert!(!Plan::new(&turn(OPS_PER_LAZY + 1), 0).is_worth_carrying(lazy));
        assert!(!Plan::new(&turn(2), 0).is_worth_carrying(Words::default()));
    }

    #[test]
    fn a_frame_that_lies_across_two_pages_when_the_plan_is_made_shares_no_lookup() {
        let save = |offset| Op::new(Code::Sd, 0, 2, 8, offset);
        let ops = block(&[save(8), save(16)]);
        assert!(Plan::new(&ops, 0x5000).group(0).is_some());
        assert!(Plan::new(&ops, 0x4fe8).group(0).is_some());
        assert!(Plan::new(&ops, 0x4ff0).group(0).is_none());
    }
}
