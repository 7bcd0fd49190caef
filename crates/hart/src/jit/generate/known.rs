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
    /// Which integer registers hold sign-extended words.
    pub words: Words,
}

impl Known {
    /// This is known of the integer registers, and nothing else is known.
    pub fn only(words: Words) -> Known {
        Known {
            words,
            ..Known::default()
        }
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
    /// They are computed with: besides, the flags that results may raise are accrued already.
    Compute,
}
