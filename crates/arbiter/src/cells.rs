//! `Cells`: what an arbiter must be able to keep. A cell is a named value that is written once and never
//! changed; of several processes that write it at once, exactly one does.
//!
//! The claim logic stands above, in `test_and_set`, for all arbiters alike. So a new kind of arbiter is an
//! implementation of this trait and nothing else, and the tests in `tests/conformance` are its examination.

use std::fmt;

use replica::{Epoch, VmName};

use crate::ArbiterError;

/// Name of a cell of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// The identity of the VM, made at its first claim.
    Id,
    /// The claim that has won an epoch.
    Claim(Epoch),
    /// That the owner of an epoch has ended, and why.
    End(Epoch),
}

/// What has become of an attempt to write a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The cell has this value now, durably: it was just written, or an earlier attempt whose answer was lost
    /// has written this very value.
    Now,
    /// The cell had another value before, durably.
    Before(Vec<u8>),
}

/// A place that keeps cells.
pub trait Cells: Send + fmt::Debug {
    /// Writes a cell, unless it has a value already.
    ///
    /// # Errors
    /// It is not known whether the cell was written, or not known what it holds. Never a guess: an attempt
    /// that finds a value which it then cannot read is an error.
    fn create(&mut self, vm: &VmName, cell: Cell, value: &[u8]) -> Result<Created, ArbiterError>;

    /// The value of a cell; `None`: it has none, as far as this host knows. What this host remembers of the
    /// place may be old, unless [`Cells::refresh`] was called before.
    ///
    /// # Errors
    /// The place cannot be reached, or the value is longer than any of ours.
    fn read(&mut self, vm: &VmName, cell: Cell) -> Result<Option<Vec<u8>>, ArbiterError>;

    /// The highest epoch of which there is a claim; `None`: nobody has claimed one. What this host remembers
    /// of the place may be old, unless [`Cells::refresh`] was called before.
    ///
    /// # Errors
    /// The place cannot be reached.
    fn last(&mut self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError>;

    /// Forgets what this host remembers of the place, after having seen that the place can be written.
    ///
    /// # Errors
    /// The place cannot be written.
    fn refresh(&mut self) -> Result<(), ArbiterError>;

    /// Removes claims, and their ends, that nobody can ask for any more. Never the newest, and never the
    /// identity. Failing does no harm.
    fn collect(&mut self, vm: &VmName);

    /// How people call the place, in the middle of a sentence.
    fn place(&self) -> String;

    /// The flag by which a command is told of this place.
    fn flag(&self) -> String;

    /// The error for a cell whose value is none of ours.
    fn damaged(&self, vm: &VmName, cell: Cell) -> ArbiterError;
}
