//! The pair: the names of its two sides, and the epoch that it begins with.
//!
//! These are words that every file of the world uses, so this file uses none of them. A name says who
//! somebody is and never what he is at present: that is his role.

use std::fmt;

use replica::Epoch;

/// The epoch that the handshake gave to the pair.
pub const PAIR: Epoch = Epoch(1);

/// The name of a side of the pair. A side keeps its name for its whole life, whatever its role becomes; a
/// `replica::Side` is what a process asks to be in the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SideName {
    /// The side that was born primary.
    A,
    /// The side that was born backup.
    B,
}

impl SideName {
    /// Both names.
    pub const BOTH: [SideName; 2] = [SideName::A, SideName::B];

    /// The place of this side in an array of two: 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            SideName::A => 0,
            SideName::B => 1,
        }
    }

    /// The name of the other side.
    #[must_use]
    pub const fn other(self) -> SideName {
        match self {
            SideName::A => SideName::B,
            SideName::B => SideName::A,
        }
    }
}

impl fmt::Display for SideName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
