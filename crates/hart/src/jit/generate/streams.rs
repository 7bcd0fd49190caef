//! The code of loops that walk through memory: their streams are looked up once for many turns.
//!
//! A loop with streams has two passes: one like any other loop's, and a *fast* one, without lookups for the
//! streams. After a few turns of the first it looks the streams up, computes for how many turns each stays
//! inside its page, and does so many fast turns; then again. What was looked up holds as long: whatever makes
//! a translation wrong leaves the superblock. An entry of the TLB that only makes room for another stays
//! right, and the pages that it was derived from stay marked, so that a later change is noticed
//! (docs/decisions/0043).

use super::{
    block::Block,
    host::{LEFT, field, held},
    lookup::{PAGE_BITS, stream_distance},
};
use crate::jit::{emit::*, plan::Stream};

/// Turns before streams are looked up the first time: many loops do no more.
const PATIENCE: i32 = 4;
/// Turns before streams are looked up again after a lookup that has failed.
const PATIENCE_AGAIN: i64 = 32;
/// The fewest fast turns that are worth the lookups.
const TURNS_MIN: i32 = 4;
/// Fast turns if all streams stay where they are.
const TURNS_MAX: i64 = 4096;

impl Block<'_> {
    /// The superblock is entered: after a few turns it will be time to look streams up.
    pub(super) fn begin_streams(&mut self) {
        if !self.plan.streams().is_empty() {
            let steps = self.plan.ops.len() as i32;
            self.e.lea(Size::Quad, RAX, Memory::at(LEFT, -PATIENCE * steps));
            self.e.store(field!(floor), RAX);
        }
    }

    /// So many steps of a turn are left out. A fast turn counts as a whole one all the same, as its streams
    /// may have gone on.
    pub(super) fn lift_floor(&mut self, steps: usize) {
        if self.pass().fast {
            self.e
                .alu_immediate(Alu::Add, Size::Quad, held!(floor), steps as i32);
        }
    }

    /// Looks all streams up, and goes on with fast turns; or with slow ones, if the page of one is not known
    /// or ends soon. Both passes are there, and nothing is lazy.
    pub(super) fn look_streams_up(&mut self) {
        let [.., slow, fast] = &self.passes[..] else {
            return;
        };
        let [slow, fast] = [slow, fast].map(|pass| pass.start);
        let steps = self.plan.ops.len() as i32;
        self.e
            .alu_immediate(Alu::Cmp, Size::Quad, Operand::Register(LEFT), steps);
        let short = self.e.jump_if(Condition::Below);
        self.e.land_back(short, slow);
        let mut failed = Vec::new();
        let mut bounded = false;
        for (index, stream) in self.plan.streams().iter().copied().enumerate() {
            let base = self.value(stream.base, RCX);
            let lookup = self.look_up(base, stream.extent, PAGE_BITS, RDX);
            failed.push(lookup.miss);
            self.e.store(stream_distance(index), RDX);
            if stream.stride != 0 {
                self.turns_in_page(base, stream);
                self.bound_turns(bounded);
                bounded = true;
            }
        }
        if bounded {
            self.e.mov(Size::Quad, RAX, held!(turns));
            self.e
                .alu_immediate(Alu::Cmp, Size::Quad, Operand::Register(RAX), TURNS_MIN);
            failed.push(self.e.jump_if(Condition::Below));
        } else {
            self.e.load_immediate(RAX, TURNS_MAX);
        }
        self.set_floor();
        self.e.jump_back(fast);
        for jump in failed {
            self.e.land(jump);
        }
        self.e.load_immediate(RAX, PATIENCE_AGAIN);
        self.set_floor();
        self.e.jump_back(slow);
    }

    /// It will be time to look streams up in so many turns as rax says, or when the steps end.
    fn set_floor(&mut self) {
        let steps = self.plan.ops.len() as i64;
        self.e.load_immediate(RCX, steps);
        self.e.multiply(Size::Quad, RCX, Operand::Register(RAX));
        self.e.mov(Size::Quad, RAX, Operand::Register(LEFT));
        self.e.alu(Alu::Sub, Size::Quad, RAX, Operand::Register(RCX));
        let enough = self.e.skip_unless(Condition::Below);
        self.e.load_immediate(RAX, 0);
        self.e.land_near(enough);
        self.e.store(field!(floor), RAX);
    }

    /// rax becomes the number of turns for which a stream stays in the page to which its register points.
    /// What a turn adds is counted for the last turn too, so that an access is inside wherever in the turn it
    /// is.
    fn turns_in_page(&mut self, base: Register, stream: Stream) {
        let e = &mut self.e;
        if stream.stride > 0 {
            e.lea(Size::Quad, RAX, Memory::at(base, stream.extent.high - 1));
            e.not(RAX);
        } else {
            e.lea(Size::Quad, RAX, Memory::at(base, stream.extent.low));
        }
        e.alu_immediate(Alu::And, Size::Double, Operand::Register(RAX), 4095);
        let stride = stream.stride.unsigned_abs();
        if stride.is_power_of_two() {
            e.shift(Shift::Right, Size::Double, RAX, stride.trailing_zeros() as u8);
        } else {
            // The factor is rounded down, so there are never too many turns.
            e.load_immediate(RDX, i64::from((1 << 20) / stride));
            e.multiply(Size::Double, RAX, Operand::Register(RDX));
            e.shift(Shift::Right, Size::Double, RAX, 20);
        }
    }

    /// There will be no more turns than rax says; `bounded` if another stream has said so before.
    fn bound_turns(&mut self, bounded: bool) {
        if bounded {
            self.e.alu(Alu::Cmp, Size::Quad, RAX, held!(turns));
            let fewer = self.e.skip_unless(Condition::Below);
            self.e.store(field!(turns), RAX);
            self.e.land_near(fewer);
        } else {
            self.e.store(field!(turns), RAX);
        }
    }
}
