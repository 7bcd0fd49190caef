//! Loops that walk through memory: what they access is looked up once for many turns.
//!
//! A *stream* is all accesses of a loop through a register that grows or shrinks by a constant in each turn, or stays. A loop with streams
//! is there twice: as any other, and *fast*, without lookups for the streams. After a few turns it looks the streams up, computes for
//! how many turns each stays inside its page, and does so many fast ones; then again. What was looked up holds as long: whatever makes
//! a translation wrong leaves the superblock. An entry that only makes room for another stays right, and the pages that it was derived
//! from stay marked, so that a later change is noticed.

use super::{
    WORDS,
    emit::*,
    plan::{STREAMS_MAX, Set, Stream},
    stubs::{Field, LEFT, field, held},
    translate::Block,
};
use crate::op::Op;

/// Turns before streams are looked up the first time: many loops have few.
const PATIENCE: i32 = 4;
/// Turns before they are looked up again if that failed.
const PATIENCE_AGAIN: i64 = 32;
/// Fewest turns that are worth it.
const TURNS_MIN: i32 = 4;
/// Turns if all streams stay where they are.
const TURNS_MAX: i64 = 4096;
const _: () = assert!(Field::Places as usize + STREAMS_MAX <= WORDS);

/// What holds where a stream is: the distance from guest to host addresses.
fn place(stream: usize) -> Memory {
    let first = field(Field::Places);
    Memory {
        displacement: first.displacement + stream as i32 * 8,
        ..first
    }
}

impl Block<'_> {
    /// If the op is an access of a stream and that was looked up, rdx becomes where it is.
    pub(super) fn find_stream(&mut self, o: Op) -> bool {
        let stream = self.plan.streams().iter().position(|stream| stream.base == o.rs1);
        let Some(stream) = stream.filter(|_| self.fast) else {
            return false;
        };
        self.e.mov(Size::Quad, RDX, Operand::Memory(place(stream)));
        true
    }

    /// On the way in: after a few turns it is time to look streams up.
    pub(super) fn begin_streams(&mut self) {
        if !self.plan.streams().is_empty() {
            let steps = self.plan.ops.len() as i32;
            self.e.lea(Size::Quad, RAX, Memory::at(LEFT, -PATIENCE * steps));
            self.e.store(field(Field::Floor), RAX);
        }
    }

    /// Jumps to the next turn, on a condition if there is one.
    pub(super) fn repeat(&mut self, condition: Option<Condition>) {
        let leads_on = self.settle_for_head();
        let jump = match condition {
            Some(condition) => self.e.jump_if(condition),
            None => self.e.jump(),
        };
        if leads_on {
            self.onward = Some(jump);
        } else {
            self.e.land_back(jump, self.starts[usize::from(self.fast)]);
        }
    }

    /// In a fast turn, so many steps are not done, but it counts as a whole one: its streams may have gone on.
    pub(super) fn lift_floor(&mut self, steps: usize) {
        if self.fast && !self.plan.streams().is_empty() {
            self.e
                .alu_immediate(Alu::Add, Size::Quad, held(Field::Floor), steps as i32);
        }
    }

    /// No turn may begin before streams are looked up.
    pub(super) fn over(&mut self) {
        self.give_back(0..self.plan.ops.len());
        self.settle(Set::MAX);
        match self.prepare {
            Some(prepare) => self.e.jump_back(prepare),
            None => self.look_streams_up(),
        }
    }

    /// Looks all streams up, and fast turns follow; or, if one is not known or near the end of its page, slow ones.
    fn look_streams_up(&mut self) {
        let [slow, fast] = self.starts;
        self.prepare = Some(self.e.here());
        let steps = self.plan.ops.len() as i32;
        self.e
            .alu_immediate(Alu::Cmp, Size::Quad, Operand::Register(LEFT), steps);
        let short = self.e.jump_if(Condition::Below);
        self.e.land_back(short, slow);
        let mut failed = Vec::new();
        let mut bounded = false;
        for (index, stream) in self.plan.streams().iter().copied().enumerate() {
            let base = self.value(stream.base, RCX);
            let lookup = self.lookup(base, stream.extent, -4096, RDX);
            failed.push(lookup.miss);
            self.e.store(place(index), RDX);
            if stream.stride != 0 {
                self.turns_in_page(base, stream);
                self.bound_turns(bounded);
                bounded = true;
            }
        }
        if bounded {
            self.e.mov(Size::Quad, RAX, held(Field::Turns));
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

    /// So many turns from now, in rax, or when the steps end, it is time to look streams up.
    fn set_floor(&mut self) {
        let steps = self.plan.ops.len() as i64;
        self.e.load_immediate(RCX, steps);
        self.e.multiply(Size::Quad, RCX, Operand::Register(RAX));
        self.e.mov(Size::Quad, RAX, Operand::Register(LEFT));
        self.e.alu(Alu::Sub, Size::Quad, RAX, Operand::Register(RCX));
        let enough = self.e.skip_unless(Condition::Below);
        self.e.load_immediate(RAX, 0);
        self.e.land_near(enough);
        self.e.store(field(Field::Floor), RAX);
    }

    /// rax becomes for how many turns a stream stays in the page where its register points. What a turn adds is counted for the last
    /// one too: wherever in a turn an access is, it is inside.
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
            // Never too many, as the factor is rounded down.
            e.load_immediate(RDX, i64::from((1 << 20) / stride));
            e.multiply(Size::Double, RAX, Operand::Register(RDX));
            e.shift(Shift::Right, Size::Double, RAX, 20);
        }
    }

    /// No more turns than rax.
    fn bound_turns(&mut self, bounded: bool) {
        if bounded {
            self.e.alu(Alu::Cmp, Size::Quad, RAX, held(Field::Turns));
            let fewer = self.e.skip_unless(Condition::Below);
            self.e.store(field(Field::Turns), RAX);
            self.e.land_near(fewer);
        } else {
            self.e.store(field(Field::Turns), RAX);
        }
    }
}
