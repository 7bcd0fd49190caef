//! A place seen through a flaw of the network or of this host: what an arbiter must bear, whatever keeps its
//! cells. Everything that the flaw does not concern is passed on to the place.

use arbiter::{ArbiterError, Cell, Cells, Created};
use replica::{Epoch, VmName};

/// What is wrong.
#[derive(Debug)]
pub enum Flaw {
    /// The answer to a write gets lost: the write has taken effect, or not, by turns.
    LostAnswers {
        /// Does the next write take effect?
        takes_effect: bool,
    },
    /// This host remembers an old listing, in which this is the last claim.
    OldListing(Option<Epoch>),
}

/// Cells with a flaw.
#[derive(Debug)]
pub struct Flawed<C: Cells> {
    pub cells: C,
    pub flaw: Flaw,
}

impl<C: Cells> Cells for Flawed<C> {
    fn create(&mut self, vm: &VmName, cell: Cell, value: &[u8]) -> Result<Created, ArbiterError> {
        let Flaw::LostAnswers { takes_effect } = &mut self.flaw else {
            return self.cells.create(vm, cell, value);
        };
        if std::mem::replace(takes_effect, !*takes_effect) {
            self.cells.create(vm, cell, value)?;
        }
        Err(ArbiterError::Unreachable("the answer was lost".into()))
    }

    fn last(&mut self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError> {
        match self.flaw {
            Flaw::LostAnswers { .. } => self.cells.last(vm),
            Flaw::OldListing(last) => Ok(last),
        }
    }

    fn refresh(&mut self) -> Result<(), ArbiterError> {
        match self.flaw {
            Flaw::LostAnswers { .. } => self.cells.refresh(),
            Flaw::OldListing(_) => Ok(()),
        }
    }

    fn read(&mut self, vm: &VmName, cell: Cell) -> Result<Option<Vec<u8>>, ArbiterError> {
        self.cells.read(vm, cell)
    }

    fn collect(&mut self, vm: &VmName) {
        self.cells.collect(vm);
    }

    fn place(&self) -> String {
        self.cells.place()
    }

    fn flag(&self) -> String {
        self.cells.flag()
    }

    fn damaged(&self, vm: &VmName, cell: Cell) -> ArbiterError {
        self.cells.damaged(vm, cell)
    }
}
