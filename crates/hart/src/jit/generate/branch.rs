//! Branches inside a superblock, and the places where their ways join again.
//!
//! A branch to a later op skips what lies between. Its way is cold code, which gives back the steps that are
//! skipped and extends what is lazy; where it joins the hot code, nothing may count as certain that is not
//! certain on both ways.

use super::{
    block::{Block, Skip},
    cold::{At, Cold},
};
use crate::{
    jit::{
        emit::Condition,
        plan::{Course, PINNED, Set},
    },
    op::{Code, Op},
};

/// The condition on which a branch is taken, of its two operands; `None` for any other op.
pub(super) fn condition(op: Op) -> Option<Condition> {
    Some(match op.code {
        Code::Beq => Condition::Equal,
        Code::Bne => Condition::NotEqual,
        Code::Blt => Condition::Less,
        Code::Bge => Condition::GreaterEqual,
        Code::Bltu => Condition::Below,
        Code::Bgeu => Condition::AboveEqual,
        _ => return None,
    })
}

impl Block<'_> {
    /// Translates a branch that does not lead to the head. It leads to a later op of the superblock or out of
    /// it.
    pub(super) fn branch(&mut self, condition: Condition, at: At, o: Op) {
        self.compare(o);
        let completed = at.index + 1;
        // Whoever calls this has chosen by the op's code, so no guest reaches the panic.
        let (slot, taken) = self.plan.way_out(at.index).expect("a branch");
        let condition = if taken { condition } else { condition.not() };
        debug_assert!(slot != self.plan.head(), "only the last op leads to the first");
        let later = self.plan.op_at(completed, slot);
        if later.is_none() && self.is_beside(slot) {
            self.go_beside(condition, completed, slot);
            return;
        }
        let jump = self.e.jump_if(condition);
        if let Some(to) = later {
            let known = self.known;
            self.pass_mut().skips.push(Skip {
                to,
                shared: known.shared,
                words: known.words.known,
                float: known.float,
                held: known.held,
            });
            self.put_off(jump, Cold::Skip { completed, to });
        } else {
            self.put_off(jump, Cold::Go { completed, slot });
        }
    }

    /// Is the way out to a slot worth its place beside the straight line? It is if it is likely to be taken,
    /// unless it has to exchange registers in a loop or to store floating-point registers.
    fn is_beside(&self, slot: i64) -> bool {
        let exchanges = self.plan.seats != PINNED && self.plan.course != Course::Onward;
        !exchanges && self.known.held.dirty == 0 && (self.source.is_likely)(slot)
    }

    /// Goes on at a slot outside the superblock on a condition, with the way out beside the straight line.
    fn go_beside(&mut self, condition: Condition, completed: usize, slot: i64) {
        let near = self.e.skip_unless(condition);
        let (known, exposed) = (self.known, self.exposed);
        self.give_back(completed..self.plan.ops.len());
        self.go(slot);
        (self.known, self.exposed) = (known, exposed);
        self.e.land_near(near);
    }

    /// The code of an op begins, to which earlier branches may lead: certain is only what is certain on all
    /// ways here.
    pub(super) fn join(&mut self, index: usize) {
        let mut words = Set::MAX;
        let mut others = Vec::new();
        for skip in self.passes[self.current]
            .skips
            .iter()
            .filter(|skip| skip.to == index)
        {
            self.known.float = self.known.float.min(skip.float);
            self.known.shared.agree(&skip.shared);
            words &= skip.words;
            others.push(skip.held);
        }
        for other in others {
            self.agree(other);
        }
        // On the other ways nothing is lazy, but what is a word on all of them may be lazy from here on.
        self.settle(!words);
        self.known.words.known &= words;
        let here = self.back();
        self.pass_mut().begins.push(here);
    }
}
