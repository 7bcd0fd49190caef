//! The forms that lead elsewhere: jumps, calls and returns; and those that use the stack.
//!
//! A jump is emitted first and *lands* later, when the place that it leads to is known. What is rarely
//! executed is emitted after the rest and put elsewhere at the end ([`Emitter::put_rest`]), which corrects
//! every distance between the two parts.

use super::{emitter::Emitter, operand::*};

/// A jump or call that has been emitted: the place in the code where it ends. The last four bytes before that
/// place are the distance to its target, which is filled in later.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Jump(usize);

impl Jump {
    /// The place in the code of the last four bytes, which are the distance to the target.
    pub fn distance(self) -> usize {
        self.0 - 4
    }
}

/// A short jump that has been emitted and still has to land: the place in the code where it ends.
#[derive(Clone, Copy)]
pub struct Near(usize);

impl Emitter {
    /// A jump that is taken if the condition holds; it still has to land.
    pub fn jump_if(&mut self, condition: Condition) -> Jump {
        self.bytes.extend([0x0f, 0x80 | condition as u8]);
        self.dword(0);
        Jump(self.bytes.len())
    }

    /// A jump that is always taken; it still has to land.
    pub fn jump(&mut self) -> Jump {
        self.byte(0xe9);
        self.dword(0);
        Jump(self.bytes.len())
    }

    /// A short jump that is taken unless the condition holds; it has to land, with [`Emitter::land_near`], at
    /// most 127 bytes further.
    pub fn skip_unless(&mut self, condition: Condition) -> Near {
        self.byte(0x70 | condition.not() as u8);
        self.byte(0);
        Near(self.bytes.len())
    }

    /// Lets a short jump lead here.
    ///
    /// # Panics
    /// If here is more than 127 bytes after the jump.
    pub fn land_near(&mut self, Near(end): Near) {
        let distance = i8::try_from(self.bytes.len() - end);
        self.bytes[end - 1] = distance.expect("a short jump") as u8;
    }

    /// A call; it still has to land.
    pub fn call_later(&mut self) -> Jump {
        self.byte(0xe8);
        self.dword(0);
        Jump(self.bytes.len())
    }

    /// A jump to an earlier place in this code.
    pub fn jump_back(&mut self, to: usize) {
        let jump = self.jump();
        self.fill(jump, to);
    }

    /// Lets a jump lead here.
    pub fn land(&mut self, jump: Jump) {
        self.fill(jump, self.bytes.len());
    }

    /// Lets a jump lead to an earlier place in this code.
    pub fn land_back(&mut self, jump: Jump, to: usize) {
        self.fill(jump, to);
    }

    fn fill(&mut self, Jump(end): Jump, to: usize) {
        self.jumps.push((end, Some(to)));
        self.set_distance(end, to as i64 - end as i64);
    }

    /// The place in this code where a jump leads that has landed.
    pub fn target(&self, jump: Jump) -> usize {
        let Jump(end) = jump;
        let bytes = self.bytes[jump.distance()..end].first_chunk();
        let distance = bytes.map_or(0, |&bytes| i32::from_le_bytes(bytes));
        end.wrapping_add_signed(distance as isize)
    }

    /// A jump to an address outside this code.
    pub fn jump_far(&mut self, to: u64) {
        self.byte(0xe9);
        self.relative(to);
    }

    /// A call of an address outside this code.
    pub fn call(&mut self, to: u64) {
        self.byte(0xe8);
        self.relative(to);
    }

    /// Calls the address that is held in memory.
    pub fn call_to(&mut self, from: Memory) {
        self.form(Size::Double, &[0xff], 2, Operand::Memory(from), false);
    }

    /// Writes the distance to an address: four bytes are enough, as all code is in one mapping of less than 2
    /// GiB.
    fn relative(&mut self, to: u64) {
        self.dword(0);
        let end = self.here();
        self.jumps.push((end, None));
        self.set_distance(end, to.wrapping_sub(self.base.wrapping_add(end as u64)) as i64);
    }

    fn set_distance(&mut self, end: usize, distance: i64) {
        self.bytes[end - 4..end].copy_from_slice(&(distance as i32).to_le_bytes());
    }

    /// Says that the code from the place `split` on will be executed at `base`, and corrects all distances
    /// between the two parts.
    pub fn put_rest(&mut self, split: usize, base: u64) {
        let moved = base.wrapping_sub(self.base.wrapping_add(split as u64)) as i64;
        for (end, to) in std::mem::take(&mut self.jumps) {
            let from_moved = end > split;
            let to_moved = to.is_some_and(|to| to >= split);
            if from_moved != to_moved {
                let bytes = &self.bytes[end - 4..end];
                let distance = i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                let more = if to_moved { moved } else { moved.wrapping_neg() };
                self.set_distance(end, i64::from(distance).wrapping_add(more));
            }
        }
    }

    /// Jumps to the address that is in a register or in memory.
    pub fn jump_to(&mut self, from: Operand) {
        self.form(Size::Double, &[0xff], 4, from, false);
    }

    /// Pushes a register.
    pub fn push(&mut self, register: Register) {
        if register >= 8 {
            self.byte(0x41);
        }
        self.byte(0x50 | register & 7);
    }

    /// Pushes a register or 64 bits of memory.
    pub fn push_operand(&mut self, from: Operand) {
        self.form(Size::Double, &[0xff], 6, from, false);
    }

    /// Pops a register.
    pub fn pop(&mut self, register: Register) {
        if register >= 8 {
            self.byte(0x41);
        }
        self.byte(0x58 | register & 7);
    }

    /// Pops 64 bits to memory.
    pub fn pop_to(&mut self, to: Memory) {
        self.form(Size::Double, &[0x8f], 0, Operand::Memory(to), false);
    }

    /// Returns.
    pub fn ret(&mut self) {
        self.byte(0xc3);
    }
}
