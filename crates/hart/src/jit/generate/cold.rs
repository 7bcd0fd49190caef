//! What happens off the straight line: the pieces of a superblock's cold code, which are put off until the
//! hot code is there.
//!
//! These are orders only; `translate` carries them out. Each has all that is needed for it, as the state of
//! the generator is another one by then.

use super::{host::TLB, known::Held};
use crate::jit::{
    emit::{Jump, Memory, Operand, RDX},
    plan::Set,
};

/// The op for which code is being made.
#[derive(Clone, Copy)]
pub struct At {
    /// Its number in the superblock.
    pub index: usize,
    /// Its slot.
    pub slot: usize,
    /// May a lookup for this op serve other accesses too? Not where the op is done alone because such a
    /// lookup has failed.
    pub shares: bool,
}

/// A lookup in the TLB that has just been made: rdx is the distance of the entry that was asked, rax the tag
/// that it should have.
#[derive(Clone, Copy)]
pub struct Lookup {
    /// The jump that is taken if the entry has another tag.
    pub miss: Jump,
    /// The place in the code that follows when it has that tag.
    pub hit: usize,
    /// The distance of the table from the one for loads.
    pub table: i32,
}

impl Lookup {
    /// The distance of the page, as the entry says: what to add to its guest addresses to get host addresses.
    pub fn distance(&self) -> Operand {
        Operand::Memory(Memory::indexed(TLB, RDX, 0, self.table + 8))
    }
}

/// A place in the hot code to which cold code comes back.
#[derive(Clone, Copy)]
pub struct Back {
    /// The place in the code.
    pub place: usize,
    /// What vector registers hold there.
    pub held: Held,
}

/// A piece of cold code. Wherever a piece leaves the superblock, it gives back the steps that are not done.
pub enum Cold {
    /// Leaves at the first op: there are not steps enough for all ops.
    Short,
    /// Goes on at a slot that is not in the superblock, after so many ops.
    Go { completed: usize, slot: i64 },
    /// Looks the streams up: it is time to, and no fast turn may begin before.
    Streams,
    /// Leaves for a slot that has no code yet.
    Leave { slot: i64 },
    /// Goes on at the address in rax.
    Indirect,
    /// A return that the last frame is not for: goes on at the address in rax.
    Return,
    /// Goes on at an offset in the page whose address is in rax; `others` are further jumps that lead to this
    /// piece.
    Far { offset: i32, others: Vec<Jump> },
    /// Goes on at a later op of the superblock, the one with the number `to`, after so many ops.
    Skip { completed: usize, to: usize },
    /// Has the interpreter do an op and goes on in the hot code at `back`.
    Interpret { at: At, back: Back },
    /// Has the interpreter do an op and leaves the superblock after it.
    InterpretAndLeave { at: At },
    /// Has the host gather floating-point flags from here on and goes on at `back`, if the host may compute
    /// at all; if not, does as `InterpretAndLeave`.
    Compute { at: At, back: usize },
    /// Makes the NaN in a vector register the canonical one and goes on at `back`.
    Canonical { vector: u8, single: bool, back: usize },
    /// Takes the distance from guest to host addresses from the entry that a lookup has found, and goes on at
    /// `back`.
    Elsewhere { lookup: Lookup, back: usize },
    /// Asks the second entry that a page may have, and if that fails has the interpreter do the op; goes on
    /// at `back`.
    Second { at: At, back: Back, lookup: Lookup },
    /// Asks the second entry, for a lookup that serves several accesses. If that fails they may lie in two
    /// pages: does the first of them alone and leaves the superblock.
    Alone { at: At, lookup: Lookup },
}

/// What the host's registers hold where the op in hand would be left in its middle.
#[derive(Clone, Copy, Default)]
pub struct Exposed {
    /// The integer registers that are lazy.
    pub lazy: Set,
    /// The floating-point registers in vector registers. Those that the op has loaded meanwhile do not count.
    pub held: Held,
}

/// A piece of cold code that is still to be made.
pub struct PutOff {
    /// The jump that leads there.
    pub jump: Jump,
    /// The pass, by its number, in which the jump is.
    pub pass: usize,
    /// What the host's registers hold when the jump is taken.
    pub exposed: Exposed,
    /// What happens there.
    pub cold: Cold,
}
