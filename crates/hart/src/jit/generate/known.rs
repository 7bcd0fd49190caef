//! What is certain at one place in the code, whenever control comes there.
//!
//! Nothing of this exists when the code is executed: it is what the generator may rely on when it makes the
//! next instruction. To know less than is true makes slower code; to know what does not hold on every way to
//! the place would make wrong code.

use crate::jit::plan::{Group, Words};

/// What is certain at the place in the code that is being made. Nothing is, by default.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// The lookup whose result is in the host register `SHARED`. It goes when its base register is written,
    /// and when the interpreter may have done something.
    pub shared: Option<Shared>,
    /// What may be done with the floating-point registers.
    pub float: Option<Use>,
    /// What the host's vector registers hold of the floating-point registers.
    pub held: Held,
    /// Which integer registers hold sign-extended words.
    pub words: Words,
}

/// What the host's vector registers hold: sets of floating-point registers, a bit for each. The last three
/// sets are parts of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The registers whose values are in their vector registers. All others are in memory only.
    pub present: u32,
    /// Those that hold a single, properly boxed: the vector register has it in its low 32 bits, and anything
    /// above them.
    pub single: u32,
    /// Those whose value in memory is out of date.
    pub dirty: u32,
    /// Those that may hold another NaN than RISC-V's, as the host's arithmetic has made it. It stands for the
    /// canonical NaN, which it must become before anything but arithmetic sees it. None of them was loaded.
    pub raw: u32,
}

impl Held {
    /// The registers of a set are no longer in vector registers.
    pub fn drop(&mut self, registers: u32) {
        self.present &= !registers;
        self.single &= !registers;
        self.dirty &= !registers;
        self.raw &= !registers;
    }
}

/// A lookup that serves several accesses.
#[derive(Clone, Copy)]
pub struct Shared {
    /// The accesses that it serves.
    pub group: Group,
    /// The place in the code where it was made, which tells it from every other lookup.
    pub made: usize,
}

/// What is done with the floating-point registers; each use includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// They are read: `mstatus.FS` is not Off.
    Read,
    /// They are written: `mstatus.FS` is Dirty already.
    Write,
    /// They are computed with: besides, the rounding mode is the host's, and the host gathers the flags.
    Compute,
}
